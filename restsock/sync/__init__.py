"""The API for threads: `connect` and `listen`, with the names and arguments of the async ones.

All clients and servers of a process share one background thread, in which they live; it starts with
the first and ends with the last. Their methods block the calling thread only, and may be called
from any number of threads at once; apps are served as behind the async API. What blocks can be
interrupted (Ctrl-C), and raises `RestsockError` where it could only wait for itself: on the
background thread (in an async app, say), and in the child of a fork.

- `_portal`: the thread, and what is kept open on it.
- `_endpoint`: a client or server that is kept open, and its close.
- `_requests`: blocking requests.
- `_client`, `_server`, `_connection`, `_events`: the faces.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from restsock import client as _async_client
from restsock import server as _async_server
from restsock._exceptions import RestsockError, without_frames

from ._client import Client
from ._connection import Connection, Connections
from ._events import Events
from ._requests import StreamedResponse
from ._server import Route, Server
from ._signals import drain_on_signal

if TYPE_CHECKING:
    from collections.abc import Collection

    from restsock._options import Backoff, Options
    from restsock.auth import Authenticator, Credentials
    from restsock.client import ProxyLike
    from restsock.connection import FieldsLike, InstrumentLike
    from restsock.tls import ClientTLS, ServerTLS

__all__ = [
    "Client",
    "Connection",
    "Connections",
    "Events",
    "Route",
    "Server",
    "StreamedResponse",
    "connect",
    "drain_on_signal",
    "listen",
]


def connect(
    url: str,
    *,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    name: str | None = None,
    metadata: Any = None,
    headers: FieldsLike = (),
    auth: Credentials | None = None,
    tls: ssl.SSLContext | ClientTLS | None = None,
    ssl_context: ssl.SSLContext | None = None,
    options: Options | None = None,
    backoff: Backoff | None = None,
    instrument: InstrumentLike | None = None,
    proxy: ProxyLike = None,
    **app_options: Any,
) -> Client:
    """Dial a listener; return once there is a connection.

        with restsock.sync.connect("ws://hub.example:8000/", app=app, name="edge-1") as client: ...

    Args:
        url: `ws://host[:port]/path` or `wss://…`.
        app: Serves the peer's requests: an ASGI or WSGI application or a coroutine function.
        interface: `"asgi"`, `"wsgi"` or `"function"`, where that cannot be told from the app.
        loop: of an ASGI app: asyncio, unless it is one of Quart-Trio or this is `"trio"`; see
            `restsock.apps.make_handler`.
        name: The name by which the listener is to know this client.
        metadata: Any JSON value; the listener gets it with each connection.
        headers: Further header fields of the upgrade request.
        auth: Tells the listener who this is: `restsock.auth.Bearer`, `restsock.auth.Basic`, or a
            function that gives header fields; it is called for each attempt to dial, in a thread.
        tls: For `wss`: `restsock.tls.client(...)` or an SSL context; by default the certificates
            that this system trusts are accepted.
        ssl_context: The same, by another name.
        options: Limits, timeouts, heartbeat and socket options.
        backoff: How to dial again; `Backoff(tries=…)` bounds how long this waits.
        instrument: Is told what happens on the connections, to count, time and trace it: one
            `Instrument` or several, such as those of `restsock.instruments`.
        proxy: A `restsock.Proxy` to dial through, or its URL; `None` takes what the environment
            says, `False` none.
        app_options: Further options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        ValueError: An argument is not valid. Nothing was dialed.
        HandshakeError: Dialing again would not help, or was done often enough.
        RestsockError: This is the background thread itself.
    """
    try:
        return Client(
            _async_client.connect(
                url,
                app=app,
                interface=interface,
                loop=loop,
                name=name,
                metadata=metadata,
                headers=headers,
                auth=auth,
                tls=tls,
                ssl_context=ssl_context,
                options=options,
                backoff=backoff,
                instrument=instrument,
                proxy=proxy,
                **app_options,
            )
        )
    except RestsockError as exc:
        raise without_frames(exc)  # noqa: B904  # it is the same error


def listen(
    host: str | None,
    port: int,
    *,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    tls: ssl.SSLContext | ServerTLS | None = None,
    ssl_context: ssl.SSLContext | None = None,
    auth: Authenticator | None = None,
    origins: str | Collection[str] | None = None,
    trusted_proxies: str | Collection[str] = (),
    name: str = "listener",
    names: str = "replace",
    options: Options | None = None,
    instrument: InstrumentLike | None = None,
    **app_options: Any,
) -> Server:
    """Listen for dialing peers; return once the sockets are bound.

        with restsock.sync.listen("127.0.0.1", 0) as server:
            print(server.url)

    Args:
        host: An address, a name (then on all its addresses), or None for everywhere.
        port: 0 lets the system choose; `Server.address` tells.
        app: Serves the peers' requests: an ASGI or WSGI application or a coroutine function.
        interface: `"asgi"`, `"wsgi"` or `"function"`, where that cannot be told from the app.
        loop: of an ASGI app: asyncio, unless it is one of Quart-Trio or this is `"trio"`; see
            `restsock.apps.make_handler`.
        tls: `restsock.tls.server(...)` or an SSL context with a certificate, to speak TLS; None
            speaks plain TCP.
        ssl_context: The same, by another name.
        auth: Tells who dials in: an authenticator of `restsock.auth`, or a function that gets a
            `restsock.auth.Upgrade`, in a thread, and gives a `Principal`, or None for 401.
        origins: The web origins whose pages may dial in; see `restsock.listen`.
        trusted_proxies: Addresses and networks of reverse proxies whose X-Forwarded-For and
            Forwarded are to be believed; see `restsock.listen`.
        name: What `Principal.may_call` calls the app of this side.
        names: What happens when a peer comes under a name that another one has: `"replace"` closes
            the older one, `"reject"` turns the newer one away, `"share"` keeps both.
        options: Limits, timeouts, heartbeat and socket options.
        instrument: Is told what happens on the connections, to count, time and trace it: one
            `Instrument` or several, such as those of `restsock.instruments`.
        app_options: Further options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        OSError: An address cannot be bound.
        ValueError: An argument is not valid.
        RestsockError: This is the background thread itself.
    """
    return Server(
        _async_server.listen(
            host,
            port,
            app=app,
            interface=interface,
            loop=loop,
            tls=tls,
            ssl_context=ssl_context,
            auth=auth,
            origins=origins,
            trusted_proxies=trusted_proxies,
            name=name,
            names=names,
            options=options,
            instrument=instrument,
            **app_options,
        )
    )
