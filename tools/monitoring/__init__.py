"""Dashboards, recording rules and alerts, made from one source; ``tools/gen_dashboards.py`` writes them."""
