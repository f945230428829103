"""Sockets that something else has accepted: a web server, for `restsock.asgi`."""

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
    """A listener for sockets that are handed over. One for each server; used on the loop."""

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
            sock: The socket. The server closes it; if the server has closed, this does.
            peer: The address of the dialer.
        """
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        try:
            self._send.send_nowait((stream, peer))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            sock.close()

    def peer_of(self, stream: trio.abc.Stream, *, tls: bool) -> Peer:
        """The address of the dialer. May be called once for each stream."""
        return self._peers.pop(stream)

    async def accept(self) -> trio.SocketStream:
        """Waits for the next socket."""
        stream, peer = await self._receive.receive()
        self._peers[stream] = peer
        return stream

    async def aclose(self) -> None:
        """Stops accepting, and closes the sockets that wait."""
        with suppress(trio.WouldBlock):
            while True:
                stream, _ = self._receive.receive_nowait()
                stream.socket.close()
        self._receive.close()
        await trio.lowlevel.checkpoint()
