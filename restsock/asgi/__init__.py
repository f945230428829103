"""The listening side as an ASGI application: peers dial in where your server already listens.

    listener = restsock.asgi.Listener(auth=...)
    app = FastAPI(lifespan=listener.lifespan)
    app.mount("/tunnel", listener)

- `_listener`: the application, and its API for async code and threads.
- `_bridge`: connects an ASGI WebSocket to a socket that a `Server` reads.
"""

from __future__ import annotations

from ._listener import Listener

__all__ = ["Listener"]
