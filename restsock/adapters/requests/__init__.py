"""`requests` over a connection of restsock: an adapter for its sessions, and a quicker session."""
