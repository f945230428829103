"""One forwarded request: from the tunnel to the server, and the response back.

Both bodies go at the same time, each as fast as its receiver takes it: what is read from the tunnel
was sent on before its credit goes back, and the server is read only while there is room in the
tunnel. The server always learns of the end: a connection on which a message is not complete is
closed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import ProtocolError, RemoteProtocolError, RestsockError
from restsock._logging import PartLog
from restsock.apps._errors import BadResponseError, first_cause, loggable
from restsock.apps._tasks import DrivenCall, open_nursery
from restsock.connection import Exchange
from restsock.http1 import UpstreamEvent
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    ResetCode,
    ResponseHead,
)

from ._head import (
    AT_ONCE,
    FRESH,
    IDEMPOTENT,
    BadTargetError,
    forwarded_head,
    or_forever,
    passes,
    sized,
)
from ._pool import ConnectError
from ._raw import carry_raw

if TYPE_CHECKING:
    from ._forward import Forward
    from ._pool import Pool, UpstreamConnection

__all__ = ["ForwardCall"]

_log = PartLog("restsock.apps")


class _TooSlowError(Exception):
    """The server did not do what it should in time."""


# What the server, or the way there, can be at fault for.
_FAULTS = (ProtocolError, BadResponseError, trio.BrokenResourceError, trio.ClosedResourceError)


class ForwardCall(DrivenCall):
    """A request on its way.

    Args:
        forward: where to, and how.
        pool: connections to there.
        exchange: the request.
        grace: seconds that one direction of an upgraded stream may outlive the other.
    """

    def __init__(self, forward: Forward, pool: Pool, exchange: Exchange, *, grace: float) -> None:
        super().__init__(exchange)
        self._forward = forward
        self._pool = pool
        self._grace = grace
        # When the head of the response has to be there, and what waits for it.
        self._head_due = math.inf
        self._head_scope: trio.CancelScope | None = None

    async def run(self) -> None:
        """Forwards the request, and tells the caller what goes wrong."""
        with self._scope:
            try:
                await self._run()
            except BadTargetError as exc:
                self._fail(400, str(exc), exc)
            except ConnectError as exc:
                self._fail(exc.status, str(exc), exc)
            except _TooSlowError as exc:
                self._fail(504, str(exc), exc)
            except _FAULTS as exc:
                self._fail(502, "the server did not give a complete, valid response", exc)

    def _fail(self, status: int, detail: str, error: Exception) -> None:
        """Answers with a problem (RFC 9457); cuts off what has been begun."""
        cause = first_cause(error)
        why = str(error) or type(error).__name__
        if cause is not error:
            why += f" ({cause})"
        request = loggable(self._exchange.request)
        _log.warning("forwarding %s to %s failed: %s", request, self._forward.origin, why)
        response = self.response
        if response.complete:
            return
        if response.head_sent:
            code = ResetCode.TIMEOUT if status == 504 else ResetCode.INTERNAL
            self._exchange.reset(code, detail)
            return
        response.problem(status, detail)

    # --- to the server --------------------------------------------------------------------

    async def _run(self) -> None:
        head = forwarded_head(self._exchange.request, self._forward, self._connection.peer)
        driver = self._driver
        upgrade = head.upgrade is not None
        # What is here completely can be sent in one piece, with its length, and once more.
        whole = driver.received or self._exchange.request.upgrade is not None
        body = b""
        if whole:
            while driver.unread and (data := driver.receive_nowait()):
                body += data
            if not (upgrade or driver.trailers):
                head = sized(head, body)
        replayable = whole and head.method in IDEMPOTENT
        max_idle = math.inf if replayable else FRESH
        while True:
            link = await self._pool.acquire(max_idle=max_idle)
            try:
                first = link.http.send_request(
                    head, body=not whole or bool(body or driver.trailers)
                )
                if whole:
                    first += link.http.send_data(body) if body else b""
                    first += link.http.send_end(self._trailers(driver.trailers))
                await self._exchange_messages(link, first, whole=whole)
                return
            except (RemoteProtocolError, trio.BrokenResourceError):
                stale = link.used and not link.http.answered
                if not (stale and replayable):
                    raise
            finally:
                await self._pool.release(link)
            max_idle = -1.0

    async def _exchange_messages(
        self, link: UpstreamConnection, first: bytes, *, whole: bool
    ) -> None:
        if whole and len(first) <= AT_ONCE:
            await self._send(link, first, whole=True)
            await self._receive(link)
            return
        errors: list[Exception] = []  # of the two directions, the first one first

        async def send() -> None:
            try:
                await self._send(link, first, whole=whole)
            except (RestsockError, _TooSlowError) as exc:
                errors.append(exc)
                nursery.cancel_scope.cancel()

        try:
            # An answer that is complete ends the request, however much of it is left.
            async with open_nursery() as nursery:
                nursery.start_soon(send)
                await self._receive(link)
        except Exception as exc:  # noqa: BLE001  # raised below
            errors.append(exc)
        if errors:
            raise errors[0]

    async def _send(self, link: UpstreamConnection, first: bytes, *, whole: bool) -> None:
        driver = self._driver
        try:
            await self._write(link, first)
            while not whole:
                data = await driver.receive_data()
                if data:
                    await self._write(link, link.http.send_data(data))
                else:
                    await self._write(link, link.http.send_end(self._trailers(driver.trailers)))
                    whole = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # there may be an answer all the same; if not, `_receive` will say so
        except RestsockError as exc:
            if exc is not driver.error:  # else the caller has left, and everything is cancelled
                raise
        self._expect_head()

    async def _write(self, link: UpstreamConnection, data: bytes) -> None:
        with trio.move_on_after(or_forever(self._forward.idle_timeout)) as waiting:
            await link.send(data)
        if waiting.cancelled_caught:
            raise _TooSlowError("the server takes no more of the request")

    def _expect_head(self) -> None:
        """From now on the server has all that it needs for an answer."""
        self._head_due = trio.current_time() + or_forever(self._forward.response_timeout)
        if self._head_scope is not None:
            self._head_scope.deadline = self._head_due

    # --- and back -------------------------------------------------------------------------

    async def _receive(self, link: UpstreamConnection) -> None:
        http = link.http
        response = self.response
        while not response.complete:
            event = http.next_event()
            if event is not None:
                if isinstance(event, DataReceived):
                    response.body(event.data, more=True)
                    await self._driver.send_data(b"")  # waits while too much waits to leave
                elif isinstance(event, EndReceived):
                    response.end(event.trailers)
                else:
                    await self._receive_head(link, event)
                continue
            if http.switched:
                return
            if response.started and not response.head_sent:
                response.flush_head()
            http.receive_data(await self._read(link))

    async def _receive_head(self, link: UpstreamConnection, event: UpstreamEvent) -> None:
        assert not isinstance(event, (DataReceived, EndReceived))
        head = event.head
        if head.status == 101:
            await self._switch(link, head)
        elif head.status < 200:
            self._exchange.send_head(head)
            if self._head_due < math.inf:
                self._expect_head()  # the server is alive and says so
        else:
            self.response.start(head.status, head.headers, head.reason.strip() or None)

    async def _read(self, link: UpstreamConnection) -> bytes:
        if self.response.started:
            seconds = or_forever(self._forward.idle_timeout)
            scope = trio.CancelScope(deadline=trio.current_time() + seconds)
            problem = "the server gives no more of its response"
        else:
            self._head_scope = scope = trio.CancelScope(deadline=self._head_due)
            problem = "the server does not answer in time"
        with scope:
            data = await link.receive()
        self._head_scope = None
        if scope.cancelled_caught:
            raise _TooSlowError(problem)
        return data

    def _trailers(self, trailers: Headers) -> Headers:
        """Those that the server gets: some servers make header fields of them."""
        return [field for field in trailers if passes(field[0].lower(), self._forward)]

    async def _switch(self, link: UpstreamConnection, head: ResponseHead) -> None:
        self._exchange.send_head(head)
        self.response.head_sent = True
        self.response.status = head.status
        await carry_raw(self._driver, link.stream, link.http.trailing_data, grace=self._grace)
        self.response.complete = True
