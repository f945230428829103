"""Nats: a connection to NATS that is kept, with its publishers and subscribers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock.apps import asyncio_thread
from restsock.connection import check_trio
from restsock.messaging._errors import BrokerUnavailable, MessagingClosed

from ._link import Keeper, Link
from ._options import NatsOptions, check_servers
from ._publisher import CorePublisher, JetStreamPublisher

if TYPE_CHECKING:
    from types import TracebackType

    from restsock.apps import AsyncioThread

__all__ = ["Nats"]

_GRACE = 3.0


class Nats:
    """A connection to NATS, for trio. It is made anew whenever it is lost, and never given up.

        async with Nats("nats://127.0.0.1:4222") as nats, messaging, server:
            messaging.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))

    Its client runs on a loop of asyncio in a thread, which ends with the `async with` block. It is
    entered once, and outside the messaging that uses it, so that handlers can come to their end.

    Args:
        servers: the URL of a server, or those of several, which are tried in turn. A `ws://` URL is
            for the WebSocket listener of NATS.
        options: who this is, TLS, limits and times.

    Raises:
        ValueError: a URL is not valid, or has a secret in it.
        ImportError: the extra `nats` is not installed.
    """

    def __init__(self, servers: str | Sequence[str], *, options: NatsOptions | None = None) -> None:
        self.options = options or NatsOptions()
        self._servers = (servers,) if isinstance(servers, str) else tuple(servers)
        check_servers(self._servers)
        self._thread: AsyncioThread | None = None
        self._keeper: Keeper | None = None
        self._context: AbstractAsyncContextManager[None] | None = None
        self._ready = trio.Event()
        self.connected = False
        self.connections = 0

    def __repr__(self) -> str:
        state = "connected" if self.connected else "not connected"
        return f"<restsock.messaging.nats.Nats, {state}>"

    async def __aenter__(self) -> Nats:
        """Connects.

        Raises:
            BrokerUnavailable: no server could be reached in `NatsOptions.ready_timeout`; the text
                says why.
            RuntimeError: it was entered before.
            RestsockError: this is asyncio.
        """
        check_trio("restsock.messaging.nats.Nats", "an asyncio client of NATS")
        if self._context is not None:
            raise RuntimeError("a Nats can be entered once; make another one")
        self._context = self._running()
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Closes the connection. What was published and is not confirmed yet fails."""
        assert self._context is not None
        return await self._context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        thread = asyncio_thread(grace=_GRACE)
        error: Exception | None = None
        async with thread.running():
            self._thread = thread
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(thread.run, self._keep)
                    with trio.move_on_after(self.options.ready_timeout):
                        await self._ready.wait()
                    if not self._ready.is_set():
                        nursery.cancel_scope.cancel()
                    else:
                        try:
                            yield
                        except Exception as exc:  # noqa: BLE001  # raised again, outside of it
                            error = exc
                        nursery.cancel_scope.cancel()
                if not self._ready.is_set():
                    why = self._keeper.last_error if self._keeper else "no attempt was made"
                    raise BrokerUnavailable(f"no server of NATS can be reached: {why}")
            finally:
                self._thread = None
        if error is not None:
            raise error

    async def _keep(self) -> None:
        assert self._thread is not None
        tell = self._thread.tell_trio
        self._keeper = Keeper(
            self._servers, self.options, lambda there: tell(None, self._changed, there)
        )
        await self._keeper.run()

    def _changed(self, there: bool) -> None:
        self.connected = there
        if there:
            self.connections += 1
            self._ready.set()

    # --- for users ----------------------------------------------------------------------------

    def jetstream(self) -> JetStreamPublisher:
        """Publishes to streams of JetStream. There has to be one for the subject."""
        return JetStreamPublisher(self)

    def core(self) -> CorePublisher:
        """Publishes to whoever has subscribed."""
        return CorePublisher(self)

    # --- for publishers and subscribers -------------------------------------------------------

    async def call(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Awaits a function on the loop of its client.

        Raises:
            MessagingClosed: it is not open.
            Exception: what the function raises.
        """
        if self._thread is None:
            raise MessagingClosed("this Nats is not open")
        return await self._thread.run(function, *args)

    async def link(self) -> Link:
        """The present connection, on the loop of its client. Waits while there is none."""
        assert self._keeper is not None
        return await self._keeper.link()
