"""`listen`: the arguments of a `Server`, checked before anything is bound."""

from __future__ import annotations

import ssl
from typing import Any

from restsock._config import Options
from restsock.apps import optional_handler

from ._server import Server

__all__ = ["listen"]


def listen(
    host: str | None,
    port: int,
    *,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    ssl_context: ssl.SSLContext | None = None,
    options: Options | None = None,
    backlog: int | None = None,
    **app_options: Any,
) -> Server:
    """Listens for dialing peers; the result is to be entered with `async with`.

    Nothing is bound before that; entering raises `OSError` when it cannot be. See `Server`.

    Args:
        host: An address, a name (then on all its addresses), or `None` for everywhere.
        port: 0 lets the system choose; `Server.address` tells.
        app: Serves the peers' requests: an ASGI or WSGI application or a coroutine function
            `async (Request) -> Response`. Without one they are refused.
        interface: `"asgi"`, `"wsgi"` or `"function"`, where that cannot be told from the app.
        loop: `"trio"` or `"asyncio"`, where what an ASGI app needs cannot be told from it; see
            `restsock.apps.make_handler`.
        ssl_context: With a certificate, to speak TLS; `None` speaks plain TCP.
        options: Limits, timeouts and heartbeat.
        backlog: Newcomers that the kernel may hold.
        app_options: Further options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        ValueError: The port is not one.
        TypeError: An argument is of a wrong type, or an option of the app has no app.
    """
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"the port must be an int, not {type(port).__name__}")
    if not 0 <= port <= 65535:
        raise ValueError(f"the port must be in 0..65535, not {port}")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"the host must be a str or None, not {type(host).__name__}")
    return Server(
        host,
        port,
        handler=optional_handler(app, interface, loop, options, app_options),
        ssl_context=ssl_context,
        options=options,
        backlog=backlog,
    )
