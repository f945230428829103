"""Plain WebSockets for asyncio: `connect` and `Dialer`, with the arguments of those for trio.

    async with restsock.websockets.aio.connect("wss://feed.example/v1") as websocket:
        await websocket.send("subscribe")
        async for message in websocket: ...

They live on the background thread that all of `restsock.aio` share. For listeners, use
`restsock.websockets.Endpoint` with a function of asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from restsock._options import Backoff
from restsock.connection import ClientWebSocket as TrioClientWebSocket
from restsock.connection import call_user_function, check_asyncio
from restsock.endpoint import documented_like
from restsock.protocol import CloseCode
from restsock.threads import AsyncioContext, run_from_asyncio

from . import _connect
from ._dial import Target
from ._dialer import Dialer as TrioDialer
from ._faces import AsyncioWebSocket as ClientWebSocket
from ._reconnect import Reconnect

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ClientWebSocket", "Dialer", "connect"]


@documented_like(_connect.connect)
def connect(
    url: str, **options: Unpack[_connect.ConnectOptions]
) -> AbstractAsyncContextManager[ClientWebSocket]:
    """Opens a WebSocket to any server; to be entered with `async with`.

        async with restsock.websockets.aio.connect("wss://feed.example/v1") as websocket: ...

    It dials once; use `Dialer` to reconnect. The arguments are those of
    `restsock.websockets.connect`. If `auth` is an async function, it runs on the loop on which this
    is entered.

    Raises:
        RestsockError: On entering: this is not asyncio.
    """
    return _opened(_connect.target_of(url, **options))


@asynccontextmanager
async def _opened(target: Target) -> AsyncIterator[ClientWebSocket]:
    loop = check_asyncio("restsock.websockets.aio.connect", "restsock.websockets.connect")
    context = AsyncioContext(lambda: _connect.opened(target, loop))
    await context.open()
    websocket = ClientWebSocket(context.value, context.portal)
    try:
        yield websocket
    except asyncio.CancelledError:
        await context.close(drop=True)
        raise
    except BaseException:
        try:
            await websocket.aclose(CloseCode.INTERNAL_ERROR)
        finally:
            await context.close()
        raise
    await context.close()


class Dialer:
    """Keeps a WebSocket to a server open, for asyncio; see `restsock.websockets.Dialer`.

        async def serve(websocket: ClientWebSocket) -> None:
            async for message in websocket: ...

        await Dialer("wss://feed.example/v1", serve).run()

    Args:
        url: As with `connect`.
        serve: An async function, called with each WebSocket, on the loop of `run`.
        reconnect: When to dial again.
        options: The other arguments of `connect`.
    """

    def __init__(
        self,
        url: str,
        serve: Callable[[ClientWebSocket], Awaitable[object]],
        *,
        reconnect: Backoff = Reconnect(),  # noqa: B008  # it is frozen
        **options: Unpack[_connect.ConnectOptions],
    ) -> None:
        self._serve = serve
        self._dialer = TrioDialer(url, self._call, reconnect=reconnect, **options)
        self._context: AsyncioContext[TrioDialer] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a WebSocket now."""
        return self._dialer.websocket is not None

    @documented_like(TrioDialer.run)
    async def run(self) -> None:
        """Runs until it is stopped or cancelled, also in a wait between two attempts.

        Raises:
            RestsockError: This is not asyncio.
        """
        loop = check_asyncio("restsock.websockets.aio.Dialer", "restsock.websockets.Dialer")
        self._dialer.asyncio_loop = loop
        context = self._context = AsyncioContext(lambda: nullcontext(self._dialer))
        await context.open()
        try:
            await run_from_asyncio(context.portal, self._dialer.run)
        finally:
            await context.close()

    def stop(self) -> None:
        """Closes the WebSocket, if there is one, and dials no more. For any thread."""
        if self._context is None:
            self._dialer.stop()
        else:
            self._context.portal.post(self._dialer.stop)

    async def _call(self, websocket: TrioClientWebSocket) -> None:
        assert self._context is not None
        other = ClientWebSocket(websocket, self._context.portal)
        await call_user_function(self._serve, other, loop=self._dialer.asyncio_loop)
