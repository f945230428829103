"""`FaultyStream`: any trio stream, with faults on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterator

import trio

from restsock.connection import TLSStream
from restsock.testing._wire import CutKind, Wire

# The maximum of a receive without its own limit.
_RECEIVE = 65536

# Pieces that may be in transit at once, on a wire with a delay.
_HELD = 256


class FaultyStream(trio.abc.HalfCloseableStream):
    """A stream around another one, which works until a fault is set.

    ``sending`` is the `Wire` from here to the peer, ``receiving`` the wire back; the methods of
    this class act on both. Only one end needs to be wrapped: the other end sees the faults, too.

        wire = FaultyStream(stream)
        wire.receiving.chunk = 1            # one byte at a time
        wire.sending.cut_after(1000)        # a reset after the 1000th byte
        wire.drop()                         # as if the cable were pulled

    Args:
        inner: The stream that carries the bytes; public as ``inner``.
        sending: The wire to the peer; by default a new one without faults.
        receiving: The wire from the peer; likewise.
    """

    def __init__(
        self,
        inner: trio.abc.Stream,
        *,
        sending: Wire | None = None,
        receiving: Wire | None = None,
    ) -> None:
        self.inner = inner
        self.sending = Wire() if sending is None else sending
        self.receiving = Wire() if receiving is None else receiving
        # Received, but still delayed: the time until which each piece waits, and its bytes; for the
        # end of file, no bytes.
        self._held: deque[tuple[float, bytearray]] = deque()
        self._inner_ended = False
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False
        self._broken = False
        self._sending_ended = False
        self._receiving_ended = False

    # ---- faults in both directions

    def stall(self) -> None:
        """Let nothing pass in either direction until `resume`."""
        self.sending.stall()
        self.receiving.stall()

    def resume(self) -> None:
        """End a `stall`."""
        self.sending.resume()
        self.receiving.resume()

    def drop(self) -> None:
        """Silently lose everything from now on, in both directions; see `Wire.drop`."""
        self.sending.drop()
        self.receiving.drop()

    async def cut(self, kind: CutKind = "reset") -> None:
        """End the wire now, in both directions.

        Args:
            kind: "reset": a task that waits here gets `trio.BrokenResourceError`, and the inner
                stream is closed (a socket with a TCP reset). "eof": both ends read an end of file.

        Raises nothing, even if the stream has ended already.
        """
        await self._cut(kind, sending=True, receiving=True)

    # ---- trio.abc.HalfCloseableStream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, with the faults. If cancelled, an unknown part was sent, as always in trio.

        Raises:
            trio.BrokenResourceError: The wire was cut, or the inner stream is broken.
            trio.ClosedResourceError: This was closed.
        """
        self._check()
        await self._pause(self.sending.delay)
        view = memoryview(data)
        while view:
            with self._interruptible():
                admitted = await self.sending.admit(len(view))
                piece, view = bytes(view[:admitted]), view[admitted:]
                if not (self.sending.dropping or self._sending_ended):
                    await self._inner_send(piece)
                due = self.sending.count(admitted)
                if due is not None:
                    await self._cut(due, sending=True, receiving=due == "reset")
            self._check()
            if self._sending_ended:
                return  # after the end of file the rest is lost

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for the inner stream and for the end of a stall. Raises the same as `send_all`."""
        self._check()
        with self._interruptible():
            await self.sending.admit(0)
            if not (self.sending.dropping or self._sending_ended):
                await self.inner.wait_send_all_might_not_block()
        self._check()

    async def send_eof(self) -> None:
        """Half-close, unless the wire was dropped. Raises the same as `send_all`."""
        self._check()
        await trio.lowlevel.checkpoint()
        if not (self.sending.dropping or self._sending_ended):
            await self._end_inner()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive, with the faults. If cancelled, loses no byte. Raises the same as `send_all`."""
        wire = self.receiving
        while True:
            self._check()
            if self._receiving_ended:
                await trio.lowlevel.checkpoint()
                return b""
            with self._interruptible():
                await self._fill(max_bytes)
                if wire.dropping:
                    wire.count(sum(len(data) for _, data in self._held))
                    self._held.clear()
                    continue
                data = self._held[0][1]
                if not data:
                    self._receiving_ended = True
                    continue
                wanted = len(data) if max_bytes is None else min(len(data), max_bytes)
                admitted = await wire.admit(wanted)
                if wire.dropping:
                    continue
                piece = bytes(data[:admitted])
                del data[:admitted]
                if not data:
                    self._held.popleft()
                due = wire.count(admitted)
                if due is not None:
                    await self._cut(due, sending=due == "reset", receiving=True)
                return piece

    async def aclose(self) -> None:
        """Close. After a `drop` the inner stream stays open, since the peer must not notice.

        In that case close ``inner`` yourself, or call `aclose_inner`. Raises nothing; may be
        repeated.
        """
        self._closed = True
        self._interrupt()
        if self.sending.dropping and not self._broken:
            await trio.lowlevel.checkpoint()
        else:
            await self.inner.aclose()

    async def aclose_inner(self) -> None:
        """Close the inner stream despite the faults. Raises nothing; may be repeated."""
        self._closed = True
        self._interrupt()
        await trio.aclose_forcefully(self.inner)

    # ---- internals

    async def _fill(self, max_bytes: int | None) -> None:
        """Wait until the first delayed piece is due, and receive more meanwhile.

        So the delay is latency: pieces in transit wait in parallel.
        """
        if not self._held:
            await self._take_in(max_bytes)
        while self._held and trio.current_time() < self._held[0][0]:
            with trio.move_on_at(self._held[0][0]):
                if len(self._held) < _HELD and not self._inner_ended:
                    await self._take_in(max_bytes)
                else:
                    await trio.sleep_forever()

    async def _take_in(self, max_bytes: int | None) -> None:
        data = await self._inner_receive(max_bytes)
        if self.receiving.dropping:
            self.receiving.count(len(data))
            if not data:
                await trio.sleep_forever()  # an end of file is lost as well
            return
        self._inner_ended = not data
        self._held.append((trio.current_time() + self.receiving.delay, bytearray(data)))

    async def _inner_receive(self, max_bytes: int | None) -> bytes | bytearray:
        try:
            return await self.inner.receive_some(_RECEIVE if max_bytes is None else max_bytes)
        except trio.BrokenResourceError:
            if self.receiving.dropping:
                await trio.sleep_forever()  # a reset is a packet too
            raise

    async def _inner_send(self, piece: bytes) -> None:
        try:
            await self.inner.send_all(piece)
        except trio.BrokenResourceError:
            if not self.sending.dropping:
                raise

    async def _pause(self, seconds: float) -> None:
        with self._interruptible():
            await trio.sleep(seconds)
        self._check()

    async def _cut(self, kind: CutKind, *, sending: bool, receiving: bool) -> None:
        if self._closed or self._broken:
            return
        if kind == "reset":
            self._broken = True
            _reset_on_close(self.inner)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.inner)
        else:
            self._receiving_ended |= receiving
            if sending and not self._sending_ended:
                self._sending_ended = True
                with trio.CancelScope(shield=True):
                    await self._end_inner()
        self._interrupt()

    async def _end_inner(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if isinstance(self.inner, trio.abc.HalfCloseableStream):
                await self._end_behind_sender(self.inner)
            else:
                await self.inner.aclose()

    async def _end_behind_sender(self, inner: trio.abc.HalfCloseableStream) -> None:
        self._interrupt()
        while True:
            try:
                await inner.send_eof()
            except trio.BusyResourceError:
                # A task was stuck in a send, and leaves it soon.
                await trio.lowlevel.checkpoint()
            else:
                return

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._broken:
            raise trio.BrokenResourceError("the wire was cut")

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """A block that a cut or a close interrupts; the code after it must check the state."""
        scope = trio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                yield
        except trio.ClosedResourceError:
            # Closed during the operation: by a cut, or by aclose(). Only the first is a fault of
            # the wire; `_check` distinguishes them.
            if not self._broken:
                raise
        finally:
            self._scopes.discard(scope)

    def _interrupt(self) -> None:
        for scope in self._scopes:
            scope.cancel()


def _reset_on_close(stream: trio.abc.Stream) -> None:
    """Make the kernel send RST instead of FIN, if this is a socket."""
    while isinstance(stream, (TLSStream, FaultyStream)):
        stream = stream.transport_stream if isinstance(stream, TLSStream) else stream.inner
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
