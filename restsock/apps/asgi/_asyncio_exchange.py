"""A proxy for an exchange on an asyncio loop; the exchange itself stays on trio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from restsock._exceptions import RestsockError, StreamReset
from restsock._logging import PartLog, about_request
from restsock.connection import Exchange, Failed, Inbox, Writable
from restsock.protocol import DataReceived, EndReceived, ResetCode, StopSending

if TYPE_CHECKING:
    from restsock.connection import Carrier, ExchangeEvent
    from restsock.protocol import Headers, RequestHead, ResponseHead

    from ._asyncio_loop import AsyncioLoop

__all__ = ["AsyncioExchange"]

_log = PartLog("restsock.apps")


class AsyncioExchange:
    """A `ServedExchange` for an asyncio loop. Made on trio.

    Nothing here waits, and sending never raises: an error in what is sent fails the exchange.

    Args:
        exchange: The exchange on trio.
        loop: The loop on which it is served.

    Attributes:
        exchange: The exchange on trio.
        observer: Gets the events, on the asyncio loop. Must be set there before the first event.
        complete: Whether the response has been sent.
    """

    __slots__ = (
        "_acknowledged",
        "_batch",
        "_coming",
        "_consumed",
        "_ended",
        "_limit",
        "_loop",
        "_pumped",
        "_queued",
        "_stopped",
        "_told",
        "complete",
        "connection",
        "exchange",
        "observer",
        "request",
    )

    def __init__(self, exchange: Exchange, loop: AsyncioLoop) -> None:
        connection = exchange.connection
        assert connection is not None
        self.exchange = exchange
        self.request: RequestHead = exchange.request
        self.connection: Carrier = connection
        self.observer: Callable[[ExchangeEvent], None] = _unobserved
        self.complete = False
        self._loop = loop
        # Bytes of the response. `_queued` and `_acknowledged` are asyncio's; `_pumped` and `_told`
        # (as acknowledged) are of whoever sends, with the lock of the connection. What was pumped
        # is told when it is half of the limit, so small responses cost nothing, and not while the
        # exchange's writing is paused. An app so waits before its peer holds up twice the limit.
        self._limit = connection.limits.send_buffer
        self._queued = 0
        self._acknowledged = 0
        self._pumped = 0
        self._told = 0
        # Credit goes back in batches. Together with what the multiplexer saves up, they stay well
        # below the window, so a peer never waits for one.
        self._batch = max(1, connection.limits.initial_window // 4)
        self._consumed = 0
        # Body bytes on their way to asyncio, which is told of the first of them.
        self._coming = Inbox()
        self._ended = False
        self._stopped = False
        exchange.observer = self._take

    # --- on trio, or with the lock of the connection ------------------------------------------

    def _take(self, event: ExchangeEvent) -> None:
        if isinstance(event, DataReceived):
            if self._coming.add(event.data):
                self._loop.tell(self._tell_data)
        elif type(event) is Writable:
            self._acknowledge()
        else:
            self._loop.tell(self._tell, event)

    def _acknowledge(self) -> None:
        self._told = self._pumped
        self._loop.tell(self._tell_acknowledged, self._pumped)

    def perform(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Does one step. It must not raise, since that would end the loop and all connections."""
        try:
            function(*args)
            return
        except RestsockError as exc:
            error: RestsockError = exc
        except Exception as exc:  # noqa: BLE001  # told to the app, and logged
            _log.exception("a step of an exchange failed", extra=about_request(self.exchange))
            error = StreamReset(
                "an internal error of restsock; see the log", code=ResetCode.INTERNAL, by_peer=False
            )
            error.__cause__ = exc
        self._loop.tell(self._tell, Failed(error))
        # The step cannot be repeated; the peer must not wait for it.
        self.exchange.reset(ResetCode.INTERNAL, "a step failed")

    def _send_data(self, data: bytes) -> None:
        exchange = self.exchange
        exchange.send_data(data)
        self._pumped += len(data)
        if self._pumped - self._told > self._limit // 2 and (
            not exchange.write_paused or exchange.closed
        ):
            self._acknowledge()

    def _send_end(self, trailers: Headers) -> None:
        self.exchange.send_end(trailers)
        self.complete = True

    def _respond(self, head: ResponseHead, body: bytes) -> None:
        self.exchange.send_head(head)
        self._send_data(body)
        self._send_end(())

    # --- on asyncio -----------------------------------------------------------------------

    def _tell(self, event: ExchangeEvent) -> None:
        kind = type(event)
        if kind is EndReceived:
            self._ended = True
        elif kind is StopSending:
            self._stopped = True
        self.observer(event)

    def _tell_data(self) -> None:
        self.observer(DataReceived(self.exchange.id, self._coming.take_all()))

    def _tell_acknowledged(self, pumped: int) -> None:
        self._acknowledged = max(self._acknowledged, pumped)  # two threads may have told it
        self.observer(Writable())

    @property
    def buffered(self) -> int:
        """Body bytes that are not known to be sent."""
        return 0 if self._stopped else self._queued - self._acknowledged

    def batch(self) -> nullcontext[None]:
        """See `Exchange.batch`: one iteration of the asyncio loop is a batch anyway."""
        return nullcontext()

    def send_head(self, head: ResponseHead) -> None:
        """See `Exchange.send_head`."""
        self._loop.tell_trio(self, self.exchange.send_head, head)

    def send_data(self, data: bytes) -> None:
        """See `Exchange.send_data`."""
        self._queued += len(data)
        self._loop.tell_trio(self, self._send_data, data)

    def send_end(self, trailers: Headers = ()) -> None:
        """See `Exchange.send_end`."""
        self._loop.tell_trio(self, self._send_end, trailers)

    def respond(self, head: ResponseHead, body: bytes) -> None:
        """See `Exchange.respond`."""
        self._queued += len(body)
        self._loop.tell_trio(self, self._respond, head, body)

    def consume(self, nbytes: int) -> None:
        """See `Exchange.consume`."""
        self._consumed += nbytes
        # If the response is complete, credit would be a useless step.
        if self._consumed >= self._batch and not self._ended:
            nbytes, self._consumed = self._consumed, 0
            self._loop.tell_trio(self, self.exchange.consume, nbytes)

    def reset(self, code: int = ResetCode.CANCEL, reason: str = "") -> None:
        """See `Exchange.reset`."""
        self._loop.tell_trio(self, self.exchange.reset, code, reason)


def _unobserved(event: ExchangeEvent) -> None:
    raise AssertionError("an event before there is an observer")
