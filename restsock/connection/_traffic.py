"""Traffic: what crosses one connection, in plain calls that never wait.

What comes in goes to the observers of the exchanges; what goes out waits in the multiplexer until
somebody sends it. The calls are made on the loop or, where the connection has a direct socket, on
any other thread, in `run_here()`. Nobody touches multiplexer and WebSocket without the lock. What
such a thread must not do itself (wake a task, call an observer that belongs to the loop, end the
connection), it leaves to the loop.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import random
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import (
    ConnectionClosed,
    RestsockError,
    StreamRefused,
)
from restsock._limit_log import LimitLog
from restsock._logging import about
from restsock._options import Options
from restsock.protocol import (
    CloseCode,
    DataReceived,
    EndReceived,
    GoAwayReceived,
    MultiplexerEvent,
    Pipeline,
    RequestReceived,
    ResetCode,
    ResponseReceived,
    StopSending,
    StreamClosed,
    StreamFailed,
    StreamRejected,
)

from ._close import check_close_code, stream_error
from ._counters import ConnectionCounters
from ._exchange import Exchange, ExchangeEvent, Started, Writable, answer
from ._heartbeat import ConnectionHeartbeat
from ._lifecycle import CLOSED, DRAINING, OPEN, Lifecycle
from ._reader import Reader
from ._requester import Handler, Requester
from ._statistics import Counters, outcome_of, reset_name
from ._writer import Writer

if TYPE_CHECKING:
    from ._connection import Connection
    from ._instrument import Instruments

__all__ = ["Traffic", "pause_before"]

_log = logging.getLogger("restsock.connection")

# For connections that no client and no server looks after, each on its own: all is logged.
_NOBODYS = LimitLog(_log, pause=0)

_NEVER = -math.inf  # one object for all of them

# Seconds for which a refusal is taken for a sign that the next one would follow.
_LATELY = 1.0

_TURNS = itertools.count(1)


class Traffic(Requester):
    """The exchanges on a connection, and the bytes that they become. `Connection` gives it a life.

    Attributes:
        id: the same at both ends.
        name: what the dialer calls itself, at both ends; `None` when it has no name.
        pid: the process that it belongs to; a fork of it must not touch the socket.
        multiplexer: carries the exchanges on it.
        admit: is asked about each request of the peer, on the loop, unless it is `None`. What it
            does not let through it answers itself; it must not raise.
        lock: held, by whatever thread, while anything of the traffic changes. Reentrant.
        lifecycle: its state, and how it ends.
        instrument: is told of what happens; see `observe`.
        limit_log: what went over a limit on it, or on others that share the log.
        refused_at: when the peer last refused a request, by the loop's clock.
        turn: grows with each request of this process, and is that of the latest started here; 0
            before the first. Where several are equally good, the smallest has waited longest.
        on_leaving: is called, on the loop and with the close code that is to follow, when either
            side announces that it will close (GOAWAY); maybe twice.
    """

    # Thousands of connections may be idle; without slots each would carry 1.5 KiB of dictionary.
    __slots__ = (
        "_clock",
        "_dispatching",
        "_due",
        "_exchanges",
        "_handler",
        "_left",
        "_pipeline",
        "_waiting",
        "_websocket",
        "_write_paused",
        "admit",
        "counters",
        "heartbeat",
        "id",
        "instrument",
        "lifecycle",
        "limit_log",
        "lock",
        "multiplexer",
        "name",
        "on_leaving",
        "options",
        "pid",
        "reader",
        "refused_at",
        "token",
        "turn",
        "writer",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        pipeline: Pipeline,
        *,
        name: str | None,
        options: Options,
        limit_log: LimitLog | None = None,
    ) -> None:
        multiplexer = pipeline.multiplexer
        assert multiplexer.connection_id is not None
        self.id = multiplexer.connection_id
        self.name = name
        self.options = options
        self.multiplexer = multiplexer
        self.pid = os.getpid()
        self.lifecycle = Lifecycle(pipeline.websocket, options.timeouts.close)
        self.counters = ConnectionCounters(self.connection)
        self.writer = Writer(stream, pipeline, self.lifecycle, self.counters)
        self.writer.source = self
        self.lock = self.writer.lock
        self.token = self.writer.token
        self.instrument: Instruments | None = None
        self.limit_log = _NOBODYS if limit_log is None else limit_log
        self.refused_at = _NEVER
        self.turn = 0
        self._due: dict[int, float] | None = None  # made with the first request that has a time
        self._clock = trio.lowlevel.current_clock()  # for any thread
        self._left: MultiplexerEvent | None = None  # the next event, which is the loop's to handle
        self._pipeline = pipeline
        self._websocket = pipeline.websocket
        self._handler: Handler | None = None
        self.admit: Callable[[Exchange], bool] | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._write_paused: dict[Exchange, None] = {}  # a set would take more memory
        self._waiting: dict[Exchange, None] = {}  # in order; they wait for a free stream
        self.on_leaving: Callable[[int], object] | None = None
        self._dispatching = False
        self.heartbeat = ConnectionHeartbeat(
            options.heartbeat, pipeline, self.lifecycle, self.writer, self.counters
        )
        self.reader = Reader(
            stream,
            pipeline,
            self.lifecycle,
            self.writer,
            self.heartbeat,
            self.counters,
            self,
        )

    # --- threads --------------------------------------------------------------------------

    @property
    @abstractmethod
    def connection(self) -> Connection:
        """Itself: what is submitted here goes nowhere else."""

    @property
    def can_run_here(self) -> bool:
        """Whether `run_here()` may be called: there is a socket that threads can use directly."""
        return self.writer.direct_socket is not None

    @property
    def outstanding(self) -> int:
        """Requests of this side that are under way here, or wait for a free stream. Any thread."""
        return self.multiplexer.own_streams + len(self._waiting)

    @property
    def refused_lately(self) -> bool:
        """Whether the peer has refused a request within the last second. For any thread."""
        return self._clock.current_time() - self.refused_at < _LATELY

    def start_here(self, exchange: Exchange, guard: Callable[..., object]) -> bool:
        """Starts an exchange on this thread, if it need not wait for anything.

        Args:
            exchange: its observer is called here.
            guard: calls the function it is given, and deals with its errors.

        Returns:
            Whether it was started. If not, nothing has happened: `submit()` it on the loop.
        """
        with self.lock:
            if (
                not self.can_run_here
                or self._waiting
                or self.lifecycle.state is not OPEN
                or not self.multiplexer.can_open
            ):
                return False
            self.writer.run_here(guard, self._start, exchange)
            return True

    @abstractmethod
    def close_soon(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begins to close the connection. On the loop."""

    # --- leaving --------------------------------------------------------------------------

    @property
    def takes_requests(self) -> bool:
        """Whether it will ever carry a request of this side again.

        No more once it is ending, once either side has announced that it will close it (GOAWAY), or
        once its stream numbers are used up. The requests on it may well go on.
        """
        return self.lifecycle.state is OPEN and self.multiplexer.accepts_streams

    @property
    def leaving(self) -> bool:
        """Whether either side has announced that it will close it."""
        return self.lifecycle.state is not OPEN or self.multiplexer.leaving

    def drain_soon(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Begins to drain; returns at once. On the loop.

        No request is started any more, by neither side; what is in flight goes on, and behind the
        last of it the connection is closed. There is no end to the time that this may take.

        Raises:
            ValueError: the code cannot be sent.
        """
        check_close_code(code)
        with self.lock:
            if self.lifecycle.drain(code, reason):
                self.multiplexer.send_goaway(code, reason)
                self.writer.wake()
                if self.on_leaving is not None:
                    self.on_leaving(code)
                self._settle()

    # --- for exchanges --------------------------------------------------------------------

    def submit(self, exchange: Exchange) -> None:
        if exchange.closed:
            return
        with self.lock:
            if self.lifecycle.state is CLOSED:
                exchange.fail(self._closed_error(may_have_run=False))
            elif not self.takes_requests:
                exchange.fail(StreamRefused("the connection takes no new requests; it is ending"))
            elif self.multiplexer.can_open and not self._waiting:
                self._start(exchange)
            else:
                self._waiting[exchange] = None
                exchange.queue = self._waiting

    def _start(self, exchange: Exchange) -> None:
        exchange.start(self.connection)
        if not exchange.closed:
            self._exchanges[exchange.id] = exchange
            self.counters.requests_sent += 1
            self.turn = next(_TURNS)
            if self.instrument is not None:
                self.counters.tell_opened(exchange, self._clock.current_time())
            exchange.observer(Started())
            self.note_sent(exchange)
        self.writer.flush()

    def _settle(self) -> None:
        """Behind the end of a stream: another may start, or the connection is used up."""
        with self.lock:
            if not self.multiplexer.accepts_streams:
                waiting, self._waiting = self._waiting, {}
                for exchange in waiting:
                    exchange.requeue(
                        StreamRefused("the connection takes no new requests; it is ending")
                    )
            while self._waiting and self.multiplexer.can_open:
                exchange = next(iter(self._waiting))
                del self._waiting[exchange]
                if not exchange.closed:
                    self._start(exchange)
            if self.lifecycle.state is DRAINING and not self.multiplexer.open_streams:
                assert self.lifecycle.announced is not None
                self.close_soon(*self.lifecycle.announced)
            if self.multiplexer.exhausted and not self._exchanges:
                self.close_soon(CloseCode.GOING_AWAY, "out of stream numbers")

    def consume(self, exchange: Exchange, nbytes: int) -> None:
        """Gives credit back for an exchange."""
        with self.lock:
            self.multiplexer.consume(exchange.id, nbytes, self._clock.current_time())
            if self.multiplexer.has_output:  # mostly the credit is not worth a frame yet
                self.writer.wake()

    def reset(self, exchange: Exchange, code: int, reason: str) -> None:
        """Ends an exchange before its time; see `Multiplexer.reset_stream`."""
        with self.lock:
            self.multiplexer.reset_stream(exchange.id, code, reason)
            if self._exchanges.pop(exchange.id, None) is not None:
                self.counters.count("resets_sent", reset_name(code))
                self.counters.count_end(exchange, outcome_of(code), self._clock.current_time())
            self._write_paused.pop(exchange, None)
            self.dispatch()
            self.writer.wake()
            if code == ResetCode.INTERNAL and self.multiplexer.is_open(exchange.id):
                # What was sent before the failure may wait for a peer that takes nothing.
                if self.writer.off_loop:
                    self.writer.leave_to_loop(self._give_up_later, exchange.id)
                else:
                    self._give_up_later(exchange.id)

    @abstractmethod
    def _give_up_later(self, stream_id: int) -> None:
        """Gives a stream up behind `Timeouts.idle`, if it is still open. On the loop."""

    def note_sent(self, exchange: Exchange) -> None:
        """Looks whether an exchange has more waiting than it should. With the lock."""
        if not exchange.write_paused and exchange.buffered > self.limits.send_buffer:
            exchange.write_paused = True
            self._write_paused[exchange] = None

    # --- out ------------------------------------------------------------------------------

    def cork(self) -> None:
        """See `Writer.cork`."""
        self.writer.cork()

    def uncork(self) -> None:
        """See `Writer.uncork`."""
        self.writer.uncork()

    def output_taken(self) -> None:
        self.dispatch()
        if self._write_paused:
            self._resume_writing()

    def _resume_writing(self) -> None:
        low = self.limits.send_buffer // 2
        for exchange in [e for e in self._write_paused if e.buffered <= low]:
            self._write_paused.pop(exchange, None)
            exchange.write_paused = False
            if self.writer.off_loop and not exchange.any_thread:
                self.writer.leave_to_loop(exchange.observer, Writable())
            else:
                exchange.observer(Writable())

    # --- in -------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Hands the events of the multiplexer to the exchanges that they concern."""
        if self._dispatching:  # an observer has sent something: the loop below takes it along
            return
        if self.writer.off_loop and self._left is not None:
            return  # the loop comes first, and goes on from there
        self._dispatching = True
        freed = False
        try:
            while (event := self._left or self.multiplexer.next_event()) is not None:
                kind = type(event)
                if self.writer.off_loop and self._is_the_loops(event):
                    self._left = event
                    self.writer.leave_to_loop(self._dispatch_left)
                    break
                self._left = None
                if kind is RequestReceived:
                    self._receive_request(event)  # type: ignore[arg-type]  # just looked at
                elif kind is StreamClosed:
                    self._close_exchange(event.stream_id)  # type: ignore[union-attr]
                    freed = True
                elif isinstance(event, (DataReceived, EndReceived, ResponseReceived, StopSending)):
                    self._tell(event.stream_id, event)
                elif isinstance(event, StreamFailed):
                    self._fail_exchange(event)
                elif isinstance(event, StreamRejected):
                    self._note_rejected(event)
                elif isinstance(event, GoAwayReceived):
                    freed = True
                    if self.on_leaving is not None:
                        self.on_leaving(event.code)
        finally:
            self._dispatching = False
        if freed and (
            self._waiting or self.lifecycle.state is DRAINING or self.multiplexer.exhausted
        ):
            if self.writer.off_loop:
                self.writer.leave_to_loop(self._settle)
            else:
                self._settle()

    def _is_the_loops(self, event: MultiplexerEvent) -> bool:
        """Whether an event would make something happen that only the loop can do."""
        if isinstance(event, (DataReceived, EndReceived, ResponseReceived, StopSending)):
            exchange = self._exchanges.get(event.stream_id)
            return exchange is not None and not exchange.any_thread
        return not isinstance(event, StreamClosed)

    def _dispatch_left(self) -> None:
        self.writer.cork()
        try:
            if self.lifecycle.state is not CLOSED:
                self.dispatch()
        finally:
            self.writer.uncork()

    def _note_rejected(self, event: StreamRejected) -> None:
        if self.lifecycle.announced is not None and event.limit is None:
            # It has crossed the GOAWAY, as some always will.
            self.counters.count("rejected", "leaving")
            _log.debug(
                "connection %s (%s): stream %d refused: %s",
                self.id,
                self.name,
                event.stream_id,
                event.reason,
                extra=about(self),
            )
            return
        self.counters.count("rejected", event.limit or "malformed")
        self.counters.tell_error("rejected")
        self.limit_log.note(
            event.limit or "malformed",
            "connection %s (%s): stream %d rejected: %s",
            self.id,
            self.name,
            event.stream_id,
            event.reason,
            extra=about(self),
        )

    def _tell(self, stream_id: int, event: ExchangeEvent) -> None:
        exchange = self._exchanges.get(stream_id)
        if exchange is not None:
            if self.instrument is not None and isinstance(event, ResponseReceived):
                exchange.status = event.head.status
            exchange.observer(event)

    def _close_exchange(self, stream_id: int) -> None:
        exchange = self._exchanges.pop(stream_id, None)
        if self._due:
            self._due.pop(stream_id, None)
        if exchange is not None:
            exchange.closed = True
            self._write_paused.pop(exchange, None)
            if self.instrument is not None:
                self.counters.count_end(exchange, "answered", self._clock.current_time())

    def _fail_exchange(self, event: StreamFailed) -> None:
        exchange = self._exchanges.pop(event.stream_id, None)
        self.counters.count(
            "resets_received" if event.by_peer else "resets_sent", reset_name(event.code)
        )
        if exchange is not None:
            self._write_paused.pop(exchange, None)
            self.counters.count_end(exchange, outcome_of(event.code), self._clock.current_time())
        if not event.by_peer:
            self.counters.tell_error("stream")
        if event.by_peer:
            if event.code == ResetCode.REFUSED:
                self.refused_at = self._clock.current_time()
        else:
            self.limit_log.note(
                event.limit or "malformed",
                "connection %s (%s): stream %d reset: %s",
                self.id,
                self.name,
                event.stream_id,
                event.reason,
                extra=about(self),
            )
        if exchange is not None:
            error = stream_error(event)
            if isinstance(error, StreamRefused):
                self._requeue_refused(exchange, error)
            else:
                exchange.fail(error)

    def _requeue_refused(self, exchange: Exchange, error: RestsockError) -> None:
        """The peer did not start on an exchange, which may be sent again."""
        if not self.takes_requests:
            exchange.requeue(error)
        elif not exchange.replayable:
            exchange.fail(error)
        else:
            # The peer lives, and has too much to do. To ask again at once would give it more.
            exchange.detach(error)
            exchange.explain = lambda: error
            exchange.refusals += 1
            self._resubmit_later(exchange, pause_before(exchange.refusals))

    @abstractmethod
    def _resubmit_later(self, exchange: Exchange, seconds: float) -> None:
        """Submits an exchange again, in a while. On the loop."""

    def _resubmit(self, exchange: Exchange) -> None:
        if not exchange.closed:
            exchange.explain = None
            (exchange.resubmit or self.submit)(exchange)

    def _receive_request(self, event: RequestReceived) -> None:
        self.counters.requests_received += 1
        exchange = Exchange(event.head, _unobserved).accept(self.connection, event.stream_id)
        self._exchanges[event.stream_id] = exchange
        if self.instrument is not None:
            self.counters.tell_opened(exchange, self._clock.current_time())
        if self.options.timeouts.request is not None:
            self._bound_request(event.stream_id, self.options.timeouts.request)
        if self.admit is not None and not self.admit(exchange):
            return
        if self._handler is None:
            exchange.observer = _ignore
            answer(exchange, 503, "This peer serves no app.\n")
            return
        try:
            self._handler.handle(exchange)
        except Exception:  # noqa: BLE001  # anybody's code, and one request must not end all others
            _log.exception(
                "connection %s (%s): a handler failed", self.id, self.name, extra=about(self)
            )
            self.counters.tell_error("handler")
            exchange.observer = _ignore
            exchange.reset(ResetCode.INTERNAL, "the handler failed")

    def _bound_request(self, stream_id: int, seconds: float) -> None:
        watched = self._due is not None
        if self._due is None:
            self._due = {}
        self._due[stream_id] = self._clock.current_time() + seconds
        if not watched:
            self._watch_requests()

    @abstractmethod
    def _watch_requests(self) -> None:
        """Has a task give up the requests whose time is over, until there are none. On the loop."""

    def next_due(self) -> tuple[int, float] | None:
        """The first request whose time will be over, and when; `None` once there are none."""
        with self.lock:
            for due in (self._due or {}).items():
                return due
            self._due = None  # behind this, the next request has a task of its own
            return None

    def give_up(self, stream_id: int) -> None:
        """Ends what has taken too long: a request of the peer's, or a failure. On the loop."""
        with self.lock:
            if self._due:
                self._due.pop(stream_id, None)
            seconds = self.options.timeouts.request
            why = f"the request was not over within {seconds} s"
            self.multiplexer.give_up(stream_id, ResetCode.TIMEOUT, why, "request")
            self.dispatch()
            self.writer.wake()

    # --- counting -------------------------------------------------------------------------

    def observe(self, instrument: Instruments | None) -> None:
        """Has an instrument told of what happens from here on. In front of the first request."""
        self.instrument = self.counters.instrument = instrument
        if instrument is not None:
            instrument.connection_opened(self.connection)

    def count_into(self, counters: Counters) -> None:
        """Adds its counters to a sum. For any thread."""
        with self.lock:
            self.counters.add_to(counters)
            counters.waiting_requests += len(self._waiting)
            if self._exchanges:
                received = sum(exchange.inbound for exchange in self._exchanges.values())
                counters.open_received += received
                counters.open_sent += len(self._exchanges) - received
            if self.lifecycle.state is not CLOSED:
                counters.open_streams += self.multiplexer.open_streams

    # --- the end --------------------------------------------------------------------------

    def _finish(self) -> None:
        """Fails all that is under way. From here on nothing is sent, by nobody."""
        with self.lock:
            self.writer.direct_socket = None
            self.reader.close()
            self.lifecycle.finish()
            waiting, self._waiting = self._waiting, {}
            for exchange in waiting:
                exchange.requeue(self._closed_error(may_have_run=False))
            for exchange in list(self._exchanges.values()):
                ran = self.multiplexer.announced(exchange.id)
                if self._exchanges.pop(exchange.id, None) is not None:
                    self.counters.count_end(
                        exchange, "lost" if ran else "refused", self._clock.current_time()
                    )
                if ran:
                    exchange.fail(self._closed_error(may_have_run=True))
                else:
                    exchange.requeue(self._closed_error(may_have_run=False))
            self._exchanges.clear()
            self._write_paused.clear()
            self.multiplexer.close()

    def _closed_error(self, *, may_have_run: bool) -> ConnectionClosed:
        closed = self.lifecycle.outcome
        assert closed is not None
        may = "may have run" if may_have_run else "did not start"
        return ConnectionClosed(
            f"the connection ended ({closed}); the request {may}",
            code=closed.code,
            reason=closed.reason,
            may_have_run=may_have_run,
        )


def pause_before(attempt: int) -> float:
    """How long to wait, in seconds, before the peer that refused a request is asked again.

    It doubles, from about 20 ms to about a second, with jitter, so that what was refused together
    does not come back together.
    """
    longest: float = min(1.0, 0.02 * 2 ** min(attempt - 1, 10))
    return longest * (0.5 + random.random() / 2)  # noqa: S311  # not a secret


def _unobserved(event: ExchangeEvent) -> None:
    raise AssertionError("an event before there is an observer")


def _ignore(event: ExchangeEvent) -> None:
    """Observes nothing."""
