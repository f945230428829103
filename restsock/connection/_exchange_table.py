"""The exchanges of one connection: by stream, waiting for a stream, and what happens to them.

Everything here is a plain call that never waits. What comes in goes to the observers of the
exchanges; what goes out waits in the multiplexer until the writer takes it. All of it happens with
the lock, on the loop or on a thread in `Writer.run_here`, which leaves what only the loop can do to
it: the first event that is the loop's, and all after it, in order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RestsockError, StreamRefused
from restsock._logging import PartLog, about
from restsock.protocol import (
    CloseCode,
    DataReceived,
    EndReceived,
    GoAwayReceived,
    MultiplexerEvent,
    RequestReceived,
    ResetCode,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)

from ._close import stream_error
from ._deadlines import Deadlines
from ._exchange import Exchange, answer
from ._exchange_events import Started, Writable, ignore, unobserved
from ._lifecycle import CLOSED, DRAINING
from ._retry import pause_before
from ._statistics import Counters, outcome_of, reset_name

if TYPE_CHECKING:
    from restsock.protocol import Multiplexer

    from ._counters import ConnectionCounters
    from ._exchange import Carrier
    from ._interfaces import Handler
    from ._lifecycle import Lifecycle
    from ._writer import Writer

__all__ = ["ExchangeTable"]

_log = PartLog("restsock.connection")

_NEVER = -math.inf  # one object for all of them

# Seconds for which a refusal is taken for a sign that the next one would follow.
_LATELY = 1.0

_TURNS = itertools.count(1)

# What an exchange is told as it comes.
_TOLD = frozenset((DataReceived, EndReceived, ResponseReceived, StopSending))
_STARTED = Started()


class ExchangeTable:
    """All exchanges of one connection. Calls are made with the lock, or take it.

    Attributes:
        handler: serves the peer's requests; without one they get a 503.
        turn: grows with each request of this process, and is that of the latest started here; 0
            before the first. Where several are equally good, the smallest has waited longest.
    """

    __slots__ = (
        "_afterwards",
        "_clock",
        "_connection",
        "_counters",
        "_deadlines",
        "_dispatching",
        "_exchanges",
        "_left",
        "_lifecycle",
        "_multiplexer",
        "_refused_at",
        "_waiting",
        "_write_paused",
        "_writer",
        "handler",
        "turn",
    )

    def __init__(
        self,
        connection: Carrier,
        multiplexer: Multiplexer,
        lifecycle: Lifecycle,
        writer: Writer,
        counters: ConnectionCounters,
    ) -> None:
        self.handler: Handler | None = None
        self.turn = 0
        self._connection = connection
        self._multiplexer = multiplexer
        self._lifecycle = lifecycle
        self._writer = writer
        self._counters = counters
        self._clock = trio.lowlevel.current_clock()  # for any thread
        self._exchanges: dict[int, Exchange] = {}
        self._waiting: dict[Exchange, None] = {}  # in order; they wait for a free stream
        self._write_paused: dict[Exchange, None] = {}  # a set would take more memory
        self._deadlines: Deadlines[int] | None = None  # made with the first that has a time
        self._afterwards: list[Callable[[], object]] | None = None  # made for the first
        self._left: list[MultiplexerEvent] = []  # taken and not handled; the next one is the last
        self._dispatching = False
        self._refused_at = _NEVER

    @property
    def waiting(self) -> int:
        """How many requests of this side wait for a free stream. For any thread."""
        return len(self._waiting)

    @property
    def refused_lately(self) -> bool:
        """Whether the peer has refused a request within the last second. For any thread."""
        return self._clock.current_time() - self._refused_at < _LATELY

    def count_into(self, counters: Counters) -> None:
        """Adds what is under way to a sum."""
        counters.waiting_requests += len(self._waiting)
        if self._exchanges:
            received = sum(exchange.inbound for exchange in self._exchanges.values())
            counters.open_received += received
            counters.open_sent += len(self._exchanges) - received
        if self._lifecycle.state is not CLOSED:
            counters.open_streams += self._multiplexer.open_streams

    # --- starting -----------------------------------------------------------------------------

    def start_here(self, exchange: Exchange, guard: Callable[..., object]) -> bool:
        """Starts an exchange on the calling thread, which is not the loop's, if that can be.

        Args:
            exchange: its observer is called here.
            guard: calls the function it is given, and deals with its errors.

        Returns:
            Whether it was started. If not, nothing has happened: `submit()` it on the loop.
        """
        writer = self._writer
        if writer.direct_socket is None:
            return False
        return writer.run_here(self._start_if_free, exchange, guard)

    def _start_if_free(self, exchange: Exchange, guard: Callable[..., object]) -> bool:
        if self._waiting or not (self._connection.takes_requests and self._multiplexer.can_open):
            return False
        guard(self._start, exchange)
        return True

    def submit(self, exchange: Exchange) -> None:
        """See `Requester.submit`. On the loop; takes the lock."""
        if not self.offer(exchange):
            if self._lifecycle.state is CLOSED:
                exchange.fail(self._lifecycle.closed_error(may_have_run=False))
            else:
                exchange.fail(StreamRefused("the connection takes no new requests; it is ending"))

    def offer(self, exchange: Exchange) -> bool:
        """Takes an exchange over if it takes requests; tells whether. On the loop; with a lock."""
        with self._writer.lock:
            if exchange.closed:
                return True
            if not self._connection.takes_requests:
                return False
            if self._multiplexer.can_open and not self._waiting:
                self._start(exchange)
                self._writer.flush()
            else:
                self._wait(exchange)
            return True

    def _start(self, exchange: Exchange) -> None:
        exchange.start(self._connection)
        if not exchange.closed:
            self._exchanges[exchange.id] = exchange
            self._counters.requests_sent += 1
            self.turn = next(_TURNS)
            if self._counters.instrument is not None:
                self._counters.tell_opened(exchange, self._clock.current_time())
            exchange.observer(_STARTED)
            if exchange.body:
                self.note_sent(exchange)

    def settle(self) -> None:
        """After the end of a stream: another may start, or the connection is used up."""
        with self._writer.lock:
            if not self._multiplexer.accepts_streams:
                waiting, self._waiting = self._waiting, {}
                for exchange in waiting:
                    exchange.requeue(
                        StreamRefused("the connection takes no new requests; it is ending")
                    )
            while self._waiting and self._multiplexer.can_open:
                exchange = next(iter(self._waiting))
                del self._waiting[exchange]
                if not exchange.closed:
                    self._start(exchange)
                    self._writer.flush()
            if self._lifecycle.state is DRAINING and not self._multiplexer.open_streams:
                assert self._lifecycle.announced is not None
                self._connection.close_soon(*self._lifecycle.announced)
            if self._multiplexer.exhausted and not self._exchanges:
                self._connection.close_soon(CloseCode.GOING_AWAY, "out of stream numbers")

    # --- what an exchange does ----------------------------------------------------------------

    def consume(self, exchange: Exchange, nbytes: int) -> None:
        """Gives credit back for an exchange."""
        with self._writer.lock:
            self._multiplexer.consume(exchange.id, nbytes, self._clock.current_time())
            if self._multiplexer.has_output:  # mostly the credit is not worth a frame yet
                self._writer.wake()

    def reset(self, exchange: Exchange, code: int, reason: str) -> None:
        """Ends an exchange before its time; see `Multiplexer.reset_stream`."""
        with self._writer.lock:
            self._multiplexer.reset_stream(exchange.id, code, reason)
            if self._exchanges.pop(exchange.id, None) is not None:
                self._counters.count("resets_sent", reset_name(code))
                self._counters.count_end(exchange, outcome_of(code), self._clock.current_time())
            self._write_paused.pop(exchange, None)
            self.dispatch()
            self._writer.wake()
            if code == ResetCode.INTERNAL and self._multiplexer.is_open(exchange.id):
                # What was sent before the failure may wait for a peer that takes nothing.
                self._writer.call_on_loop(
                    self._lifecycle.start_soon, self._give_up_after, exchange.id
                )

    def note_sent(self, exchange: Exchange) -> None:
        """Looks whether an exchange has more waiting than it should. With the lock."""
        if not exchange.write_paused and (
            self._multiplexer.buffered(exchange.id) > self._connection.options.limits.send_buffer
        ):
            exchange.write_paused = True
            self._write_paused[exchange] = None

    # --- what has happened --------------------------------------------------------------------

    def _resume_writing(self) -> None:
        low = self._connection.limits.send_buffer // 2
        for exchange in [e for e in self._write_paused if e.buffered <= low]:
            self._write_paused.pop(exchange, None)
            exchange.write_paused = False
            if exchange.any_thread:
                exchange.observer(Writable())
            else:
                self._writer.call_on_loop(exchange.observer, Writable())

    def dispatch(self) -> None:
        """Hands events, and news of room to send, to the exchanges that they concern."""
        if self._dispatching or self._writer.distrusted:
            return  # an observer has sent something: the loop below takes it along
        if self._write_paused:
            self._resume_writing()
        if self._writer.off_loop and self._left:
            return  # the loop comes first, and goes on from there
        events = self._multiplexer.events
        self._dispatching = True
        freed = False
        try:
            while self._left or events.ready:
                if not self._left:
                    self._left = events.take()[::-1]
                event = self._left[-1]
                kind = type(event)
                exchange = None
                if kind in _TOLD:
                    exchange = self._exchanges.get(event.stream_id)  # type: ignore[union-attr]
                    for_any_thread = exchange is None or exchange.any_thread
                else:
                    for_any_thread = kind is StreamClosed
                if self._writer.off_loop and not for_any_thread:
                    self._writer.leave_to_loop(self._dispatch_left)
                    break
                self._left.pop()
                if exchange is not None:
                    if self._counters.instrument is not None and type(event) is ResponseReceived:
                        exchange.status = event.head.status
                    exchange.observer(event)  # type: ignore[arg-type]  # it is one of `_TOLD`
                elif type(event) is StreamClosed:
                    self._close_exchange(event.stream_id)
                    freed = True
                elif type(event) is RequestReceived:
                    self._receive_request(event)
                elif isinstance(event, StreamFailed):
                    self._fail_exchange(event)
                elif isinstance(event, StreamRejected):
                    self._note_rejected(event)
                elif isinstance(event, GoAwayReceived):
                    freed = True
                    if self._connection.on_leaving is not None:
                        self._connection.on_leaving(event.code)
                elif self._connection.lane is not None:
                    self._connection.lane.take(event)  # type: ignore[arg-type]  # what is left
        finally:
            self._dispatching = False
        if freed and (
            self._waiting or self._lifecycle.state is DRAINING or self._multiplexer.exhausted
        ):
            self._writer.call_on_loop(self.settle)
        while self._afterwards:
            self._afterwards.pop(0)()

    def call_afterwards(self, function: Callable[[], object]) -> None:
        """Calls a function when all that has come was handed on. For an observer, on the loop."""
        if self._afterwards is None:
            self._afterwards = []
        self._afterwards.append(function)

    def _dispatch_left(self) -> None:
        if self._lifecycle.state is not CLOSED:
            self._writer.run_on_loop(self.dispatch)

    def _note_rejected(self, event: StreamRejected) -> None:
        if self._lifecycle.announced is not None and event.limit is None:
            # It has crossed the GOAWAY, as some always will.
            self._counters.count("rejected", "leaving")
            _log.debug(
                "connection %s (%s): stream %d refused: %s",
                self._connection.id,
                self._connection.name,
                event.stream_id,
                event.reason,
                extra=about(self._connection),
            )
            return
        self._counters.count("rejected", event.limit or "malformed")
        self._counters.tell_error("rejected")
        self._note(event, "rejected")

    def _note(self, event: StreamRejected | StreamFailed, what: str) -> None:
        self._connection.limit_log.note_about(
            self._connection,
            event.limit or "malformed",
            "stream %d %s: %s",
            event.stream_id,
            what,
            event.reason,
        )

    def _close_exchange(self, stream_id: int) -> None:
        exchange = self._exchanges.pop(stream_id, None)
        if self._deadlines is not None:
            self._deadlines.remove(stream_id)
        if exchange is not None:
            exchange.closed = True
            exchange.observer = ignore  # they are a ring: cut, both are freed now
            self._write_paused.pop(exchange, None)
            if self._counters.instrument is not None:
                self._counters.count_end(exchange, "answered", self._clock.current_time())

    def _fail_exchange(self, event: StreamFailed) -> None:
        exchange = self._exchanges.pop(event.stream_id, None)
        self._counters.count(
            "resets_received" if event.by_peer else "resets_sent", reset_name(event.code)
        )
        if exchange is not None:
            self._write_paused.pop(exchange, None)
            self._counters.count_end(exchange, outcome_of(event.code), self._clock.current_time())
        if not event.by_peer:
            self._counters.tell_error("stream")
            self._note(event, "reset")
        elif event.code == ResetCode.REFUSED:
            self._refused_at = self._clock.current_time()
        if exchange is not None:
            error = stream_error(event)
            if not isinstance(error, StreamRefused):
                exchange.fail(error)
            elif self._connection.takes_requests:
                # The peer lives, and has too much to do. To ask again at once would give it more.
                exchange.requeue(error, partial(self._resubmit_later, error))
            else:
                exchange.requeue(error)

    def _receive_request(self, event: RequestReceived) -> None:
        self._counters.requests_received += 1
        exchange = Exchange(event.head, unobserved, plain=event.plain)
        exchange.accept(self._connection, event.stream_id)
        self._exchanges[event.stream_id] = exchange
        if self._counters.instrument is not None:
            self._counters.tell_opened(exchange, self._clock.current_time())
        if self._connection.options.timeouts.request is not None:
            self._bound_request(event.stream_id, self._connection.options.timeouts.request)
        if self._connection.admit is not None and not self._connection.admit(exchange):
            return
        if self.handler is None:
            exchange.observer = ignore
            answer(exchange, 503, "This peer serves no app.\n")
            return
        try:
            self._lifecycle.context.run(self.handler.handle, exchange)
        except Exception:  # noqa: BLE001  # anybody's code, and one request must not end all others
            _log.exception(
                "connection %s (%s): a handler failed",
                self._connection.id,
                self._connection.name,
                extra=about(self._connection),
            )
            self._counters.tell_error("handler")
            exchange.observer = ignore
            exchange.reset(ResetCode.INTERNAL, "the handler failed")

    def _bound_request(self, stream_id: int, seconds: float) -> None:
        if self._deadlines is None:
            self._deadlines = Deadlines(self._writer.lock, self._give_up)
        if self._deadlines.add(stream_id, self._clock.current_time() + seconds):
            self._lifecycle.start_soon(self._deadlines.watch)

    # --- later --------------------------------------------------------------------------------

    def _resubmit_later(self, error: RestsockError, exchange: Exchange) -> None:
        """Submits an exchange again that was refused, in a while. On the loop."""
        exchange.explain = lambda: error
        exchange.refusals += 1
        if self._lifecycle.has_tasks:
            pause = pause_before(exchange.refusals)
            self._lifecycle.start_soon(self._resubmit_after, exchange, pause)
        else:
            self._wait(exchange)

    async def _resubmit_after(self, exchange: Exchange, seconds: float) -> None:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            # The connection is ending. What waits goes to the next one when it has ended.
            self._wait(exchange)
            raise
        if not exchange.closed:
            exchange.explain = None
            (exchange.resubmit or self.submit)(exchange)

    def _wait(self, exchange: Exchange) -> None:
        self._waiting[exchange] = None
        exchange.queue = self._waiting

    async def _give_up_after(self, stream_id: int) -> None:
        """Gives a stream up after `Timeouts.idle`, if it is still open then."""
        await trio.sleep(self._connection.timeouts.idle)
        self._give_up(stream_id)

    def _give_up(self, stream_id: int) -> None:
        """Ends what has taken too long: a request of the peer's, or a failure. On the loop."""
        with self._writer.lock:
            if self._deadlines is not None:
                self._deadlines.remove(stream_id)
            seconds = self._connection.options.timeouts.request
            why = f"the request was not over within {seconds} s"
            self._multiplexer.give_up(stream_id, ResetCode.TIMEOUT, why, "request")
            self.dispatch()
            self._writer.wake()

    # --- the end ------------------------------------------------------------------------------

    def fail_all(self) -> None:
        """Ends all that is under way; the connection has ended. With the lock."""
        waiting, self._waiting = self._waiting, {}
        for exchange in waiting:
            exchange.requeue(self._lifecycle.closed_error(may_have_run=False))
        for exchange in list(self._exchanges.values()):
            ran = self._multiplexer.announced(exchange.id)
            if self._exchanges.pop(exchange.id, None) is not None:
                self._counters.count_end(
                    exchange, "lost" if ran else "refused", self._clock.current_time()
                )
            if ran:
                exchange.fail(self._lifecycle.closed_error(may_have_run=True))
            else:
                exchange.requeue(self._lifecycle.closed_error(may_have_run=False))
        self._exchanges.clear()
        self._write_paused.clear()
        self._multiplexer.close()
