"""Quotas without a store: windows, the limits that apply to a caller, and the interface of the hold."""
