"""Serves an ASGI 3 application: http, websocket and lifespan, on trio or on asyncio."""
