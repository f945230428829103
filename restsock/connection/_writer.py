"""Who may touch a connection, and who sends: threads, the lock, the cork, the bytes on their way.

The loop runs a connection; threads use it. A blocking call that had the loop do everything would
be woken, and would wake, several times for each request, and that is what costs. So any thread may
do the work itself, under these rules:

- One lock for each connection, reentrant. To look at its multiplexer or WebSocket, or to change
  anything of its traffic, takes the lock. What is done under it never waits: it moves bytes between
  buffers and a socket that takes what it takes. A thread holds the lock of one connection at most;
  the loop may hold two, when it hands a request on from a connection that ends to the next.
- A thread comes in by `run_here()`, which needs a direct socket: one that threads can use without
  the loop. Without one (in memory, on Windows) the thread leaves each step to the loop.
- What only the loop can do, a thread leaves to it (`leave_to_loop`): starting or waking a task,
  calling an observer that belongs to the loop, serving a request, ending the connection. The loop
  takes these in the order in which they were left.
- The cork. What belongs together is sent together: while somebody has corked it, output is queued
  and not sent; the last to uncork it sends. `run_here()` corks, and so does reading.
- One writer at a time (`writing`), for the order of the bytes: the one that has the lock and finds
  none at work sends what is due at once, as far as the socket takes it (`flush`). What it leaves is
  `_unsent`, and goes first: by a task of the loop, which lives until all has left, or by a thread
  that stays to send a long body (`stays`, `take_over`).
- The end of a pass. Messages of WebSockets, which are many and small, leave when all tasks of the
  loop have had their turn (`flush_soon`, `_pass_end`): those of one socket are one call then.
- Fairness. A thread that gives the lock back and takes it again is quicker than those that have to
  wake up. So who wants the lock says so, and who sends or reads at length lets them pass first.
- An interrupt. A KeyboardInterrupt in `run_here()` can hit between any two bytes, and between an
  event and the exchange that it is for. From then on the connection is `distrusted`: nothing more
  is sent, read or told, and the loop ends it.
- A fork shares the socket and not the lock's holders: a child must not touch it (`pid`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from restsock._exceptions import fork_error
from restsock.protocol import CloseCode

from ._close import Closed
from ._direct_socket import DirectSocket, direct_socket_of
from ._pass_end import pass_end

if TYPE_CHECKING:
    from restsock.protocol import Pipeline

    from ._counters import ConnectionCounters
    from ._lifecycle import Lifecycle

__all__ = ["Traffic", "Writer"]

T = TypeVar("T")

# How often, and for how many seconds, a thread that sends a long body waits for those who want the
# lock, before it takes it again all the same.
_PATIENCE = 10
_TURN = 50e-6

# How long to wait, in seconds, for a reason from the reader when the socket takes no more bytes.
_LINGER = 1.0


class Traffic(Protocol):
    """What the bytes of a connection are about."""

    def dispatch(self) -> None:
        """Bytes have come, or are about to leave: there may be events and room. With the lock."""


class Writer:
    """The lock of a connection and its way out. Calls are made with the lock unless they say so.

    Attributes:
        lifecycle: of the connection.
        lock: held, by whatever thread, while anything of the traffic changes. Reentrant.
        direct_socket: where threads can use the socket; `None` once nothing may be sent any more.
        distrusted: whether a thread was interrupted in the middle of using the connection.
        off_loop: whether the lock is held by a thread that is not the loop's.
        pid: the process that it belongs to.
        stream: of the loop, where there is no direct socket.
        token: of the loop.
        traffic: is told when bytes are about to leave.
        wanting: the threads that wait for the lock; to be looked at by any thread.
        writing: whether a thread or task is at work (or none can be yet) and will look for
            output.
    """

    __slots__ = (
        "_corked",
        "_counters",
        "_mute",
        "_pipeline",
        "_stays",
        "_took",
        "_unsent",
        "_written",
        "direct_socket",
        "distrusted",
        "lifecycle",
        "lock",
        "off_loop",
        "pid",
        "stream",
        "token",
        "traffic",
        "wanting",
        "writing",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        pipeline: Pipeline,
        lifecycle: Lifecycle,
        counters: ConnectionCounters,
    ) -> None:
        self.lock = threading.RLock()
        self.direct_socket: DirectSocket | None = direct_socket_of(stream)
        self.token = trio.lowlevel.current_trio_token()
        self.traffic: Traffic | None = None
        self.pid = os.getpid()
        self.writing = True
        self.off_loop = False
        self.distrusted = False
        self.wanting: list[int] = []  # a set would weigh four times as much
        self._stays = False  # and that thread is going to send what the socket does not take now
        self._corked = 0
        self._unsent = b""  # left over from a flush
        self._took = True  # whether the socket took anything of the last batch
        self._mute = False  # the socket takes no more bytes
        self._written: trio.Event | None = None
        self.stream = stream
        self._pipeline = pipeline
        self.lifecycle = lifecycle
        self._counters = counters

    # --- the lock ---------------------------------------------------------------------------

    def run_here(self, function: Callable[..., T], *args: object, stays: bool = False) -> T:
        """Runs a function on this thread, which is not the loop's, and sends what came of it.

        It may call whatever an exchange on this connection has to offer. Takes the lock, and corks.

        Args:
            function: is called with the lock.
            args: its arguments.
            stays: whether this thread sends what the socket does not take now, by `Reader.lead`,
                and calls `hand_over()` in the end; else it is left to the loop.

        Raises:
            RestsockError: this is a fork of the process.
        """
        if os.getpid() != self.pid:
            raise fork_error("connection", self.pid)
        if stays:
            self.let_others_pass()
        me = threading.get_ident()
        self.wanting.append(me)
        try:
            with self.lock:
                self.wanting.remove(me)
                self.off_loop = True
                self._stays = stays
                self._corked += 1
                try:
                    result = function(*args)
                    self._corked -= 1
                    self.flush()
                    return result
                except BaseException:
                    # A KeyboardInterrupt, somewhere between two bytes.
                    self.distrusted = True
                    self.leave_to_loop(self.distrust)
                    raise
                finally:
                    self.off_loop = self._stays = False
        except BaseException:
            if me in self.wanting:  # it was interrupted while it waited
                self.wanting.remove(me)
            raise

    def run_on_loop(self, function: Callable[..., T], *args: object) -> T:
        """Runs a function, as `run_here` does, on the loop."""
        if not self.lock.acquire(blocking=False):
            me = threading.get_ident()
            self.wanting.append(me)
            self.lock.acquire()
            self.wanting.remove(me)
        self._corked += 1
        try:
            return function(*args)
        finally:
            try:
                self._corked -= 1
                self.flush()
            finally:
                self.lock.release()

    @property
    def runs_on_loop(self) -> bool:
        """Whether this is called from within `run_on_loop`, or another cork of the loop."""
        return bool(self._corked) and not self.off_loop

    def let_others_pass(self) -> None:
        """Lets those who wait for the lock have it, before it is taken for long. Without it."""
        for _ in range(_PATIENCE):
            if not self.wanting:
                break
            time.sleep(_TURN)

    def leave_to_loop(self, function: Callable[..., object], *args: object) -> None:
        """Has the loop call a function, soon. For any thread."""
        try:
            self.token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            pass  # and the connection with it

    def call_on_loop(self, function: Callable[..., object], *args: object) -> None:
        """Has the loop call a function: now if this is the loop, else soon. With the lock."""
        if self.off_loop:
            self.leave_to_loop(function, *args)
        else:
            function(*args)

    def distrust(self) -> None:
        """Ends the connection, whose state is not known any more. On the loop."""
        if self.lifecycle.has_tasks:
            reason = "a thread was interrupted in the middle of using it"
            self.lifecycle.abort(Closed(False, CloseCode.ABNORMAL, reason, by_peer=False))

    # --- the cork ---------------------------------------------------------------------------

    # As a lock: by calls, or by a block.

    def cork(self) -> None:
        """Has all that is sent from now on leave together, at `uncork()`. Takes the lock."""
        self.lock.acquire()
        self._corked += 1

    def uncork(self, *_: object) -> None:
        """Ends a `cork()`; sends what is due. Gives the lock back."""
        try:
            self._corked -= 1
            self.flush()
        finally:
            self.lock.release()

    __enter__ = cork
    __exit__ = uncork

    # --- sending ----------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due to be sent."""
        if not (self._corked or self.writing or self._stays):
            self.call_on_loop(self._start)

    def flush(self) -> None:
        """Sends what is due: at once if the socket takes it, else by the writer's task.

        To be called where all that belongs together has been queued. It spares a short message the
        way through that task, and changes neither order nor batches.
        """
        if self._corked or self.writing or self._unsent or self.distrusted:
            return  # the writer knows already
        if not self._pipeline.has_output and self.lifecycle.closing is None:
            return
        if self.direct_socket is None:
            self.wake()
            return
        self.writing = True  # what is told to observers in between is not to come back here
        more = self._write_now(self.direct_socket)
        self.writing = False  # last: after an interrupt above, nothing more is written
        if more:
            self.wake()

    def flush_soon(self) -> None:
        """As `flush`, at the end of the loop's pass, with what is sent until then. On the loop."""
        pass_end().call(self._flush_now)

    def _flush_now(self) -> None:
        with self.lock:
            self.off_loop = True  # for what only the loop can do there is no more time in this pass
            try:
                self.flush()
            except BaseException as exc:  # noqa: BLE001  # it is this connection's alone
                self.leave_to_loop(self.lifecycle.crash, exc)
            finally:
                self.off_loop = False

    def _write_now(self, direct_socket: DirectSocket) -> bool:
        """Writes a batch, as far as the socket takes it; tells whether the writer is to go on."""
        data = self.take_output()
        if not data:
            self._took = True
            return False
        taken = direct_socket.write(data)
        self._took = bool(taken)
        self._counters.bytes_sent += taken
        if taken and self._counters.instrument is not None:
            self._counters.tell_bytes("sent", taken)
        self._unsent = data[taken:]
        if self._unsent or self._pipeline.has_output:
            return True
        # This may have been what a close waits for.
        return self.lifecycle.closing is not None or self._pipeline.websocket.close_sent

    def take_output(self) -> bytes:
        """What is to leave next: what is left over, or one batch. As the writer."""
        data = self._unsent
        if not data:
            data = self._pipeline.data_to_send(self.lifecycle.closing)
            if data and self.traffic is not None:
                self.traffic.dispatch()
        return data

    @property
    def has_unsent(self) -> bool:
        """Whether something is due that the socket has not taken, whoever sends it."""
        return self.writing or bool(self._unsent) or self._pipeline.has_output

    # --- a thread that stays ------------------------------------------------------------------

    @property
    def sends_due(self) -> bool:
        """Whether something is due that no thread or task is about to send. For any thread."""
        return not self.writing and (bool(self._unsent) or self._pipeline.has_output)

    def take_over(self) -> bool:
        """Makes this thread the writer, if something is due; tells whether it is."""
        if not self.sends_due:
            return False
        self.writing = True
        return True

    def send_more(self, direct_socket: DirectSocket) -> bool:
        """Sends a batch on this thread, the writer; tells whether to go on. Takes the lock."""
        return self.run_here(self._write_now, direct_socket) and self._took

    def let_go(self) -> None:
        """Ends `take_over()`, and leaves to the loop what the socket did not take."""
        self.writing = False
        parting = self.lifecycle.closing is not None or self._pipeline.websocket.close_sent
        if not self._corked and (parting or not self._took):
            self.leave_to_loop(self._start)

    def hand_over(self) -> None:
        """Leaves to the loop what a thread that stayed has not sent. Takes the lock."""
        try:
            with self.lock:
                if self.sends_due and not self._corked:
                    self.leave_to_loop(self._start)
        except BaseException:
            # A KeyboardInterrupt, as it waited: what others have left to this thread must leave.
            self.leave_to_loop(self.hand_over)
            raise

    # --- its task -----------------------------------------------------------------------------

    def _start(self) -> None:
        """Has a task send what is due, unless one does already. On the loop; takes the lock."""
        with self.lock:
            if not self.writing and self.lifecycle.has_tasks:
                self.writing = True
                self.lifecycle.start_soon(self._run)

    async def _run(self) -> None:
        try:
            while data := self._next_batch():
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self._mute = True
            if self._written is None:
                # The reader meets the same end and knows more of it, unless nothing more comes in.
                await trio.sleep(_LINGER)
                self.lifecycle.abort(self.lifecycle.lost("the socket takes no more bytes"))
        if self._written is not None:
            self._written.set()

    def _next_batch(self) -> bytes:
        """What the task is to send; when that is nothing, its work is done. Takes the lock."""
        with self.lock:
            data, self._unsent = self.take_output(), b""
            self.writing = bool(data)
            self._counters.bytes_sent += len(data)
            if data and self._counters.instrument is not None:
                self._counters.tell_bytes("sent", len(data))
            return data

    async def wait_written(self) -> bool:
        """Waits until all that is due has left; tells whether the socket still takes bytes."""
        if self._mute:
            return False
        with self.lock:
            if self._written is None or self._written.is_set():
                self._written = trio.Event()
            self.flush()
            if not self.writing and not self._unsent:
                self._written.set()
        await self._written.wait()
        return not self._mute
