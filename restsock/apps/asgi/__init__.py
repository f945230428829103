"""Serves an ASGI 3 application: http, websocket and lifespan, on trio or beside it on asyncio."""

from __future__ import annotations

from ._handler import AsgiHandler

__all__ = ["AsgiHandler"]
