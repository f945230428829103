"""`FaultyStream`: any trio stream, with a wire between that can be broken on demand."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque
from collections.abc import Iterator

import trio

from restsock.connection import TLSStream
from restsock.testing._wire import CutKind, Wire

# A portion of a receive without a limit of its own.
_RECEIVE = 65536

# Pieces that may be on their way at once, on a wire with a delay.
_HELD = 256


class FaultyStream(trio.abc.HalfCloseableStream):
    """A stream around another one, faultless until a fault is set.

    ``sending`` is the `Wire` from here to the peer, ``receiving`` the one back; the methods of
    this class break both at once. Only one end needs to be wrapped: a fault here is seen there.

        wire = FaultyStream(stream)
        wire.receiving.chunk = 1            # one byte at a time
        wire.sending.cut_after(1000)        # a reset after the 1000th byte
        wire.drop()                         # the cable is pulled, without a sign

    Args:
        inner: The stream that carries the bytes; public as ``inner``.
        sending: The wire to the peer; a new, faultless one by default.
        receiving: The wire from the peer.
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
        # Received, but not through the wire yet: until when each waits, and its bytes, of which the
        # end of file has none.
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
        """Lose everything from now on, in both directions, without a word; see `Wire.drop`."""
        self.sending.drop()
        self.receiving.drop()

    async def cut(self, kind: CutKind = "reset") -> None:
        """End the wire now, in both directions.

        Args:
            kind: "reset": a task that waits here gets `trio.BrokenResourceError`, and the inner
                stream is closed (a socket with a TCP reset). "eof": both ends read an end of file.

        Raises nothing, not even when the stream has ended before.
        """
        await self._cut(kind, sending=True, receiving=True)

    # ---- trio.abc.HalfCloseableStream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send through the faults. If cancelled, an unknown part has left, as always in trio.

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
                return  # the rest vanishes after the end of file

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for the inner stream and for the end of a stall. Raises what `send_all` does."""
        self._check()
        with self._interruptible():
            await self.sending.admit(0)
            if not (self.sending.dropping or self._sending_ended):
                await self.inner.wait_send_all_might_not_block()
        self._check()

    async def send_eof(self) -> None:
        """Half-close, unless the wire has lost the peer already. Raises what `send_all` does."""
        self._check()
        await trio.lowlevel.checkpoint()
        if not (self.sending.dropping or self._sending_ended):
            await self._end_inner()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive through the faults; raises what `send_all` does. Cancelled, it loses no byte."""
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

        Close ``inner`` yourself then, or call `aclose_inner`. Raises nothing; twice is harmless.
        """
        self._closed = True
        self._interrupt()
        if self.sending.dropping and not self._broken:
            await trio.lowlevel.checkpoint()
        else:
            await self.inner.aclose()

    async def aclose_inner(self) -> None:
        """Close the inner stream whatever the faults. Raises nothing; twice is harmless."""
        self._closed = True
        self._interrupt()
        await trio.aclose_forcefully(self.inner)

    # ---- the machinery

    async def _fill(self, max_bytes: int | None) -> None:
        """Wait until the first held piece has had its delay, and take in what comes meanwhile.

        So the delay is one of latency: pieces on the way wait side by side.
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
                await trio.sleep_forever()  # an end of file vanishes as well
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
                # A task was stuck in a send, and leaves it in a moment.
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
        """A block that a cut or a close leaves early; what follows must check the state."""
        scope = trio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                yield
        except trio.ClosedResourceError:
            # Closed under the waiting operation: by a cut, or by aclose(). Only the first is
            # the wire's fault; `_check` tells them apart.
            if not self._broken:
                raise
        finally:
            self._scopes.discard(scope)

    def _interrupt(self) -> None:
        for scope in self._scopes:
            scope.cancel()


def _reset_on_close(stream: trio.abc.Stream) -> None:
    """Let the kernel send RST instead of FIN, where there is a kernel."""
    while isinstance(stream, (TLSStream, FaultyStream)):
        stream = stream.transport_stream if isinstance(stream, TLSStream) else stream.inner
    if isinstance(stream, trio.SocketStream):
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
