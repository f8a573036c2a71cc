"""The ledger: one row per request, durable before its first token, and the sums that are made of them."""
