"""Incoming requests, for apps that are functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from ._messages import Body, Fields

if TYPE_CHECKING:
    from restsock.protocol import RequestHead

    from ._connection import Connection
    from ._exchange import Carrier
    from ._interfaces import BodySource

__all__ = ["Request"]


class Request(Fields, Body):
    """An incoming request, for an app that is a coroutine function.

    Read its body with `read()`, or by iterating, once.

    Attributes:
        method: The method, in capitals.
        target: Path and query, as sent.
        path: The path, percent-decoded.
        query: The query after the "?", as sent.
        headers: The header fields, as pairs of name and value, as sent.
        scheme: `"http"` or `"https"`: the scheme of the caller's URL, as the caller claims; if the
            caller does not say, it depends on TLS. `connection.peer.tls` is the fact.
        connection: The connection; its `name`, `id` and `metadata` describe the peer.
        trailers: The trailers, once the body is read.
    """

    def __init__(self, head: RequestHead, body: BodySource, connection: Carrier) -> None:
        self.method = head.method.decode("ascii")
        self.target = head.target.decode("latin-1")
        path, _, self.query = self.target.partition("?")
        self.path = unquote(path)
        self.headers = head.headers
        self.scheme = connection.peer.scheme_of(head)
        self.connection = cast("Connection", connection)  # there is no other carrier
        self._body = body

    async def read(self) -> bytes:
        """Reads the whole body, of any size. If the peer is not trusted, iterate with a limit.

        Raises:
            RestsockError: The request broke off; its caller no longer waits for a response.
        """
        return b"".join([data async for data in self])

    async def json(self) -> Any:
        """Reads the body as JSON.

        Raises:
            ValueError: The body is not JSON.
            RestsockError: As for `read`.
        """
        return json.loads(await self.read())
