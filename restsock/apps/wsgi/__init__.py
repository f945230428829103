"""Serves a WSGI application: worker threads, and a fair share of them for each connection."""

from __future__ import annotations

from ._workers import WsgiHandler

__all__ = ["WsgiHandler"]
