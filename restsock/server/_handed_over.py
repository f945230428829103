"""Sockets that another has accepted: a web server, for `restsock.asgi`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import trio

from restsock._options import SocketOptions
from restsock.connection import Peer

from ._accept import Listener

__all__ = ["HandedOver"]


class HandedOver(trio.abc.Listener[Any]):
    """Accepts what is handed to it. One for each server; calls are made on the loop."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.SocketStream](1_000_000)
        self._peers: dict[trio.abc.Stream, Peer] = {}

    async def open(self, host: str | None, port: int, options: SocketOptions) -> Sequence[Listener]:
        """See `OpenListeners`. There is nothing to bind."""
        return [self]

    def hand_over(self, sock: socket.socket, peer: Peer) -> None:
        """Takes over a connected socket.

        Args:
            sock: Closed by the server, or here if that has closed.
            peer: Where the dialer is.
        """
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._peers[stream] = peer
        try:
            self._send.send_nowait(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            del self._peers[stream]
            sock.close()

    def peer_of(self, stream: trio.abc.Stream, *, tls: bool) -> Peer:
        """Where the dialer is. To be asked once."""
        return self._peers.pop(stream)

    async def accept(self) -> trio.SocketStream:
        """The next one."""
        return await self._receive.receive()

    async def aclose(self) -> None:
        """Accepts no more; what waits is closed."""
        self._receive.close()
        for stream in self._peers:
            stream.socket.close()  # type: ignore[attr-defined]  # all are socket streams
        self._peers.clear()
        await trio.lowlevel.checkpoint()
