"""Sockets that another has accepted: a web server, for `restsock.asgi`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from restsock._options import SocketOptions
from restsock.connection import Peer

from ._accept import Listener

__all__ = ["HandedOver"]


class HandedOver(trio.abc.Listener[Any]):
    """Accepts what is handed to it. One for each server; calls are made on the loop."""

    def __init__(self) -> None:
        channel = trio.open_memory_channel[tuple[trio.SocketStream, Peer]](1_000_000)
        self._send, self._receive = channel
        self._peers: dict[trio.abc.Stream, Peer] = {}  # of those that were accepted

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
        try:
            self._send.send_nowait((stream, peer))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            sock.close()

    def peer_of(self, stream: trio.abc.Stream, *, tls: bool) -> Peer:
        """Where the dialer is. To be asked once."""
        return self._peers.pop(stream)

    async def accept(self) -> trio.SocketStream:
        """The next one."""
        stream, peer = await self._receive.receive()
        self._peers[stream] = peer
        return stream

    async def aclose(self) -> None:
        """Accepts no more; what waits is closed."""
        with suppress(trio.WouldBlock):
            while True:
                stream, _ = self._receive.receive_nowait()
                stream.socket.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()
