"""`requests` over a restsock connection: an adapter for its sessions, and a faster session."""
