"""Apps: what answers the peer's requests.

`make_handler` takes an ASGI 3 application, a WSGI application or a coroutine function
`async (Request) -> Response`, and gives the `Handler` that a connection hands requests to.
`forward` stands for an HTTP/1.1 server that runs already.

For the first three: an exception of the app is a 500 and a traceback in the log `restsock.apps`, or
a RESET once the head of the response has left; it never ends the connection. Date is supplied, and
Content-Length where the length is known.
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
    """The same handler for the loop of asyncio that runs here, where that makes a difference.

    An ASGI app that is not for trio, and a function, run on this loop then, which goes on after
    them; all others as before.

    Args:
        handler: What `make_handler` gave.
        face: Makes of a connection what a function is to see of it on this loop.
    """
    on_this_loop: Callable[..., Handler] | None = getattr(handler, "on_asyncio", None)
    return handler if on_this_loop is None else on_this_loop(face)


def asyncio_thread(*, grace: float) -> AsyncioThread:
    """A loop of asyncio in a thread of its own, which runs while its `running()` is open.

    Args:
        grace: Seconds that its tasks may take to their end once they are cancelled.
    """
    from .asgi._asyncio_thread import AsyncioThread  # asyncio takes a while to load

    return AsyncioThread(grace=grace)


def upstream_client(forward: Forward, *, max_body: int) -> UpstreamClient:
    """Sends whole requests to the server of a `forward`, while its `running()` is open.

    Args:
        forward: Where to, and how long it may take.
        max_body: Bytes of the largest body of an answer.
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
    """The handler of an app that there may be, from the arguments of `connect` or `listen`.

    Raises:
        TypeError: There is none and yet options for it; and as `make_handler`.
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
        app: What to serve, or what `forward` gives; a `Handler` (an `OpenAPIHandler`, say) is
            returned as it is.
        interface: `"asgi"`, `"wsgi"` or `"function"`, when it does not show which it is.
        loop: ASGI: the event loop that the app runs on. `"asyncio"` is one in a thread of its own,
            `"trio"` the one of the connections, which waits while the app computes or blocks.
            `"auto"` takes trio for an app of Quart-Trio, and asyncio for all others.
        workers: WSGI: how many threads call the app, at most.
        queue_size: WSGI: how many requests may wait for a thread; those above are answered with
            503. A connection adds at most `Limits.max_streams`.
        max_websocket_message: ASGI: bytes of the largest message that a WebSocket of the app
            receives; a larger one closes it with 1009. `None` is `Limits.max_websocket_message`.
        root_path: The path that the app is under, without a slash at the end: `root_path` of ASGI
            and `SCRIPT_NAME` of WSGI.
        options: The options of the connections.

    Raises:
        TypeError: The app is not callable, or it is not clear which of the three it is.
        ValueError: A number is out of range, `interface` or `loop` is none of the three, or a loop
            is chosen for what is not ASGI.
    """
    if not callable(app) and hasattr(app, "handle") and hasattr(app, "running"):
        if interface is not None or loop != "auto":
            raise TypeError(f"options of an app, for {app!r}, which is a handler already")
        handler: Handler = app
        return handler
    options = options or Options()
    grace = options.timeouts.close
    kind = detect_interface(app, interface)
    if loop not in LOOPS:
        raise ValueError(f'loop has to be "auto", "trio" or "asyncio", not {loop!r}')
    if loop != "auto" and kind != "asgi":
        raise ValueError(f"loop={loop!r} is for ASGI apps, and {app!r} is served as {kind}")
    # Imported here, since a program has one kind of app.
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
