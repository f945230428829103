"""`connect`: the arguments of a `Client`, checked before anything is dialed."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from typing import Any

from restsock._config import Backoff, Options
from restsock.apps import optional_handler
from restsock.connection import FieldsLike

from ._client import Client
from ._url import parse_url

__all__ = ["connect"]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

_MAX_NAME = 255

# The opening handshake writes these.
_OURS = frozenset((b"host", b"connection", b"upgrade", b"content-length", b"transfer-encoding"))


def connect(
    url: str,
    *,
    app: Any = None,
    interface: str | None = None,
    loop: str = "auto",
    name: str | None = None,
    metadata: Any = None,
    headers: FieldsLike = (),
    ssl_context: ssl.SSLContext | None = None,
    options: Options | None = None,
    backoff: Backoff | None = None,
    **app_options: Any,
) -> Client:
    """Dials a listener; the result is to be entered with `async with`.

    Nothing is dialed before that. See `Client` for what it does when a connection fails.

    Args:
        url: `ws://host[:port]/path` or `wss://…`, without user, password and fragment.
        app: Serves the peer's requests: an ASGI or WSGI application or a coroutine function
            `async (Request) -> Response`. Without one they are refused.
        interface: `"asgi"`, `"wsgi"` or `"function"`, where that cannot be told from the app.
        loop: `"trio"` or `"asyncio"`, where what an ASGI app needs cannot be told from it; see
            `restsock.apps.make_handler`.
        name: The name by which the listener is to know this client. A newer client of the same
            name replaces an older one.
        metadata: Any JSON value; the listener gets it with each connection.
        headers: Further header fields of the upgrade request: `{"Authorization": "Bearer …"}`.
        ssl_context: For `wss`; by default the certificates that this system trusts are accepted.
        options: Limits, timeouts and heartbeat.
        backoff: How to dial again.
        app_options: Further options of `restsock.apps.make_handler`: `workers`, for example.

    Raises:
        ValueError: The URL, the name, the metadata or a header field is not valid. No message
            repeats a secret.
        TypeError: An argument is of a wrong type, or an option of the app has no app.
    """
    address = parse_url(url)
    if address.tls:
        ssl_context = ssl_context or _default_ssl_context()
    elif ssl_context is not None:
        raise ValueError("an ssl_context needs a wss:// URL")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name must be a str, not {type(name).__name__}")
    if name is not None and not (0 < len(name) <= _MAX_NAME and name.isprintable()):
        raise ValueError(f"the name must have 1 to {_MAX_NAME} printable characters")
    options = Options() if options is None else options
    return Client(
        address,
        handler=optional_handler(app, interface, loop, options, app_options),
        name=name,
        metadata=_check_metadata(metadata, options.limits.max_metadata),
        headers=_check_headers(headers),
        ssl_context=ssl_context,
        options=options,
        backoff=backoff,
    )


def _default_ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Says to servers of several protocols that this is not HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check_metadata(metadata: Any, limit: int) -> Any:
    """A copy, exactly as the peer is going to see it: tuples are lists, keys are strings."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        nbytes = len(text.encode("utf-8"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"the metadata is not JSON: {exc}") from exc
    if nbytes > limit:
        raise ValueError(f"the metadata has {nbytes} bytes as JSON, more than {limit}")
    return json.loads(text)


def _check_headers(headers: FieldsLike) -> list[tuple[bytes, bytes]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked = []
    for name, value in pairs:
        field = (_octets(name), _octets(value))
        if not _NAME.fullmatch(field[0]):
            raise ValueError(f"not a header field name: {name!r}")
        # The value may be a secret, so it is not repeated.
        if not _VALUE.fullmatch(field[1]) or field[1] != field[1].strip(b" \t"):
            raise ValueError(f"the value of the header field {name!r} cannot be sent")
        lower = field[0].lower()
        if lower in _OURS or lower.startswith(b"sec-websocket-"):
            raise ValueError(f"the header field {name!r} is set by the upgrade itself")
        checked.append(field)
    return checked


def _octets(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("header fields are latin-1 text or bytes") from None
    except AttributeError:
        raise TypeError("header fields are pairs of str or bytes") from None
