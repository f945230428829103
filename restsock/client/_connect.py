"""`connect`: the arguments of a `Client`, checked before anything is dialed."""

from __future__ import annotations

import json
import ssl
from typing import Any

from restsock import tls as _tls
from restsock._arguments import check_keywords
from restsock._logging import LoggerLike
from restsock._options import Backoff, Limits, Options
from restsock.apps import make_handler, optional_handler
from restsock.auth import Credentials
from restsock.connection import FieldsLike, InstrumentLike, MessagingLike
from restsock.protocol import weight_of

from ._client import Client
from ._fields import check_fields
from ._proxy import ProxyLike, choose_proxy
from ._url import parse_url

__all__ = ["connect"]

_MAX_NAME = 255
# What of ASCII a host may have as it is, beside letters and digits (RFC 3986, section 3.2.2).
_MARKS = "-._~!$&'()*+,;="


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
    tls: ssl.SSLContext | _tls.ClientTLS | None = None,
    ssl_context: ssl.SSLContext | None = None,
    options: Options | None = None,
    backoff: Backoff | None = None,
    instrument: InstrumentLike | None = None,
    proxy: ProxyLike = None,
    messaging: MessagingLike | None = None,
    logger: LoggerLike | None = None,
    **app_options: Any,
) -> Client:
    """Dials a listener; the result is to be entered with `async with`.

    Nothing is dialed before that. See `Client` for what it does when a connection fails.

    Args:
        url: `ws://host[:port]/path` or `wss://…`, without user, password and fragment. A Unix
            socket is `ws+unix:///run/restsock.sock`, with path and query after a colon:
            `ws+unix:///run/restsock.sock:/path?query`; a colon or question mark in the name of the
            file is percent-encoded. A missing file counts as a refused connection: it is dialed
            again. `wss+unix` uses TLS, and expects a certificate of `localhost`.
        app: Serves the peer's requests: an ASGI or WSGI application or a coroutine function
            `async (Request) -> Response`. Without one they are refused.
        interface: `"asgi"`, `"wsgi"` or `"function"`, if that cannot be detected from the app.
        loop: The event loop of an ASGI app: asyncio, unless it is an app of Quart-Trio or this is
            `"trio"`; see `restsock.apps.make_handler`.
        name: The name by which the listener knows this client. Callers write it as the host of a
            URL, so it has no blank, "/", ":" and the like. A newer client of the same name
            replaces an older one, unless the listener decides otherwise (`names=`).
        metadata: Any JSON value; the listener gets it with each connection.
        headers: Further header fields of the upgrade request.
        auth: Tells the listener who this is: `restsock.auth.Bearer`, `restsock.auth.Basic`, or a
            function, async or not, that returns header fields. Called for each attempt to dial.
        tls: For `wss` and `wss+unix`: `restsock.tls.client(ca=..., certificate=..., ...)` or an SSL
            context. By default the certificates that this system trusts are accepted. A context
            whose `minimum_version` was left open (`MINIMUM_SUPPORTED`, the default on Debian) is
            set to TLS 1.2; one that was set to an earlier version is a `ValueError`.
        ssl_context: The same, by another name.
        options: Limits, timeouts, heartbeat and socket options.
        backoff: How to dial again.
        instrument: Counts, times and traces what happens on the connections: one `Instrument` or
            several, such as those of `restsock.instruments`.
        proxy: A `Proxy` to dial through, or its URL: `http://[user:password@]host:port`,
            `https://…`, `socks5://…` or `socks5h://…`. `None` reads the environment (`HTTPS_PROXY`,
            `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) now; `False` or `""` uses no proxy. A Unix socket
            is always dialed directly.
        messaging: Receives and sends messages over the connections: a
            `restsock.messaging.Messaging`, or one of `restsock.messaging.sync` or `.aio` with the
            API for threads or for asyncio.
        logger: Gets all records of this client and its connections, instead of the loggers
            `restsock.*`: a `logging.Logger`, or a `logging.LoggerAdapter`.
        app_options: Further options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        HandshakeError: On entering: dialing again would not help, or `Backoff.tries` attempts have
        failed. RestsockError: On entering: this is not trio. ValueError: The URL, the name, the
        metadata, a header field or the proxy is not valid, or
            this system has no such socket option, or no Unix sockets. No message repeats a secret.
        ImportError: A SOCKS proxy without `pip install 'restsock[proxy]'`.
        TypeError: An argument is of a wrong type or unknown, or an option of the app has no app.
    """
    check_keywords(connect, app_options, make_handler)
    address = parse_url(url)
    secure = _tls.check_for_url(tls, ssl_context, secure=address.tls, scheme=address.secure_scheme)
    fields = check_fields(headers, auth)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name must be a str, not {type(name).__name__}")
    if name is not None:
        _check_name(name)
    options = Options() if options is None else options
    return Client(
        address,
        handler=optional_handler(app, interface, loop, options, app_options),
        name=name,
        metadata=_check_metadata(metadata, options.limits),
        headers=fields,
        auth=auth,
        ssl_context=secure,
        options=options,
        backoff=backoff,
        instrument=instrument,
        proxy=choose_proxy(address, proxy, logger),
        messaging=messaging,
        logger=logger,
    )


def _check_name(name: str) -> None:
    if not (0 < len(name) <= _MAX_NAME and name.isprintable()):
        raise ValueError(f"the name must have 1 to {_MAX_NAME} printable characters")
    wrong = next((c for c in name if c.isascii() and not c.isalnum() and c not in _MARKS), None)
    if wrong is not None:
        raise ValueError(
            f"the name {name!r} cannot be a host in a URL, where callers write it: it has a"
            f" {wrong!r}; take letters, digits and {_MARKS}"
        )


def _check_metadata(metadata: Any, limits: Limits) -> Any:
    """A copy, exactly as the peer is going to see it: tuples are lists, keys are strings."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        nbytes = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"the metadata is not JSON: {exc}") from exc
    if nbytes > limits.max_metadata:
        raise ValueError(
            f"the metadata has {nbytes} bytes as JSON, more than {limits.max_metadata}"
        )
    copy = json.loads(text)
    # What a listener with the same limits would refuse.
    if weight_of(copy, depth=limits.max_metadata_depth) is None:
        raise ValueError(f"the metadata is nested more than {limits.max_metadata_depth} deep")
    if weight_of(copy, most=limits.max_metadata_memory) is None:
        raise ValueError(
            f"the metadata takes more than {limits.max_metadata_memory} bytes of memory"
        )
    return copy
