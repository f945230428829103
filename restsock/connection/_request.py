"""Requests that come in, for apps that are functions."""

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
    """A request that came in, for an app that is a coroutine function.

    Its body is read by `read()` or by iterating, once.

    Attributes:
        method: in capitals.
        target: path and query, as sent.
        path: percent-decoded.
        query: after the "?", as sent.
        headers: name and value pairs, as sent.
        scheme: `"http"` or `"https"`: of the caller's URL, which is the caller's claim; whether
            the connection has TLS when the caller does not say. `connection.peer.tls` is the fact.
        connection: what it came over: `name`, `id` and `metadata` tell the peer.
        trailers: what came after the body, once it is read.
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
        """The whole body, of any size: bound it by iterating when the peer is not trusted.

        Raises:
            RestsockError: the request broke off; its caller no longer waits for an answer.
        """
        return b"".join([data async for data in self])

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not.
            RestsockError: as with `read`.
        """
        return json.loads(await self.read())
