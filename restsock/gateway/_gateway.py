"""`Gateway`: channels, their sessions, and what all of them share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import trio

from restsock._exceptions import ConnectionClosed, PeerNotFound
from restsock.connection import Health, HealthReport
from restsock.threads import LoopPortal

from ._backend import Backend, Part
from ._channel import Channel
from ._endpoint import ChannelEndpoint
from ._groups import Groups
from ._sessions import Sessions
from ._statistics import GatewayStatistics

if TYPE_CHECKING:
    import asyncio

    from restsock.server import PeersLike

    from ._session import Delivery, Session

__all__ = ["Gateway"]

T = TypeVar("T")


class Gateway(Mapping[str, ChannelEndpoint]):
    """Channels for plain WebSockets on the port of a listener, and who is connected to them.

        gateway = Gateway([Channel("/ws", Action(), Router({"pets.*": pets}))])
        async with restsock.listen("0.0.0.0", 8443, endpoints=gateway):
            gateway.groups.send("room-7", {"action": "news"})

    It is a mapping of paths to what serves them, for `endpoints=` of `restsock.listen`,
    `restsock.sync.listen` and `restsock.aio.listen`; `{**gateway, "/x": app}` has others beside.
    It serves one listener at a time, and may serve another one after it.

    Backends and middleware are started once each, before the first channel, in the order in which
    they stand in the channels, and end after all sessions, the last one first.

    When the listener closes, newcomers are answered with 503, and messages that come from then on
    as well. Calls that are under way are answered, within the grace. Then sessions are closed with
    1012, spread over up to 5 seconds where there are many, so that not all come back at once.

    Attributes:
        channels: The channels, by path.
        sessions: Who is connected: to look up, to send to, to close.
        groups: Sets of sessions by name, to send to.

    Args:
        channels: The channels.

    Raises:
        TypeError: One is no channel.
        ValueError: There is none, or two are at one path.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        endpoints: dict[str, ChannelEndpoint] = {}
        self.sessions = Sessions(self)
        self.groups = Groups(self)
        for channel in [channels] if isinstance(channels, Channel) else channels:
            if not isinstance(channel, Channel):
                raise TypeError(f"a channel is an object of Channel, not {type(channel).__name__}")
            if channel.path in endpoints:
                raise ValueError(f"two channels are at {channel.path!r}")
            endpoints[channel.path] = ChannelEndpoint(self, channel)
        if not endpoints:
            raise ValueError("a gateway needs a channel")
        self._endpoints = endpoints
        self.channels: Mapping[str, Channel] = MappingProxyType(
            {path: endpoint.channel for path, endpoint in endpoints.items()}
        )
        self._peers: Any = _NoPeers()
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self._portal: LoopPortal | None = None

    # --- as a mapping -----------------------------------------------------------------------

    def __getitem__(self, path: str) -> ChannelEndpoint:
        return self._endpoints[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)

    # --- what it does -----------------------------------------------------------------------

    def statistics(self) -> GatewayStatistics:
        """What it has counted since it was made."""

        def count() -> GatewayStatistics:
            return GatewayStatistics(
                channels={
                    path: endpoint.counters.statistics()
                    for path, endpoint in self._endpoints.items()
                },
                groups=len(self.groups),
            )

        return self.call_here(count)

    def health(self) -> Health:
        """Whether clients can connect and are answered."""
        report = HealthReport()
        if self._portal is None:
            report.error("the gateway is not served: give it to listen(endpoints=...)")
        for path, endpoint in self._endpoints.items():
            if endpoint.draining:
                report.error(f"{path} is closing")
            elif endpoint.full:
                # No more than a warning: clients must not be able to take it out of service.
                report.warning(f"{path} has as many sessions as it may have")
        return report.health()

    # --- for channels and sessions ----------------------------------------------------------

    def bind(self, server: PeersLike) -> None:
        """Learns whose peers its backends call. `restsock.listen` does that.

        Raises:
            RuntimeError: It serves another listener now.
        """
        if self._portal is not None:
            raise RuntimeError("this gateway serves another listener already")
        self._peers = server

    def on_asyncio(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learns on which loop functions of asyncio run. `restsock.aio.listen` does that."""
        self.asyncio_loop = loop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs backends and middleware, for the first channel that runs and so for all."""
        if self._portal is not None:
            yield
            return
        async with AsyncExitStack() as stack:
            # For whoever calls from another thread; nothing runs in it but that.
            nursery = await stack.enter_async_context(trio.open_nursery())
            parts = _parts_of(self.channels.values())
            for part in parts:
                part.bind(self._peers, self.asyncio_loop)
            for part in parts:
                await stack.enter_async_context(part.running())
            self._portal = LoopPortal(nursery)
            try:
                yield
            finally:
                self._portal.end()
                self._portal = None
                self.asyncio_loop = None

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Calls a quick function on the loop, from any thread."""
        portal = self._portal
        if portal is None:
            return function(*args)
        try:
            return portal.call_anywhere(function, *args)
        except ConnectionClosed:  # it has ended meanwhile, and nothing changes any more
            return function(*args)

    def find_session(self, id: str) -> Session | None:
        """The session with this id, or `None`."""
        return self.sessions.get(id)

    def send_to(
        self, sessions: Iterable[Session], body: Any, except_: Collection[str]
    ) -> dict[str, Delivery]:
        """Sends something to each of them but for these ids; errors as of `Sessions.send_to`."""
        return self.sessions.send_to(sessions, body, except_)

    def __repr__(self) -> str:
        return f"<Gateway of {', '.join(self)}, {len(self.sessions)} sessions>"


class _NoPeers:
    """The peers of a gateway that no listener serves."""

    def route(self, name: str) -> NoReturn:
        """There is none."""
        raise PeerNotFound(f"no listener serves this gateway, so there is no peer {name!r}")


def _parts_of(channels: Iterable[Channel]) -> list[Part]:
    """All that is to be started, each once: what something is made of stands before it."""
    found: dict[int, Part] = {}

    def add(part: Part) -> None:
        if id(part) in found:
            return
        if isinstance(part, Backend):
            for inner in part.parts():
                add(inner)
        found[id(part)] = part

    for channel in channels:
        for middleware in channel.middleware:
            add(middleware)
        assert isinstance(channel.router, Backend)
        add(channel.router)
    return list(found.values())
