"""The hosts that share one ledger: who of them works which folder, and what each may still believe of that."""
