"""Apps: they answer the peer's requests.

`make_handler` takes an ASGI 3 application, a WSGI application or a coroutine function
`async (Request) -> Response`, and returns the `Handler` to which a connection passes requests.
`forward` makes an app of an HTTP/1.1 server that already runs.

For the first three, an exception of the app becomes a 500 and a traceback in the log
`restsock.apps`; after the response head was sent, it becomes a RESET. It never ends the connection.
Date is added, and Content-Length if the length is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from restsock._options import Options
from restsock.connection import Handler

from ._connection_info import ConnectionInfo
from ._detect import detect_interface
from ._errors import (
    AppStartupError,
    BadResponseError,
    Disconnected,
    UpstreamError,
    is_disconnect,
    is_for_the_loop,
    log_failure,
    loggable,
)
from ._in_process import in_process
from ._loop import LOOPS, detect_loop
from ._response import CONTINUE, PROBLEM, Responder, expects_continue
from ._tasks import DrivenCall, TaskHandler
from .forward._forward import Forward, forward  # from here on no longer the folder
from .forward._head import BadTargetError, check_path, content_length_of, say_who

if TYPE_CHECKING:
    from restsock.connection import Connection

    from .asgi._asyncio_thread import AsyncioThread as AsyncioThread
    from .forward._client import UpstreamClient as UpstreamClient

__all__ = [
    "CONTINUE",
    "PROBLEM",
    "AppStartupError",
    "BadResponseError",
    "BadTargetError",
    "ConnectionInfo",
    "Disconnected",
    "DrivenCall",
    "Forward",
    "Responder",
    "TaskHandler",
    "UpstreamError",
    "asyncio_thread",
    "check_path",
    "content_length_of",
    "expects_continue",
    "forward",
    "in_process",
    "is_disconnect",
    "is_for_the_loop",
    "log_failure",
    "loggable",
    "make_handler",
    "on_asyncio",
    "optional_handler",
    "say_who",
    "upstream_client",
]


def on_asyncio(handler: Handler, face: Callable[[Connection], Any]) -> Handler:
    """The handler to use on the asyncio loop that runs here.

    ASGI apps that are not for trio, and functions, then run on this loop, which continues after
    they end. All other handlers are returned unchanged.

    Args:
        handler: A handler from `make_handler`.
        face: Wraps a connection in the class that a function app sees on this loop.
    """
    on_this_loop: Callable[..., Handler] | None = getattr(handler, "on_asyncio", None)
    return handler if on_this_loop is None else on_this_loop(face)


def asyncio_thread(*, grace: float) -> AsyncioThread:
    """An asyncio loop in its own thread, which runs while its `running()` is open.

    Args:
        grace: Seconds that its tasks may take to end after they are cancelled.
    """
    from .asgi._asyncio_thread import AsyncioThread  # asyncio takes a while to load

    return AsyncioThread(grace=grace)


def upstream_client(forward: Forward, *, max_body: int) -> UpstreamClient:
    """Makes a client that sends whole requests to the server of a `forward`.

    It works while its `running()` is open.

    Args:
        forward: The server, and its time limits.
        max_body: The largest response body, in bytes.
    """
    from .forward._client import UpstreamClient  # loads TLS

    return UpstreamClient(forward, max_body=max_body)


def optional_handler(
    app: Any | None,
    interface: str | None,
    loop: str,
    options: Options | None,
    app_options: dict[str, Any],
) -> Handler | None:
    """The handler for the app in the arguments of `connect` or `listen`; `None` without an app.

    Raises:
        TypeError: There are options but no app; or as in `make_handler`.
    """
    if app is None:
        given = [*app_options]
        given += ["interface"] if interface is not None else []
        given += ["loop"] if loop != "auto" else []
        if given:
            raise TypeError(f"{given[0]}= is for an app, and this is without an app=")
        return None
    return make_handler(app, interface=interface, loop=loop, options=options, **app_options)


def make_handler(
    app: Any,
    *,
    interface: str | None = None,
    loop: str = "auto",
    workers: int = 32,
    queue_size: int = 256,
    max_websocket_message: int | None = None,
    root_path: str = "",
    options: Options | None = None,
) -> Handler:
    """Makes the handler that serves an app.

    One handler serves any number of connections, while its `running()` is open.

    Args:
        app: The app to serve, or the result of `forward`. A `Handler` (an `OpenAPIHandler`, for
            example) is returned unchanged.
        interface: `"asgi"`, `"wsgi"` or `"function"`, if that cannot be detected from the app.
        loop: ASGI: the event loop for the app. `"asyncio"` is a loop in its own thread; `"trio"` is
            the loop of the connections, which waits while the app computes or blocks; `"auto"` is
            trio for apps of Quart-Trio, and asyncio for others.
        workers: WSGI: the maximum number of threads that call the app.
        queue_size: WSGI: how many requests may wait for a thread; further ones are answered with
            503. A connection adds at most `Limits.max_streams`.
        max_websocket_message: ASGI: the largest message, in bytes, that a WebSocket of the app
            receives; a larger one closes it with 1009. `None` is `Limits.max_websocket_message`.
        root_path: The path at which the app is mounted, without a slash at the end: `root_path` in
            ASGI, `SCRIPT_NAME` in WSGI.
        options: The options of the connections.

    Raises:
        TypeError: The app is not callable, or its interface cannot be detected.
        ValueError: A number is out of range, `interface` or `loop` is unknown, or `loop` is set for
            an app that is not ASGI.
    """
    if not callable(app) and hasattr(app, "handle") and hasattr(app, "running"):
        if interface is not None or loop != "auto":
            raise TypeError(f"options for an app, but {app!r} is already a handler")
        handler: Handler = app
        return handler
    options = options or Options()
    grace = options.timeouts.close
    kind = detect_interface(app, interface)
    if loop not in LOOPS:
        raise ValueError(f'loop must be "auto", "trio" or "asyncio", not {loop!r}')
    if loop != "auto" and kind != "asgi":
        raise ValueError(f"loop={loop!r} is for ASGI apps, and {app!r} is served as {kind}")
    # Imported here, since a program usually has only one kind of app.
    if kind == "wsgi":
        from .wsgi._handler import WsgiHandler

        return WsgiHandler(
            app, options=options, workers=workers, queue_size=queue_size, root_path=root_path
        )
    if kind == "asgi":
        from .asgi._request import Served

        if max_websocket_message is None:
            max_websocket_message = options.limits.max_websocket_message
        served = Served(app, options, max_websocket_message, root_path)
        if (detect_loop(app) if loop == "auto" else loop) == "trio":
            from .asgi._trio_handler import TrioHandler

            return TrioHandler(served)
        from .asgi._asyncio_handler import AsyncioHandler  # asyncio takes a while to load
        from .asgi._serving import request_for

        return AsyncioHandler(partial(request_for, served), grace=grace, app=app)
    if kind == "function":
        from ._function import FunctionHandler

        return FunctionHandler(app, grace=grace)
    from .forward._call import ForwardCall
    from .forward._pool import Pool

    pool = Pool(app)
    call = partial(ForwardCall, app, pool, grace=grace)
    return TaskHandler(call, grace=grace, around=pool.running)
