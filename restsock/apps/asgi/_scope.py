"""The scope of a request (ASGI 3, "HTTP & WebSocket ASGI Message Format", version 2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from restsock.apps._connection_info import describe, server_address

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

__all__ = ["asgi_scope"]


def asgi_scope(
    kind: str, exchange: ServedExchange, state: dict[str, Any] | None, root_path: str = ""
) -> dict[str, Any]:
    """The part that both kinds of scope share.

    Besides the keys of the specification there is `restsock`, a `ConnectionInfo` about the
    connection of the request.

    Args:
        kind: `"http"` or `"websocket"`.
        exchange: The request.
        state: The `state` of the app's lifespan; `None` if it has no lifespan.
        root_path: The path at which the app is mounted.
    """
    connection = exchange.connection
    assert connection is not None
    description = describe(connection)
    request = exchange.request
    raw_path, _, query_string = request.target.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    peer = connection.peer
    headers = [(name.lower(), value) for name, value in request.headers]
    scheme = peer.scheme_of(request)
    host = next((value for name, value in headers if name == b"host"), b"")
    server, port = server_address(host, scheme)
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": scheme if kind == "http" else scheme.replace("http", "ws"),
        "path": path.decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": root_path,
        "headers": headers,
        "client": (peer.host, peer.port) if peer.host else None,
        "server": (server.strip("[]"), port),
        "extensions": {},
        "restsock": description.info,
    }
    if description.tls is not None:
        tls = scope["extensions"]["tls"] = description.tls.copy()
        tls["client_cert_chain"] = list(tls["client_cert_chain"])  # an app may change its scope
    if state is not None:
        scope["state"] = state.copy()
    return scope
