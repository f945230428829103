"""The caller's end: calls by operation, and validated calls."""
