"""The environ of a WSGI request (PEP 3333, "environ Variables")."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes
from wsgiref import util

from restsock.apps._connection_info import describe, server_address

if TYPE_CHECKING:
    from restsock.connection import Exchange

__all__ = ["FileWrapper", "wsgi_environ"]

# The blocks of a file are sent one by one, and each has overhead.
_BLOCK = 64 * 1024


def wsgi_environ(
    exchange: Exchange, body: io.BufferedIOBase, *, threads: int, root_path: str = ""
) -> dict[str, Any]:
    """Builds the environ.

    Besides the keys of the PEP there are `REQUEST_URI` and `RAW_URI` (the target as it was sent),
    `REMOTE_ADDR` and `REMOTE_PORT`, `wsgi.input_terminated`, and `restsock.connection`, a
    `ConnectionInfo` about the connection of the request.

    Header fields with an underscore in their name are left out, since `X_A` would look like `X-A`;
    so is `Proxy`, which would look like the environment variable `HTTP_PROXY`.

    Args:
        exchange: The request.
        body: `wsgi.input`.
        threads: How many threads may call the app at once.
        root_path: The path at which the app is mounted; the target begins with it.
    """
    connection = exchange.connection
    assert connection is not None
    request = exchange.request
    peer = connection.peer
    scheme = peer.scheme_of(request)
    raw_path, _, query = request.target.partition(b"?")
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    if root_path:
        path = path[len(root_path) :]
    target = request.target.decode("latin-1")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SCRIPT_NAME": root_path,
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "REQUEST_URI": target,
        "RAW_URI": target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "restsock",
        "REMOTE_ADDR": peer.host,
        "REMOTE_PORT": str(peer.port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "restsock.connection": describe(connection).info,
    }
    host = b""
    for name, value in request.headers:
        key = name.decode("ascii").upper()
        if "_" in key or key == "PROXY":
            continue
        if key == "HOST":
            host = value
        key = key.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        text = value.decode("latin-1")
        if key in environ:
            # Cookie is the only field whose parts are not joined by a comma.
            environ[key] += ("; " if key == "HTTP_COOKIE" else ",") + text
        else:
            environ[key] = text
    server, port = server_address(host, scheme)
    environ["SERVER_NAME"] = server or "restsock"
    environ["SERVER_PORT"] = str(port)
    return environ


class FileWrapper(util.FileWrapper):
    """`wsgi.file_wrapper`: a file as an iterable of blocks, larger than frameworks request."""

    def __init__(self, file: Any, block_size: int = _BLOCK) -> None:
        super().__init__(file, max(block_size, _BLOCK))
