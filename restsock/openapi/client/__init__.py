"""The caller's end: calls by operation, and calls that are held to a contract."""
