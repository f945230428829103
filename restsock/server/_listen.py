"""`listen`: the arguments of a `Server`, checked before anything is bound."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from restsock import tls as _tls
from restsock._addresses import is_loopback, is_loopback_socket
from restsock._arguments import check_keywords
from restsock._logging import LoggerLike
from restsock._options import Options
from restsock.apps import make_handler, optional_handler
from restsock.auth import Authenticator
from restsock.connection import InstrumentLike, MessagingLike

from ._accept import OpenListeners
from ._front_door import FrontDoor, IngressLike
from ._inherited import listeners_on
from ._place import place_of
from ._proxies import ProxiesLike
from ._server import Server

__all__ = ["listen"]


def listen(
    host: str | None = None,
    port: int | None = None,
    *,
    sockets: Iterable[socket.socket] | None = None,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    tls: ssl.SSLContext | _tls.ServerTLS | None = None,
    ssl_context: ssl.SSLContext | None = None,
    auth: Authenticator | None = None,
    origins: str | Collection[str] | None = None,
    trusted_proxies: ProxiesLike = (),
    name: str = "listener",
    names: str = "replace",
    ingress: IngressLike | None = None,
    endpoints: Mapping[str, Any] | None = None,
    health_path: str | None = None,
    peers: bool = True,
    options: Options | None = None,
    instrument: InstrumentLike | None = None,
    messaging: MessagingLike | None = None,
    logger: LoggerLike | None = None,
    **app_options: Any,
) -> Server:
    """Listens for dialing peers; enter the result with `async with`.

    Nothing is bound before that. See `Server`.

    Args:
        host: An address, a name (for all its addresses), or `None` for all interfaces. Or a Unix
            socket, `"unix:/run/restsock.sock"`, without a port, for programs on this machine. Its
            file is created with `SocketOptions.unix_mode`, replaces a file that a dead process has
            left, and is removed when the server closes. If another program listens there, or the
            path is another kind of file, entering raises an `OSError`. Users with write access to
            the folder can replace the file, so no other user should have it.
        port: 0 lets the system choose; see `Server.address`.
        sockets: Listening sockets, TCP or Unix, instead of host and port: from a parent process, or
            from systemd (`restsock.systemd_sockets()`). While the parent keeps them open, a restart
            refuses no connection: dialers wait in the queue of the socket from the time when the
            server begins to close until the next one accepts. The server closes its copies of the
            sockets; the files of Unix sockets stay. The `SocketOptions` for listeners have no
            effect on them.
        app: Serves the peers' requests: an ASGI or WSGI application or a coroutine function
            `async (Request) -> Response`. Without an app they are refused.
        interface: `"asgi"`, `"wsgi"` or `"function"`, if that cannot be detected from the app.
        loop: The event loop of an ASGI app: `"trio"`, `"asyncio"`, or `"auto"`: trio for apps of
            Quart-Trio, asyncio for others. See `restsock.apps.make_handler`.
        tls: `restsock.tls.server(certificate=..., ...)`, or an SSL context with a certificate;
            `None` uses plain TCP. A context without a `minimum_version` (`MINIMUM_SUPPORTED`, the
            default on Debian) is set to TLS 1.2; a context that allows an earlier version is a
            `ValueError`.
        ssl_context: Another name for `tls`.
        auth: Authenticates dialers: `restsock.auth.BearerTokens`, `BasicUsers`,
            `CertificateSubject`, or a function, async or not, that gets a `restsock.auth.Upgrade`
            and returns a `Principal`, or `None` for 401. Without it, anyone may dial in.
        origins: The web origins whose pages may dial in, `"https://ui.example"` for example: one,
            or several, or `"*"` for any; `()` is none. `None` allows pages from the host and port
            that were dialed; on loopback without `auth` it allows none, because there a hostile
            page can claim any host (DNS rebinding). Only browsers send an origin.
        trusted_proxies: Addresses and networks (`"127.0.0.1"`, `"10.0.0.0/8"`) of the reverse
            proxies in front of this listener. Their X-Forwarded-For or Forwarded field gives the
            address of a peer, for `Connection.peer`, logs, the limits for each address, and `auth`.
            From other addresses, these fields are ignored. `"unix:"` means everything over a Unix
            socket. `restsock.server.TrustedProxies` also reads the fields of Cloudflare or
            CloudFront.
        name: The name of this side's app, for `Principal.may_call`.
        names: What happens if a peer dials in with the name of another one: `"replace"` closes the
            older one, `"reject"` refuses the newer one, `"share"` keeps both and sends each request
            to one of them. See `Server`.
        ingress: Passes plain HTTP on to peers: see `restsock.ingress.Ingress`.
        endpoints: Apps for plain HTTP on this port, by path: `{"/hooks": app}`. The longest path
            wins; other paths go to the ingress.
        health_path: A path for load balancers: 200 while the server is healthy, otherwise 503.
            Without `ingress`, `endpoints` and `health_path`, plain HTTP gets a 426.
        peers: Whether peers may dial in with restsock.v1. If not, everything goes to `ingress`,
            `endpoints` and `health_path`: plain HTTP, and peers of an endpoint that accepts peers.
        options: Limits, timeouts, heartbeat and socket options.
        instrument: Metrics and traces of the connections: one `Instrument` or several, such as
            those of `restsock.instruments`.
        messaging: Receives and sends messages over the connections: a
            `restsock.messaging.Messaging`, or the class of that name in `restsock.messaging.sync`
            or `.aio`, with the API for threads or for asyncio.
        logger: Gets all log records of this listener and its connections, instead of the loggers
            `restsock.*`: a `logging.Logger`, or a `logging.LoggerAdapter`.
        app_options: Other options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        OSError: On entering: an address cannot be bound.
        RestsockError: On entering: this is not trio.
        ValueError: The port, the path, a socket, an origin, a network or `names` is not valid, or
            this system lacks a socket option or Unix sockets.
        TypeError: An argument is unknown or has a wrong type, or there are app options but no app.
    """
    check_keywords(listen, app_options, make_handler)
    if sockets is not None:
        sockets = list(sockets)
    where, number, opener = _place(host, port, sockets)
    if origins is None and auth is None and _on_loopback(where, sockets):
        origins = ()
    front_door = None
    if ingress is not None or endpoints is not None or health_path is not None:
        front_door = FrontDoor(ingress, endpoints or {}, health_path, options, peers=peers)
    elif not peers:
        raise ValueError("peers=False needs something else to serve: ingress=, or endpoints=")
    return Server(
        where,
        number,
        handler=optional_handler(app, interface, loop, options, app_options),
        ssl_context=_tls.check_context(tls, ssl_context, listener=True),
        auth=auth,
        origins=origins,
        trusted_proxies=trusted_proxies,
        name=name,
        names=names,
        options=options,
        instrument=instrument,
        open_listeners=opener,
        shared=sockets is not None,
        front_door=front_door,
        messaging=messaging,
        logger=logger,
    )


def _place(
    host: str | None, port: int | None, sockets: Collection[socket.socket] | None
) -> tuple[str | None, int, OpenListeners]:
    """Checks the place to listen at; returns it, with the function that opens the listeners."""
    if sockets is not None:
        if host is not None or port is not None:
            raise ValueError("listen takes host and port, or sockets=, not both")
        return None, 0, listeners_on(sockets)
    return place_of(host, port)


def _on_loopback(host: str | None, sockets: Collection[socket.socket] | None) -> bool:
    """Whether only this machine can reach it."""
    return is_loopback(host) if sockets is None else all(map(is_loopback_socket, sockets))
