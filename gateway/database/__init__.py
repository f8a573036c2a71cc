"""The database of tenants, keys and the ledger: SQLite or PostgreSQL, its schema, its transactions, its errors."""
