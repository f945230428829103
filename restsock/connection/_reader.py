"""Reading a connection: by the task of the loop or, while it waits for an answer, by a thread.

Whoever reads holds the lock, takes what the socket has without waiting, and has it handed on; so
what comes is handled in order, whoever reads. Who that is, and who waits for the socket meanwhile,
is in `_leader`.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import trio

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import CloseReceived, Pong

from ._leader import Lead, Waiter, sleeper

if TYPE_CHECKING:
    from restsock.protocol import Pipeline

    from ._close import Closed
    from ._counters import ConnectionCounters
    from ._direct_socket import DirectSocket
    from ._heartbeat import ConnectionHeartbeat
    from ._lifecycle import Lifecycle
    from ._writer import Traffic, Writer

__all__ = ["Reader"]

_READ = 64 * 1024
# Where that much was there, more may be: then so much is read next. Most frames of a long body are
# whole in it, and need not be put together. It is let go before the next read.
_READ_MORE = 256 * 1024
# How often to read at most, where more seems to be there, before what is due is sent.
_READS = 3
# How long a thread that reads a long body may stay away, in seconds, before the loop reads for the
# others.
_LOOK_IN = 2e-3


class Reader:
    """What comes in on one connection.

    Attributes:
        lead: which thread reads, where one can; `None` before the first that could.
        ended: whether the last that comes has been read, or the connection is closed. For any
            thread.
    """

    __slots__ = (
        "_counters",
        "_ending",
        "_heartbeat",
        "_lifecycle",
        "_pipeline",
        "_reading",
        "_size",
        "_stream",
        "_traffic",
        "_writer",
        "ended",
        "lead",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        pipeline: Pipeline,
        lifecycle: Lifecycle,
        writer: Writer,
        heartbeat: ConnectionHeartbeat,
        counters: ConnectionCounters,
        traffic: Traffic,
    ) -> None:
        self.lead: Lead | None = None
        self.ended = False
        self._size = _READ  # of the next read
        self._ending: Closed | Exception | None = None  # what was read last
        self._reading: trio.CancelScope | None = None  # of the task, while it can be told to stop
        self._stream = stream
        self._pipeline = pipeline
        self._lifecycle = lifecycle
        self._writer = writer
        self._heartbeat = heartbeat
        self._counters = counters
        self._traffic = traffic

    # --- the loop -----------------------------------------------------------------------------

    async def run(self) -> Closed:
        """Reads until the end, and tells how it was. On the loop.

        Raises:
            RemoteProtocolError: what the peer sent; all that was whole before it has been handled.
        """
        try:
            # What came with the last bytes of the handshake is there already.
            closed = self._writer.run_on_loop(self._receive, b"")
            direct_socket = self._writer.direct_socket
            if direct_socket is None:
                while closed is None:
                    data = bytes(await self._stream.receive_some(_READ))
                    if not data:
                        return self._lifecycle.lost("the socket ended without a close")
                    closed = self._writer.run_on_loop(self._receive, data)
                return closed
            if closed is not None:
                return closed
            with trio.CancelScope() as self._reading:
                while self._ending is None:
                    lead = self.lead
                    if lead is not None:
                        lead.offered = True
                    with trio.move_on_after(_LOOK_IN if lead and lead.shared else math.inf):
                        await trio.lowlevel.wait_readable((lead or direct_socket).fileno())
                    streams = lead is not None and (lead.soon or lead.shared)
                    read = self._look_in if streams else self._read
                    self._writer.run_on_loop(read, direct_socket)
            ending = self._ending
            assert ending is not None
            if isinstance(ending, Exception):
                raise ending
            return ending
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
            why = str(exc.__cause__ or "") or str(exc) or type(exc).__name__
            return self._lifecycle.lost(f"the socket failed: {why}")

    def _stop(self) -> None:
        """Wakes the task, since somebody else has read the end. On the loop."""
        if self._reading is not None:  # else it has not begun, and looks first
            self._reading.cancel()

    async def drop_some(self) -> bool:
        """Reads and forgets; tells whether there may be more. On the loop, once `run` is over."""
        try:
            return bool(await self._stream.receive_some(_READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            return False

    def close(self) -> None:
        """Reads no more. On the loop, whose task waits no more; with the lock."""
        self.ended = True
        if self.lead is not None:
            self.lead.close()

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
                if self.ended:
                    return False
                lead = self.lead
                if lead is None:
                    # The loop gets to know it when it has been woken for the last time.
                    try:
                        lead = self.lead = Lead(direct_socket.fileno())
                    except OSError:
                        return False  # no descriptors are left
                if lead.holder is not None or not lead.offered:
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
                if holder.sleep(lead.fd, seconds, sending=sends):
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

    # --- with the lock, corked ----------------------------------------------------------------

    def _look_in(self, direct_socket: DirectSocket) -> None:
        """Reads for the others while a thread that reads a long body is away. On the loop."""
        assert self.lead is not None
        self.lead.look_in()
        if self.lead.holder is None:
            self._read(direct_socket)

    def _read(self, direct_socket: DirectSocket) -> None:
        """Reads what the socket has; `_ending` tells when that was the last."""
        if self.ended:
            return
        try:
            for _ in range(_READS):
                size = self._size
                data = direct_socket.read_now(size)
                count = len(data)
                if not count:
                    self._ending = self._lifecycle.lost("the socket ended without a close")
                    break
                self._ending = self._receive(data)
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
                self._writer.leave_to_loop(self._stop)

    def _receive(self, data: bytes) -> Closed | None:
        """Takes bytes in; tells how the connection ended, if it has.

        Raises:
            RemoteProtocolError: what the peer sent; all that was whole before it has been handled.
            OSError: from TLS; the same holds.
        """
        closed: Closed | None = None
        try:
            self._counters.bytes_received += len(data)
            if data and self._counters.instrument is not None:
                self._counters.tell_bytes("received", len(data))
            self._heartbeat.note_bytes()
            for event in self._pipeline.receive_data(data):
                if isinstance(event, Pong):
                    self._heartbeat.receive_pong(event.payload)
                elif isinstance(event, CloseReceived):
                    closed = self._lifecycle.closed_by_peer(event.code, event.reason)
            if closed is None and self._pipeline.ended:
                closed = self._lifecycle.lost("the peer ended TLS without a close")
            return closed
        finally:
            self._traffic.dispatch()
