"""Plain WebSockets for threads: `connect` and `Dialer`, with the arguments of those for trio.

    with restsock.websockets.sync.connect("wss://feed.example/v1") as websocket:
        websocket.send("subscribe")
        for message in websocket: ...

They live on the background thread that all of `restsock.sync` share. For listeners, use
`restsock.websockets.Endpoint` with a plain function.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

import trio

from restsock._options import Backoff
from restsock.connection import ClientWebSocket as AsyncClientWebSocket
from restsock.endpoint import BlockingClientWebSocket as ClientWebSocket
from restsock.endpoint import BlockingWebSocket, documented_like, with_arguments_of
from restsock.threads import BlockingContext

from . import _connect
from ._dialer import Dialer as AsyncDialer
from ._reconnect import Reconnect

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ClientWebSocket", "Dialer", "connect"]


@with_arguments_of(_connect.connect)
def connect(opened: AbstractAsyncContextManager[AsyncClientWebSocket]) -> ClientWebSocket:
    """Open a WebSocket to any server; return once it is open. `close` it, or use `with`.

        with restsock.websockets.sync.connect("wss://feed.example/v1") as websocket: ...

    It dials once; use `Dialer` to reconnect.

    Raises:
        WebSocketRefused: The server gave another answer, which is attached.
        HandshakeError: There is no connection, or no WebSocket at its end.
        RestsockError: This is the background thread itself.
    """
    return ClientWebSocket(lambda: opened)


class Dialer:
    """Keeps a WebSocket to a server open, for threads; see `restsock.websockets.Dialer`.

        def serve(websocket: BlockingWebSocket) -> None:
            for message in websocket: ...

        Dialer("wss://feed.example/v1", serve).run()

    Args:
        url: As with `connect`.
        serve: A function, called in a thread with each WebSocket.
        reconnect: When to dial again.
        options: The other arguments of `connect`.
    """

    def __init__(
        self,
        url: str,
        serve: Callable[[BlockingWebSocket], object],
        *,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        **options: Unpack[_connect.ConnectOptions],
    ) -> None:
        self._serve = serve
        self._dialer = AsyncDialer(url, self._call, reconnect=reconnect, **options)
        self._context: BlockingContext[AsyncDialer] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a WebSocket now."""
        return self._dialer.websocket is not None

    @documented_like(AsyncDialer.run)
    def run(self) -> None:
        """Run until it is stopped. Ctrl-C ends it, also in a wait between two attempts."""
        context = self._context = BlockingContext(lambda: nullcontext(self._dialer))
        try:
            context.portal.run(self._dialer.run)
        finally:
            context.close()

    def stop(self) -> None:
        """Close the WebSocket, if there is one, and dial no more. For any thread."""
        if self._context is None:
            self._dialer.stop()
        else:
            self._context.portal.post(self._dialer.stop)

    async def _call(self, websocket: AsyncClientWebSocket) -> None:
        assert self._context is not None
        blocking = BlockingWebSocket(websocket, self._context.portal)
        await trio.to_thread.run_sync(self._serve, blocking, abandon_on_cancel=True)
