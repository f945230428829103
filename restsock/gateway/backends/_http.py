"""`HTTP`: a server that speaks HTTP/1.1 answers."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from restsock import tls as _tls
from restsock._options import between
from restsock.apps import Forward, UpstreamError, content_length_of, upstream_client
from restsock.gateway._errors import CallFailed
from restsock.protocol import (
    PlainHead,
    RequestHead,
    encode_request_fast,
    number_request_fast,
)

from ._http_backend import MAX_BODY, HTTPBackend, rooted

if TYPE_CHECKING:
    from restsock.connection import Response
    from restsock.gateway._message import Message

    from ._http_mapping import HTTPMapping, HTTPRequest

__all__ = ["HTTP"]

_HEADS = 1024  # that were checked, and are kept for the next time


class HTTP(HTTPBackend):
    """Answers with a server that speaks HTTP/1.1, over a few connections that are kept.

        HTTP("http://127.0.0.1:5000", HTTPMapping(method="GET", path="/pets/{body[id]}"))

    The reply has the status of the response: a 500 is a failed reply. Redirects are not followed.
    If there is no response, the client is told whether its request may have run: without a
    connection it has not. A request is repeated only as `restsock.forward` says.

    Args:
        url: `http://` or `https://`, host, port, and the base path of all requests; also
            `http+unix:///run/app.sock`.
        mapping: How messages become requests; by default they are sent as a POST.
        tls: For `https`: `restsock.tls.client(...)`, or an SSL context. The default accepts the
            certificates that this system trusts.
        host: The Host that the server sees; by default that of the URL.
        connect_timeout: Seconds to connect, TLS included, or to wait for a free connection.
        response_timeout: Seconds without a byte of the response. The deadline of the message bounds
            the whole call.
        max_connections: Connections to the server at once. Further calls wait, for
            `connect_timeout`.
        keep_alive: Seconds that a connection is kept for the next call.
        max_body: Bytes of the largest body of an answer; a larger one is a 502.

    Raises:
        ValueError: An argument is not valid. No message repeats a password.
        TypeError: Likewise.
    """

    def __init__(
        self,
        url: str,
        mapping: HTTPMapping | None = None,
        *,
        tls: ssl.SSLContext | _tls.ClientTLS | None = None,
        host: str = "upstream",
        connect_timeout: float = 10.0,
        response_timeout: float = 60.0,
        max_connections: int = 128,
        keep_alive: float = 1.5,
        max_body: int = MAX_BODY,
    ) -> None:
        super().__init__(mapping)
        self._forward = Forward(
            url,
            host=host,
            forwarded=None,  # the mapping says who asks
            ssl_context=tls,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            idle_timeout=response_timeout,
            max_connections=max_connections,
            keep_alive=keep_alive,
        )
        if host == "keep":
            raise ValueError('a message has no Host to keep: host is "upstream", or a name')
        origin = self._forward.origin
        self._host = b"Host", (origin.authority if host == "upstream" else host).encode("ascii")
        self._prefix = origin.prefix
        self.max_body = max_body
        between(self, "max_body", 1, 2**31)
        self._begin_head = lru_cache(_HEADS)(self._checked_head)
        self._client = upstream_client(self._forward, max_body=max_body)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps connections to the server meanwhile."""
        async with self._client.running():
            yield

    async def _send(self, message: Message, request: HTTPRequest) -> Response:
        head, plain = self._head_of(request)
        try:
            return await self._client.request(
                head, request.body, plain=plain, deadline=message.deadline
            )
        except UpstreamError as exc:
            raise CallFailed(exc.status, str(exc), may_have_run=exc.may_have_run) from exc

    def _head_of(self, request: HTTPRequest) -> tuple[RequestHead, PlainHead | None]:
        """The head of a request; and again, with its length, where it was found to be plain."""
        fields = request.headers
        numbers: list[tuple[bytes, int]] = []
        if request.timed:
            name, left = fields[-1]
            fields, numbers = fields[:-1], [(name.encode("ascii"), int(left))]
        head, plain = self._begin_head(request.method, request.target, fields)
        if plain is None:
            more = [(name, b"%d" % number) for name, number in numbers]
            return head._replace(headers=[*head.headers, *more]), None
        size = content_length_of(head.method, request.body)
        plain = number_request_fast(plain, numbers, size)
        assert isinstance(plain.head, RequestHead)
        return plain.head, plain

    def _checked_head(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...]
    ) -> tuple[RequestHead, PlainHead | None]:
        """The same, without what each request has of its own."""
        fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        path = rooted(self._prefix + target).encode("ascii")
        head = RequestHead(method.encode("ascii"), path, [self._host, *fields])
        found = encode_request_fast(head)
        return head, None if found is None or found[1] is not None else PlainHead(head, *found)

    def __repr__(self) -> str:
        return f"HTTP({str(self._forward.origin)!r})"
