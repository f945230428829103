"""Responses as people write them: for apps that are functions, and for callers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock._exceptions import WebSocketRefused
from restsock.protocol import Headers, ResponseHead

from ._close import printable

if TYPE_CHECKING:
    from ._interfaces import BodySource, TaskExchange

__all__ = [
    "Body",
    "Fields",
    "FieldsLike",
    "Response",
    "StreamedResponse",
    "fields_of",
    "refused_by",
]

FieldsLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
"""Header fields: a mapping or pairs. Text is encoded as latin-1."""


def fields_of(fields: FieldsLike) -> list[tuple[bytes, bytes]]:
    """Header fields as bytes, from a mapping or from pairs. Text is encoded as latin-1."""
    pairs: Iterable[tuple[str | bytes, str | bytes]]
    if isinstance(fields, list):  # first: to find that something is no mapping takes long
        pairs = fields
    else:
        pairs = fields.items() if isinstance(fields, Mapping) else fields
    return [
        (
            name if isinstance(name, bytes) else name.encode("latin-1"),
            value if isinstance(value, bytes) else value.encode("latin-1"),
        )
        for name, value in pairs
    ]


class Fields:
    """A message with header fields."""

    headers: Headers

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field; the first one's, when it is repeated."""
        wanted = name.lower().encode("latin-1")
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return default


class Body:
    """A body that comes in pieces. A plain iterator: a generator would have to be closed."""

    _body: BodySource

    @property
    def trailers(self) -> Headers:
        """What came after the body, once it is read."""
        return self._body.trailers

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self._body.receive_data()
        if not data:
            raise StopAsyncIteration
        return data


class Response(Fields):
    """A response: what an app that is a coroutine function returns, what `request()` gives.

    Args:
        status: 200 to 999.
        headers: a mapping or pairs.
        body: bytes, text (UTF-8), or pieces as they come.
        trailers: fields to send after the body.
    """

    def __init__(
        self,
        status: int = 200,
        headers: FieldsLike = (),
        body: bytes | str | AsyncIterable[bytes] = b"",
        trailers: FieldsLike = (),
    ) -> None:
        self.status = status
        self.headers: Headers = fields_of(headers)
        self.trailers: Headers = fields_of(trailers) if trailers else []
        self.body: bytes | AsyncIterable[bytes] = body.encode() if isinstance(body, str) else body

    @property
    def content(self) -> bytes:
        """The body.

        Raises:
            TypeError: it comes in pieces.
        """
        if not isinstance(self.body, bytes):
            raise TypeError("the body comes in pieces")
        return self.body

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not shows as U+FFFD."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not.
        """
        return json.loads(self.content)

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


def refused_by(response: Response) -> WebSocketRefused:
    """The error that an answer to a request for a WebSocket amounts to, which is no 101."""
    words = printable(response.text.strip().partition("\n")[0][:200])
    return WebSocketRefused(
        f"the WebSocket was not accepted, but answered with {response.status}"
        + (f": {words}" if words and not words.startswith("<") else ""),
        status=response.status,
        response=response,
    )


class StreamedResponse(Fields, Body):
    """A response whose body is still on its way; or, with status 101, a raw two-way stream.

    Attributes:
        status: of the final head.
        reason: its phrase.
        headers: name and value pairs.
        trailers: what came after the body, once it is read.
    """

    def __init__(self, exchange: TaskExchange, head: ResponseHead) -> None:
        self.status = head.status
        self.reason = head.reason.decode("latin-1")
        self.headers = head.headers
        self._exchange = self._body = exchange

    async def read(self) -> bytes:
        """All that is left of the body, of any size. Raises what `receive` does."""
        return b"".join([data async for data in self])

    async def receive(self) -> bytes:
        """The next bytes as they came; `b""` at the end. Cancelled, it takes none.

        Raises:
            RestsockError: the response broke off; `may_have_run` says whether a retry is safe.
        """
        return await self._exchange.receive_data()

    async def send(self, data: bytes) -> None:
        """After a 101: sends raw bytes; waits while too many are waiting to leave.

        Raises:
            RestsockError: the exchange has failed.
        """
        await self._exchange.send_data(data)
        self._exchange.check()

    def send_end(self) -> None:
        """After a 101: no more bytes will follow this way."""
        self._exchange.send_end()
