"""WebSockets of an endpoint, for functions in threads and of asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from restsock._exceptions import WebSocketClosed
from restsock.connection import OpenWebSocket
from restsock.endpoint import BlockingWebSocket, WebSocketView, documented_like
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from typing_extensions import Self

    from restsock._principal import Principal
    from restsock.connection import Peer

    from ._request import Request
    from ._server_websocket import ServerWebSocket

T = TypeVar("T")

__all__ = ["AsyncioServerWebSocket", "AsyncioWebSocket", "BlockingServerWebSocket"]


class AsyncioWebSocket(WebSocketView):
    """A WebSocket for tasks of asyncio. It lives on a trio loop in another thread.

    That thread answers pings. Any number of tasks may send, and several may receive: each message
    goes to one.

    Args:
        websocket: On the loop.
        portal: To the loop.
    """

    @documented_like(OpenWebSocket.send)
    async def send(self, message: str | bytes) -> None:
        """Sends a message: text, or bytes. Waits while too much waits to be sent.

        If cancelled while it waits, nothing of the message is sent.
        """
        await self._run(self._websocket.send, message)

    @documented_like(OpenWebSocket.send_nowait)
    async def send_nowait(self, message: str | bytes) -> bool:
        """Sends a message if there is room for it; returns whether there was.

        If the peer does not read, the message waits, within bounds. If there is no room, nothing is
        sent. This waits only for the other thread, not for the peer.
        """
        websocket = self._websocket

        async def send() -> bool:
            return websocket.send_nowait(message)

        return await self._run(send)

    @documented_like(OpenWebSocket.receive)
    async def receive(self) -> str | bytes:
        """Waits for the next message: `str` of a text message, `bytes` of a binary one.

        If cancelled, no message is lost.
        """
        with self._receiving() as (receive, taken):
            await self._run(receive)
        return taken[0]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """The next message. Ends with a close in order (`WebSocketClosed.clean`).

        Raises:
            WebSocketClosed: it ended in another way.
        """
        try:
            return await self.receive()
        except WebSocketClosed as exc:
            if exc.clean:
                raise StopAsyncIteration from None
            raise

    @documented_like(OpenWebSocket.aclose)
    async def aclose(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Closes it, and waits for the peer's half of the closing handshake. Twice is harmless."""
        await self._run(self._websocket.aclose, code, reason)

    async def _run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        from restsock.threads import run_from_asyncio  # asyncio takes a while to load

        return await run_from_asyncio(self._portal, function, *args)


class _ServerFace:
    """What a client of an endpoint has besides its messages."""

    _websocket: OpenWebSocket

    @property
    def _server_websocket(self) -> ServerWebSocket:
        return cast("ServerWebSocket", self._websocket)

    @property
    def id(self) -> str:
        """A new one for each, a UUID."""
        return self._server_websocket.id

    @property
    def request(self) -> Request:
        """What the client has asked for: path, query, headers. To look at it raises no error."""
        return self._server_websocket.request

    @property
    def principal(self) -> Principal | None:
        """Whom authentication has found the client to be; `None` without authentication."""
        return self._server_websocket.principal

    @property
    def peer(self) -> Peer:
        """Where the client is: `host`, `port` and `tls`."""
        return self._server_websocket.peer

    @property
    def connected_at(self) -> float:
        """When it was accepted, in seconds since 1970."""
        return self._server_websocket.connected_at

    @property
    def draining(self) -> bool:
        """Whether the listener is going away; see `ServerWebSocket.draining`."""
        return self._server_websocket.draining

    def __repr__(self) -> str:
        return repr(self._websocket)


class BlockingServerWebSocket(_ServerFace, BlockingWebSocket):
    """A WebSocket that a client has opened, for a function that an `Endpoint` calls in a thread.

        def serve(websocket: BlockingServerWebSocket) -> None:
            for message in websocket:  # str or bytes
                websocket.send(message)

    It wraps a `ServerWebSocket`. Any number of threads may send, and several may receive.
    """

    def wait_draining(self, timeout: float | None = None) -> bool:
        """Wait until the listener is going away: for a function that only sends.

        Args:
            timeout: Seconds to wait; `None` waits as long as it takes.

        Returns:
            Whether it went away in time.

        Raises:
            ConnectionClosed: The listener has gone.
        """
        websocket = self._server_websocket

        async def wait() -> bool:
            await websocket.wait_draining()
            return True

        return bool(self._portal.wait(timeout, wait))


class AsyncioServerWebSocket(_ServerFace, AsyncioWebSocket):
    """A WebSocket that a client has opened, for a function of asyncio that an `Endpoint` calls.

        async def serve(websocket: AsyncioServerWebSocket) -> None:
            async for message in websocket:  # str or bytes
                await websocket.send(message)

    It wraps a `ServerWebSocket`, for the loop of the program that has called `restsock.aio.listen`.
    """

    async def wait_draining(self) -> None:
        """Waits until the listener is going away: for a function that only sends.

        Raises:
            ConnectionClosed: The listener has gone.
        """
        await self._run(self._server_websocket.wait_draining)
