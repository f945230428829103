"""Whole requests to a server, over the pool of `forward`: for those who ask on their own behalf."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import ProtocolError, RemoteProtocolError
from restsock.apps._errors import UpstreamError
from restsock.apps._tasks import open_nursery
from restsock.connection import Response, until
from restsock.protocol import DataReceived, EndReceived, PlainHead, RequestHead

from ._head import AT_ONCE, FRESH, IDEMPOTENT, or_forever, sized
from ._pool import ConnectError, Pool

if TYPE_CHECKING:
    from restsock.protocol import ResponseHead

    from ._forward import Forward
    from ._pool import UpstreamConnection

__all__ = ["UpstreamClient"]

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class UpstreamClient:
    """Sends requests to a server, while its `running()` is open.

    A request is sent again by the rule of `Forward`, and by no other.

    Args:
        forward: where to, and how long it may take. `host` and `forwarded` are for the caller.
        max_body: bytes of the largest body of an answer.
    """

    def __init__(self, forward: Forward, *, max_body: int) -> None:
        self._forward = forward
        self._max_body = max_body
        self._pool: Pool | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps connections meanwhile, and closes them at the end."""
        pool = self._pool = Pool(self._forward)
        try:
            async with pool.running():
                yield
        finally:
            self._pool = None

    async def request(
        self,
        head: RequestHead,
        body: bytes = b"",
        *,
        plain: PlainHead | None = None,
        deadline: float = math.inf,
    ) -> Response:
        """Sends a request and reads the whole answer, in whichever status.

        If cancelled, its connection is closed, so that the server learns of it.

        Args:
            head: as the server gets it, with its Host; the length of the body is added.
            body: all of it.
            plain: the head, if it was found to be plain, with the length of the body.
            deadline: when it is given up, on trio's clock.

        Raises:
            UpstreamError: there is no answer, or one that is too large.
            LocalProtocolError: the head cannot be sent.
        """
        pool = self._pool
        if pool is None:
            raise UpstreamError(503, "the gateway is not open", may_have_run=False)
        if plain is None:
            head = sized(head, body)
        call = _Call(pool, self._forward, head, plain, body, self._max_body, deadline)
        with until(deadline):
            return await call.run()
        raise UpstreamError(504, "no answer in time", may_have_run=call.sent)


class _Call:
    """One request.

    Attributes:
        sent: whether a byte of it may have left.
    """

    __slots__ = ("_body", "_deadline", "_forward", "_head", "_max_body", "_plain", "_pool",
                 "sent")  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        forward: Forward,
        head: RequestHead,
        plain: PlainHead | None,
        body: bytes,
        max_body: int,
        deadline: float,
    ) -> None:
        self.sent = False
        self._deadline = deadline
        self._pool = pool
        self._forward = forward
        self._head = head
        self._plain = plain
        self._body = body
        self._max_body = max_body

    async def run(self) -> Response:
        pool = self._pool
        again = self._head.method in IDEMPOTENT
        max_idle = math.inf if again else FRESH
        while True:
            try:
                link = pool.take_idle(max_idle) or await pool.acquire(max_idle=max_idle)
            except ConnectError as exc:
                # Another attempt may have been made before, on a connection that was stale.
                raise UpstreamError(exc.status, str(exc), may_have_run=self.sent) from exc
            try:
                return await self._exchange(link)
            except (RemoteProtocolError, *_BROKEN) as exc:
                if link.used and again and not link.http.answered:
                    max_idle = -1.0
                    continue
                raise self._failed(exc) from exc
            except ProtocolError as exc:
                if not self.sent:
                    raise
                raise self._failed(exc) from exc
            finally:
                if not pool.keep(link):
                    await link.close()

    def _failed(self, error: Exception) -> UpstreamError:
        words = "the server did not give a complete, valid response"
        return UpstreamError(502, words, may_have_run=self.sent)

    async def _exchange(self, link: UpstreamConnection) -> Response:
        data = link.http.send_request(self._head, body=bool(self._body), plain=self._plain)
        if self._body:
            data += link.http.send_data(self._body)
        data += link.http.send_end()
        self.sent = True
        if link.send_soon(data):
            return await self._receive(link)
        if len(data) <= AT_ONCE:
            await self._send(link, data)
            return await self._receive(link)
        # An answer that is complete ends the request, however much of it is left.
        async with open_nursery() as nursery:
            nursery.start_soon(self._send, link, data)
            return await self._receive(link)

    async def _send(self, link: UpstreamConnection, data: bytes) -> None:
        try:
            await link.send(data)
        except _BROKEN:
            pass  # there may be an answer all the same; if not, `_receive` will say so

    async def _receive(self, link: UpstreamConnection) -> Response:
        http = link.http
        head: ResponseHead | None = None
        body: list[bytes] = []
        size = 0
        seconds = self._forward.response_timeout
        while True:
            event = http.next_event()
            if event is None:
                http.receive_data(await self._wait(link, seconds))
            elif isinstance(event, DataReceived):
                body.append(event.data)
                size += len(event.data)
                if size > self._max_body:
                    words = f"an answer of more than {self._max_body} bytes"
                    raise UpstreamError(502, words, may_have_run=True)
            elif isinstance(event, EndReceived):
                assert head is not None
                return Response(head.status, head.headers, b"".join(body))
            elif event.head.status == 101:
                raise RemoteProtocolError("an upgrade that nobody has asked for")
            elif event.head.status >= 200:
                head = event.head
                seconds = self._forward.idle_timeout

    def _wait(self, link: UpstreamConnection, seconds: float | None) -> Awaitable[bytes]:
        """Waits for bytes, for so many seconds."""
        due = or_forever(seconds) + trio.current_time()
        return link.receive() if due >= self._deadline else _receive_until(link, due)


async def _receive_until(link: UpstreamConnection, due: float) -> bytes:
    with trio.move_on_at(due):
        return await link.receive()
    raise UpstreamError(504, "the server does not answer in time", may_have_run=True)
