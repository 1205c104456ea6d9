"""The ledger that several hosts share, on PostgreSQL."""
