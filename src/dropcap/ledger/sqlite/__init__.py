"""The ledger in one file beside the daemon: SQLite."""
