"""Serves another HTTP server: requests are forwarded to it, over a pool of connections."""
