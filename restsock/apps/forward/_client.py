"""Whole requests to a server, over the pool of `forward`: for those who ask on their own behalf."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import ProtocolError, RemoteProtocolError
from restsock.apps._errors import UpstreamError
from restsock.apps._tasks import open_nursery
from restsock.connection import Response, until
from restsock.protocol import DataReceived, EndReceived, PlainHead, RequestHead

from ._head import AT_ONCE, FRESH, IDEMPOTENT, sized
from ._pool import ConnectError, Pool

if TYPE_CHECKING:
    from restsock.http1 import UpstreamEvent
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
        with call.bound:
            return await call.run()
        raise UpstreamError(504, call.too_late, may_have_run=call.sent)


class _Call:
    """One request.

    Attributes:
        sent: whether a byte of it may have left.
        bound: bounds it: by its deadline, and while it waits for the server by that's.
    """

    __slots__ = ("_body", "_deadline", "_forward", "_head", "_max_body", "_plain", "_pool",
                 "bound", "sent")  # fmt: skip

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
        self.bound = until(deadline)
        self._deadline = deadline
        self._pool = pool
        self._forward = forward
        self._head = head
        self._plain = plain
        self._body = body
        self._max_body = max_body

    async def run(self) -> Response:
        again = self._head.method in IDEMPOTENT
        max_idle = math.inf if again else FRESH
        while True:
            self.bound.move(self._deadline)
            try:
                link = await self._pool.acquire(max_idle=max_idle)
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
                await self._pool.release(link)

    @property
    def too_late(self) -> str:
        """What took too long, once that is the case."""
        if self.bound.deadline < self._deadline:
            return "the server does not answer in time"
        return "no answer in time"

    def _failed(self, error: Exception) -> UpstreamError:
        words = "the server did not give a complete, valid response"
        return UpstreamError(502, words, may_have_run=self.sent)

    async def _exchange(self, link: UpstreamConnection) -> Response:
        data = link.http.send_request(self._head, body=bool(self._body), plain=self._plain)
        if self._body:
            data += link.http.send_data(self._body)
        data += link.http.send_end()
        self.sent = True
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
        head = await self._receive_head(link)
        body: list[bytes] = []
        size = 0
        while True:
            event = link.http.next_event() or await self._read(link, self._forward.idle_timeout)
            if isinstance(event, EndReceived):
                return Response(head.status, head.headers, b"".join(body))
            assert isinstance(event, DataReceived)
            body.append(event.data)
            size += len(event.data)
            if size > self._max_body:
                raise UpstreamError(
                    502, f"an answer of more than {self._max_body} bytes", may_have_run=True
                )

    async def _receive_head(self, link: UpstreamConnection) -> ResponseHead:
        seconds = self._forward.response_timeout
        while True:
            event = link.http.next_event() or await self._read(link, seconds)
            assert not isinstance(event, (DataReceived, EndReceived))
            if event.head.status >= 200:
                return event.head
            if event.head.status == 101:
                raise RemoteProtocolError("an upgrade that nobody has asked for")

    async def _read(self, link: UpstreamConnection, seconds: float | None) -> UpstreamEvent:
        """Waits for the next event, which has not come yet, for so many seconds."""
        if seconds is not None:
            self.bound.move(min(self._deadline, trio.current_time() + seconds))
        http = link.http
        while True:
            http.receive_data(await link.receive())
            if (event := http.next_event()) is not None:
                return event
