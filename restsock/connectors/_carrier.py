"""`Carrier`: the listener of a connector, or the connection that it dials, with its messaging."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import trio

from restsock._exceptions import HandshakeError, WebSocketRefused
from restsock.messaging import Messaging, Session
from restsock.server import Server, listen

from ._config import Dial, InputConfig, Listen, OutputConfig

if TYPE_CHECKING:
    from types import TracebackType

    from restsock.messaging.nats import Nats

__all__ = ["Carrier", "is_idle"]

# How long it waits until all is sent, in seconds, where nobody says otherwise.
_GRACE = 5.0


class Carrier:
    """The listener or the connection of a connector. Enter it once, with `async with`.

    Args:
        config: of an input or an output.

    Attributes:
        messaging: has the sessions, the counters and the health.
        closing: whether it is to end.
        scope: around all that enters it; cancelled when it is closed before that.
        nats: the connection of its ports, if there are some of NATS.

    Raises:
        OSError: on entering: it cannot listen there.
    """

    def __init__(self, config: InputConfig | OutputConfig) -> None:
        self.messaging = Messaging(
            options=config.options,
            authorize=lambda session, action, name: config.answers or action != "call",
        )
        self.closing = False
        self.scope = trio.CancelScope()
        self.nats: Nats | None = None
        self._entered = False
        self._config = config
        self._server: Server | None = None
        self._failure: HandshakeError | WebSocketRefused | None = None
        self._dialing = trio.CancelScope()
        self._ended = trio.Event()
        self._context: AbstractAsyncContextManager[None] | None = None

    @property
    def url(self) -> str:
        """The URL that peers dial, or that it dials."""
        place = self._config.place
        if isinstance(place, Dial):
            return place.url
        assert self._server is not None
        scheme, _, rest = self._server.url.rstrip("/").partition("://")
        return f"{scheme.replace('http', 'ws')}://{rest}{place.options['path']}"

    @property
    def doing(self) -> str:
        """What it does there, in words."""
        return "dialing" if isinstance(self._config.place, Dial) else "listening at"

    @property
    def open_to_all(self) -> bool:
        """Whether it listens beyond this machine, and takes everybody who reaches the port."""
        place = self._config.place
        return isinstance(place, Listen) and place.open_to_all

    async def wait_closed(self) -> None:
        """Waits until it has ended. Can be cancelled.

        Raises:
            WebSocketRefused: whom it dials has refused it, and it dials no more.
            HandshakeError: there is no connection, and it dials no more.
        """
        await self._ended.wait()
        if self._failure is not None and not self.closing:
            raise self._failure

    async def aclose(self, *, grace: float | None = None) -> None:
        """Ends it, after what it has read or was given. Raises no error; twice is harmless.

        If cancelled, what was not sent or acknowledged until then may be lost.

        Args:
            grace: seconds that this may take.
        """
        self.closing = True
        if not self._entered:
            self.scope.cancel()
        with trio.move_on_after(_GRACE if grace is None else grace):
            # What an input gives back while it listens, the server waits for.
            if self._server is None or isinstance(self._config, OutputConfig):
                sessions = self.messaging.sessions
                await self.messaging.wait_until(lambda: not len(sessions) or self.drained)
            if self._server is None:
                await self._hang_up()
        if self._server is not None:
            await self._server.aclose(grace=grace)
        self._dialing.cancel()
        self._ended.set()

    @property
    def drained(self) -> bool:
        """Whether all is written that was sent, and acknowledged where it is sent until it is."""
        left = self.messaging.statistics().outbox_messages
        return not left and all(map(is_idle, self.messaging.sessions))

    async def _hang_up(self) -> None:
        """Closes the connection that was dialed."""
        dialed = [*self.messaging.sessions]
        for session in dialed:
            session.close_soon()
        await self.messaging.wait_until(lambda: not any(session.open for session in dialed))

    # ------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Carrier:
        self._entered = True
        self._context = self._run()
        await self._context.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._context is not None
        return await self._context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        place = self._config.place
        async with self.messaging:
            if isinstance(place, Listen):
                endpoint = self.messaging.endpoint(self._config.dialect, **place.options)
                self._server = listen(
                    place.host, place.port, tls=place.tls, peers=False, endpoints={"/": endpoint}
                )
                async with self._server:
                    yield
            else:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._dial, place)
                    yield
                    self._dialing.cancel()

    async def _dial(self, place: Dial) -> None:
        with self._dialing:
            try:
                await self.messaging.dial(
                    place.url,
                    self._config.dialect,
                    reconnect=place.reconnect,
                    **place.options,
                )
            except (HandshakeError, WebSocketRefused) as exc:
                self._failure = exc
        self._ended.set()


@runtime_checkable
class _Writes(Protocol):
    @property
    def idle(self) -> bool: ...


def is_idle(session: Session) -> bool:
    """Whether all that was sent to a peer is written to its socket."""
    state: Any = session.state
    link = state.link
    waits = len(state.queue) or len(state.destination.queue) or state.controls or state.acks
    return not waits and (not isinstance(link, _Writes) or link.idle)
