"""Tenants and keys: their store, their audit trail, and the verification that requests wait for."""
