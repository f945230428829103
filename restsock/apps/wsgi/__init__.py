"""Serves a WSGI application: worker threads, and a fair share of them for each connection."""
