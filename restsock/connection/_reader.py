"""Reading a connection: by the loop or, while it waits for an answer, by a thread.

The one that reads holds the lock, takes what the socket has without waiting, and has it handed on;
so what comes is handled in order. Which one reads, and which waits for the socket meanwhile, is in
`_leader`; how one task of the loop reads for all its connections, in `_ready_poll`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

from restsock._blocked import loop_watch
from restsock._exceptions import RemoteProtocolError
from restsock.protocol import CloseReceived, Ping, Pong

from ._leader import Borrower, Lead, Waiter, sleeper
from ._ready_poll import is_broken_off, ready_poll

if TYPE_CHECKING:
    from collections.abc import Callable

    from restsock.protocol import Pipeline

    from ._close import Closed
    from ._counters import ConnectionCounters
    from ._direct_socket import DirectSocket
    from ._heartbeat import ConnectionHeartbeat
    from ._ready_poll import ReadyPoll
    from ._writer import Traffic, Writer

__all__ = ["Reader"]

T = TypeVar("T")

_READ = 64 * 1024
# Where that much was there, more may be: then so much is read next. Most frames of a long body are
# whole in it, and need not be put together. It is let go before the next read.
_READ_MORE = 256 * 1024
# How often to read at most, where more seems to be there, before what is due is sent.
_READS = 3


class Owner(Protocol):
    """Whose reader it is."""

    async def end(self, ending: Closed | Exception) -> None:
        """Ends the connection, as a task of it: the close frame, or what is wrong, was read."""


class Reader:
    """What comes in on one connection.

    Attributes:
        lead: which thread reads; `None` before the first that could.
        on_read: is called after the loop has read, without the lock. What it raises ends the
            connection.
        ended: whether the last that comes has been read, or the connection is closed. For any
            thread.
    """

    __slots__ = (
        "_clock",
        "_counters",
        "_ending",
        "_fd",
        "_heartbeat",
        "_owner",
        "_pipeline",
        "_poll",
        "_reading",
        "_resumed",
        "_size",
        "_traffic",
        "_writer",
        "ended",
        "lead",
        "on_read",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        writer: Writer,
        heartbeat: ConnectionHeartbeat,
        counters: ConnectionCounters,
        traffic: Traffic,
    ) -> None:
        self.lead: Lead | None = None
        self.ended = False
        self.on_read: Callable[[], object] | None = None
        self._size = _READ  # of the next read
        self._owner: Owner | None = None  # until it has been told to end
        self._ending: Closed | Exception | None = None  # what was read last
        self._poll: ReadyPoll | None = None  # waits for the socket, while one does
        self._fd = -1  # the socket's number in there
        self._resumed: trio.Event | None = None  # where a task of its own waits for that
        self._reading: trio.CancelScope | None = None  # of a task of its own that reads
        self._pipeline = pipeline
        self._writer = writer
        self._heartbeat = heartbeat
        self._clock = trio.lowlevel.current_clock()  # for any thread
        self._counters = counters
        self._traffic = traffic

    # --- the loop -----------------------------------------------------------------------------

    def begin(self, owner: Owner, interval: float | None) -> None:
        """Reads from now on, without a task of its own if that is possible. On the loop.

        Args:
            owner: ends when the last has been read.
            interval: of the heartbeat.
        """
        self._owner = owner
        try:
            # What came with the last bytes of the handshake is there already.
            self._run_on_loop(self._receive, b"")
        except (RemoteProtocolError, OSError) as exc:
            self._ending = exc
        direct_socket = self._writer.direct_socket
        if self._ending is not None:
            self._tell_ending()
        elif direct_socket is None or not self._join(direct_socket.fileno(), interval):
            self._writer.lifecycle.start_soon(self._run, interval)

    def _join(self, fd: int, interval: float | None) -> bool:
        """Has the one task of the loop read it; tells whether that can."""
        try:
            poll = ready_poll()
            if poll is None:
                return False
            poll.add(fd, self, interval)
        except OSError:
            return False  # no descriptors are left
        self._fd, self._poll = fd, poll  # in this order, for threads
        return True

    def read_ready(self) -> None:
        """Reads what the socket has, for the task of all connections. Raises nothing."""
        direct_socket = self._writer.direct_socket
        if direct_socket is None:
            return
        lead = self.lead
        looks = lead is not None and (lead.soon or lead.shared or lead.lent or lead.used)
        try:
            self._run_on_loop(self._look_in if looks else self._read, direct_socket)
            if self._ending is not None:
                self._tell_ending()
        except BaseException as exc:  # noqa: BLE001  # whatever it is, it is this connection's alone
            self._crash(exc)

    def _crash(self, exc: BaseException) -> None:
        self._leave()
        self._writer.lifecycle.crash(exc)

    def _run_on_loop(self, function: Callable[[T], object], data: T) -> None:
        """Reads, or takes bytes in, on the loop: see `Writer.run_on_loop`."""
        try:
            self._writer.run_on_loop(function, data)
        finally:
            if self.on_read is not None:
                try:
                    self.on_read()
                except BaseException as exc:  # noqa: BLE001  # it is this connection's alone
                    self._crash(exc)

    def _tell_ending(self) -> None:
        """Has the end begin, unless it has. On the loop."""
        self.ended = True
        self._leave()
        owner, self._owner = self._owner, None
        if owner is not None:
            assert self._ending is not None
            self._writer.lifecycle.start_soon(owner.end, self._ending)

    def _leave(self) -> None:
        """The loop waits for the socket no more."""
        with self._writer.lock:
            poll, self._poll = self._poll, None
            if self.lead is not None:
                self.lead.leave()
            if poll is not None:
                poll.remove(self._fd, self)
        if self._reading is not None:
            self._reading.cancel()

    async def _run(self, interval: float | None) -> None:
        """Reads until the end, as a task: where none can read for all connections."""
        watch = loop_watch()
        watch.stand_in(self.read_here, interval)
        try:
            with trio.CancelScope() as self._reading:
                while self._ending is None:
                    if self._pipeline.websocket.paused:
                        await self._wait_resumed()
                    direct_socket = self._writer.direct_socket
                    if direct_socket is not None:
                        await trio.lowlevel.wait_readable(direct_socket.fileno())
                        self._run_on_loop(self._read, direct_socket)
                    else:
                        data = bytes(await self._writer.stream.receive_some(_READ))
                        if data:
                            self._run_on_loop(self._receive, data)
                        else:
                            self._ending = self._lost()
        except (
            RemoteProtocolError,
            OSError,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
        ) as exc:
            self._ending = exc
        finally:
            self._reading = None
            watch.stop_standing_in(self.read_here)
        self._tell_ending()

    async def _wait_resumed(self) -> None:
        if self._resumed is None:
            self._resumed = trio.Event()
        await self._resumed.wait()

    def resume(self) -> None:
        """Goes on after `MessageLayer.paused`, with what has come before. On the loop."""
        if self.ended:
            return
        try:
            self._run_on_loop(self._receive, b"")
            if not self._pipeline.websocket.paused:
                if self._poll is not None:
                    self._poll.arm(self._fd, self)
                if self._resumed is not None:
                    self._resumed.set()
                    self._resumed = None
        except (RemoteProtocolError, OSError) as exc:
            self._ending = exc
        if self._ending is not None:
            self._tell_ending()

    async def drop_some(self) -> bool:
        """Reads and forgets; tells whether there may be more. On the loop, once `run` is over."""
        try:
            return bool(await self._writer.stream.receive_some(_READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return False

    def close(self) -> None:
        """Reads no more: the socket is about to be closed. On the loop, with the lock.

        A thread that leads is woken: as long as it polls the socket, the system keeps it open, and
        its number may soon be that of another one.
        """
        self.ended = True
        self._owner = None
        self._leave()
        if self.lead is not None and self.lead.holder is not None:
            self.lead.holder.wake()

    # --- threads ------------------------------------------------------------------------------

    def read_here(self) -> None:
        """Reads what the socket has, without waiting, on a thread that is not the loop's.

        For a loop that is blocked: pings are answered, threads get what has come for them, and what
        is the loop's waits for it. Over memory, and TLS within TLS, nothing can be done; nor while
        somebody has the lock, which may be the loop.
        """
        writer = self._writer
        direct_socket = writer.direct_socket
        if direct_socket is not None and writer.lock.acquire(blocking=False):
            try:
                writer.run_here(self._read, direct_socket)
            finally:
                writer.lock.release()

    def read_until(self, waiter: Waiter, seconds: float, *, send: bool = False) -> bool:
        """Reads on this thread, which is not the loop's, until its queue has something.

        Args:
            waiter: what this thread waits for.
            seconds: that this may take.
            send: whether to send, too, what is due, and to return when all of it has left.

        Returns:
            Whether it was the leader. If not, it did not wait: another thread leads, or none can.
        """
        holder = sleeper()
        writer = self._writer
        direct_socket = writer.direct_socket
        if holder is None or direct_socket is None:
            return False
        until = time.monotonic() + seconds
        sends = False
        try:
            with writer.lock:
                lead = self._open_lead()
                if lead is None or lead.holder is not None:
                    return False
                lead.take(holder)
                if send:
                    if not writer.take_over():
                        return True
                    sends = True
            waiter.sleeper = holder
            while not self.ended:
                holder.asleep = True  # before the last look: from here on others wake it
                if not waiter.queue.empty() or seconds <= 0:
                    break
                if holder.sleep(self._fd, seconds, sending=sends):
                    holder.asleep = False
                    if writer.wanting:
                        writer.let_others_pass()
                    writer.run_here(self._read, direct_socket)
                    if sends and not writer.send_more(direct_socket):
                        break
                seconds = until - time.monotonic()
        finally:
            holder.asleep = False
            waiter.sleeper = None
            try:
                with writer.lock:
                    if self.lead is not None and self.lead.holder is holder:
                        self.lead.give_back(soon=waiter.more)
                    if sends:
                        writer.let_go()
            except BaseException:
                # A KeyboardInterrupt: it may still have the lead, or be the writer.
                writer.leave_to_loop(writer.distrust)
                raise
        return True

    def leave(self) -> None:
        """A thread that was going to take the lead again does not. Takes the lock."""
        with self._writer.lock:
            if self.lead is not None and self.lead.holder is None:
                self.lead.give_back(soon=False)

    # --- other loops --------------------------------------------------------------------------

    def note_request(self, borrower: Borrower) -> None:
        """Another loop has sent a request, and may want to read. On its thread; takes the lock."""
        lead = self.lead
        if lead is not None and lead.lent and lead.borrower is borrower:
            lead.used = True
        else:
            with self._writer.lock:
                lead = self._open_lead()
                if lead is not None:
                    lead.ask(borrower)

    def read_lent(self) -> None:
        """Reads what the socket has, on the thread of the loop that it was lent to."""
        lead, writer = self.lead, self._writer
        direct_socket = writer.direct_socket
        if lead is None or direct_socket is None or os.getpid() != writer.pid:
            return
        lead.used = True
        try:
            writer.run_here(self._read, direct_socket)
            lost = self.ended
        except BaseException:
            lost = True  # the loop ends it, and this one is not to come back before
            raise
        finally:
            if lost:
                with writer.lock:
                    lead.leave()

    # --- with the lock, corked ----------------------------------------------------------------

    def _look_in(self, direct_socket: DirectSocket) -> None:
        """Reads, unless another one does that, and looks whether it should. On the loop."""
        lead = self.lead
        assert lead is not None
        lead.look_in()
        if self._poll is not None:
            self._poll.by_clock(self._fd, lead.pause)
        if lead.holder is None and not lead.lent:
            self._read(direct_socket)

    def _open_lead(self) -> Lead | None:
        """The lead, if another one than the loop may have it."""
        if self.ended or self._poll is None:
            return None
        if self.lead is None:
            self.lead = Lead(self._fd, self._poll, self)
        return self.lead

    def _read(self, direct_socket: DirectSocket) -> None:
        """Reads what the socket has; `_ending` tells when that was the last."""
        if self.ended or self._writer.distrusted:
            return
        try:
            for _ in range(_READS):
                if self._pipeline.websocket.paused:
                    self._disarm()
                    break
                size = self._size
                data = direct_socket.read_now(size)
                if not data:
                    self._ending = self._lost()
                    break
                count = self._receive(data)
                self._size = _READ if count < _READ else _READ_MORE
                if count < size or self._ending is not None:
                    break
        except BlockingIOError:
            pass  # somebody else was quicker
        except (RemoteProtocolError, OSError) as exc:
            self._ending = exc
        if self._ending is not None:
            self.ended = True
            if self._writer.off_loop:
                # It need not be woken by the socket any more. What was left to it comes first.
                self._writer.leave_to_loop(self._tell_ending)

    def _disarm(self) -> None:
        """Waits for nothing but `resume`, and for the peer to break the socket off."""
        if self._poll is not None:
            self._poll.arm(self._fd, self, armed=False)
            if is_broken_off(self._fd):  # which wakes the loop again and again, armed or not
                self._ending = self._lost()

    def _lost(self) -> Closed:
        return self._writer.lifecycle.lost("the socket ended without a close")

    def _receive(self, data: bytes) -> int:
        """Takes bytes in, and returns how many; `_ending` tells whether they were the last.

        Raises:
            RemoteProtocolError: what the peer sent; all that was whole before it has been handled.
            OSError: from TLS; the same holds.
        """
        size = len(data)
        try:
            self._counters.bytes_received += size
            if size and self._counters.instrument is not None:
                self._counters.tell_bytes("received", size)
            self._heartbeat.last_byte = self._clock.current_time()
            for event in self._pipeline.receive_data(data):
                if isinstance(event, Pong):
                    self._heartbeat.receive_pong(event.payload)
                elif isinstance(event, Ping):
                    self._heartbeat.receive_ping(event.payload)
                elif isinstance(event, CloseReceived):
                    self._ending = self._writer.lifecycle.closed_by_peer(event.code, event.reason)
            if self._ending is None and self._pipeline.ended:
                self._ending = self._writer.lifecycle.lost("the peer ended TLS without a close")
            return size
        finally:
            self._traffic.dispatch()
