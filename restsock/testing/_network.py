"""`Network`: the network between a client and a server in memory; and views for other loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from restsock.testing._faults import Faults
from restsock.testing._stream import FaultyStream
from restsock.testing._wire import CutKind

if TYPE_CHECKING:
    from restsock._options import SocketOptions
    from restsock.client import Address

__all__ = ["AioNetwork", "Network", "SyncNetwork"]

# How many connections may wait to be accepted.
_BACKLOG = 1000


class Network(Faults, trio.abc.Listener[trio.abc.Stream]):
    """The network between the client and the server of a pair, in memory.

    It works until one of these methods is called: `stall` and `drop`, which `resume` ends; `slow`;
    `cut`; and `refuse`, which `accept_again` ends.

    Attributes:
        token: The token of the loop that it is on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](_BACKLOG)
        self._refusing = False
        self.token: trio.lowlevel.TrioToken | None = None

    def refuse(self) -> None:
        """Refuse new connections; the current one continues. Raises nothing."""
        self._refusing = True

    def accept_again(self) -> None:
        """End a `refuse`."""
        self._refusing = False

    async def cut(self, kind: CutKind = "reset") -> None:
        """End every current connection, and wait until both ends have noticed.

        A client can dial again at once.

        Args:
            kind: "reset" or "eof"; see `FaultyStream.cut`, which raises nothing.
        """
        await super().cut(kind)
        await wait_all_tasks_blocked()

    async def end(self) -> None:
        """End stalled and lost connections, so that closing does not wait. Raises nothing."""
        self.refuse()
        if self._stalled or self._dropping:
            for stream in self._streams:
                await stream.aclose_inner()

    # --- for the client -------------------------------------------------------------------

    async def open_stream(self, address: Address) -> trio.abc.Stream:
        """Dials; see `restsock.client.OpenStream`.

        Raises:
            ConnectionRefusedError: After `refuse`, or when the server has closed.
        """
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        try:
            if self._refusing:
                raise trio.BrokenResourceError
            self._send.send_nowait(theirs)
        except (trio.BrokenResourceError, trio.WouldBlock):
            raise ConnectionRefusedError("the network in memory refuses it") from None
        stream = FaultyStream(ours)
        self._join(stream)
        return stream

    # --- for the server -------------------------------------------------------------------

    async def open(
        self, host: str | None, port: int, sockets: SocketOptions
    ) -> Sequence[trio.abc.Listener[Any]]:
        """Returns itself: there is nothing to bind. Raises nothing."""
        await trio.lowlevel.checkpoint()
        self.token = trio.lowlevel.current_trio_token()
        return [self]

    async def accept(self) -> trio.abc.Stream:
        """Waits for the next connection; raises the errors of `trio.abc.Listener`."""
        return await self._receive.receive()

    async def aclose(self) -> None:
        """Stops accepting; raises nothing. See `trio.abc.Listener`."""
        self._receive.close()
        await trio.lowlevel.checkpoint()


class _NetworkView:
    """A network, for callers outside its loop. Each method returns after it has taken effect."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def stall(self) -> None:
        """Let nothing pass, on old and new connections, until `resume`.

        Raises:
            trio.RunFinishedError: Both ends were closed. The other methods raise this, too.
        """
        self._call(self._network.stall)

    def resume(self) -> None:
        """End a `stall`, and a `drop` for later connections; the current ones stay lost."""
        self._call(self._network.resume)

    def drop(self) -> None:
        """Silently lose every byte, on old and new connections.

        Heartbeats detect it. After `resume` the client's next attempt succeeds.
        """
        self._call(self._network.drop)

    def slow(self, delay: float = 0.0, *, rate: float | None = None) -> None:
        """Slow old and new connections down. Without arguments, end that.

        Args:
            delay: Seconds to add to each round trip, by delaying the bytes to the client.
            rate: Bytes per second, in each direction; `None` is no limit.

        Raises:
            ValueError: The delay is negative, or the rate is not positive.
        """
        self._call(partial(self._network.slow, delay, rate=rate))

    def refuse(self) -> None:
        """Refuse new connections; the current one continues. Raises the same as `stall`."""
        self._call(self._network.refuse)

    def accept_again(self) -> None:
        """End a `refuse`."""
        self._call(self._network.accept_again)

    def end(self) -> None:
        """See `Network.end`. It waits only for the loop, and raises nothing."""
        try:
            trio.from_thread.run(self._network.end, trio_token=self._network.token)
        except trio.RunFinishedError:
            pass  # both ends were closed before

    def _call(self, function: Callable[[], None]) -> None:
        trio.from_thread.run_sync(function, trio_token=self._network.token)


class SyncNetwork(_NetworkView):
    """The `Network` of a `sync_pair`, for threads."""

    def cut(self, kind: CutKind = "reset") -> None:
        """End the current connection, and wait until both ends have noticed.

        The client can dial again at once.

        Args:
            kind: "reset" or "eof"; see `FaultyStream.cut`.

        Raises:
            trio.RunFinishedError: Both ends were closed.
        """
        trio.from_thread.run(self._network.cut, kind, trio_token=self._network.token)


class AioNetwork(_NetworkView):
    """The `Network` of an `aio_pair`, for asyncio."""

    async def cut(self, kind: CutKind = "reset") -> None:
        """End the current connection, and wait until both ends have noticed.

        The client can dial again at once. If cancelled, the connection is cut nevertheless.

        Args:
            kind: "reset" or "eof"; see `FaultyStream.cut`.

        Raises:
            trio.RunFinishedError: Both ends were closed.
        """
        cut = partial(trio.from_thread.run, self._network.cut, kind)
        await asyncio.to_thread(cut, trio_token=self._network.token)
