"""`ServerWebSocket`: one client of an endpoint, as the function that serves it has it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import WebSocketClosed
from restsock.connection import OpenWebSocket
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Peer

    from ._request import Request

__all__ = ["ServerWebSocket"]


class ServerWebSocket(OpenWebSocket):
    """A WebSocket that a client has opened, once it is accepted. Made by an `Endpoint`.

        async def serve(websocket: ServerWebSocket) -> None:
            async for message in websocket:  # str or bytes
                await websocket.send(message)

    Any number of tasks may send, and several may receive: each message goes to one. Pings are sent
    and answered automatically.

    Attributes:
        id: a UUID, new for each.
        request: the request of the client: path, query, headers.
        principal: who the client is; `None` without authentication.
        subprotocol: the one that was chosen; `None` without one.
        headers: those of the request.
        connected_at: when it was accepted, in seconds since 1970.
        farewell: the code and reason with which the listener closes it; `None` until then.
        gone: whether the client has left, although earlier messages still wait to be received. It
            is known once the socket has failed, as it does when this side sends.
        on_gone: is called then, on the loop.
    """

    def __init__(
        self, *args: Any, request: Request, principal: Principal | None, **kwargs: Any
    ) -> None:
        super().__init__(*args, client=False, headers=request.headers, peer="the client", **kwargs)
        self.id = str(uuid.uuid4())
        self.request = request
        self.principal = principal
        self.connected_at = time.time()
        self.farewell: tuple[int, str] | None = None
        self.gone = False
        self.on_gone: Callable[[], object] | None = None
        self._draining = trio.Event()

    @property
    def peer(self) -> Peer:
        """Where the client is: `host`, `port` and `tls`."""
        return self.request.peer

    @property
    def draining(self) -> bool:
        """Whether the listener is closing: no further message is received.

        Messages received before are still returned; then iteration ends, and `receive` raises
        `WebSocketClosed` with 1001, or with the code of the listener. Sending is possible until the
        WebSocket is closed with that code: when the function that serves it has returned, or when
        its grace is over.
        """
        return self._draining.is_set()

    async def wait_draining(self) -> None:
        """Waits until the listener closes: for a function that only sends. Raises no error.

        It goes on waiting if the client leaves first.
        """
        await self._draining.wait()

    def drain_soon(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Begins the end of it, as when the listener goes away. On the loop."""
        if self.farewell is None:
            self.farewell = code, reason
            self._no_more = WebSocketClosed(
                f"the WebSocket is going to be closed with {int(code)}: {reason}", code, reason
            )
            self._no_more.clean = True  # whatever the code
            self._draining.set()
            self._tell()

    def note_gone(self) -> None:
        """The client has left. On the loop. Twice is harmless."""
        if not self.gone:
            self.gone = True
            if self.on_gone is not None:
                self.on_gone()

    def give_up(self) -> None:
        """Ends it, whose client is gone: what came before is not read to its end. On the loop."""
        self._end(CloseCode.ABNORMAL, "", "the client ended without a close frame")

    def __repr__(self) -> str:
        state = "open" if self.close_code is None else f"closed with {self.close_code}"
        return f"<ServerWebSocket {self.id} {self.request.path!r} {state}>"
