"""`Gateway`: channels, their sessions, and what all of them share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypeVar

import trio

from restsock._exceptions import ConnectionClosed, PeerNotFound
from restsock.connection import Health, HealthReport, answer, ignore
from restsock.protocol import CloseCode
from restsock.threads import LoopPortal

from ._channel import Channel
from ._contract import CONTRACT_PATH
from ._endpoint import ChannelEndpoint
from ._groups import Groups
from ._running import Pipeline, Running, RunningParts
from ._sessions import Sessions
from ._statistics import GatewayStatistics

if TYPE_CHECKING:
    import asyncio

    from restsock.connection import Connection, Exchange
    from restsock.server import PeersLike

    from ._session import Delivery, Session

__all__ = ["ChannelChange", "Gateway"]

T = TypeVar("T")

ChannelChange: TypeAlias = Literal["kept", "moved", "replaced", "removed", "added"]
"""What `Gateway.swap` did with a path."""


class Gateway(Mapping[str, ChannelEndpoint]):
    """Channels for plain WebSockets on the port of a listener, and who is connected to them.

        gateway = Gateway([Channel("/ws", Action(), Router({"pets.*": pets}))])
        async with restsock.listen("0.0.0.0", 8443, endpoints=gateway):
            gateway.groups.send("room-7", {"action": "news"})

    It is a mapping of paths to endpoints, for `endpoints=` of `restsock.listen`,
    `restsock.sync.listen` and `restsock.aio.listen`; `{**gateway, "/x": app}` adds others. It
    serves one listener at a time, and may serve another one after it. `swap` replaces the channels
    while they serve.

    Backends and middleware are started once each, before the first channel, in the order of the
    channels. They end after all sessions, in reverse order.

    When the listener closes, new clients get a 503, and so do messages that arrive from then on.
    Calls in flight are answered, within the grace. Then sessions are closed with 1012; if there are
    many, over up to 5 seconds, so that clients do not all reconnect at once.

    It may also be served to a peer (`connect(app=gateway)`), or be put before other handlers
    (`handler_at`).

    Attributes:
        sessions: The connected clients: to look up, to send to, to close.
        groups: Sets of sessions by name, to send to.

    Args:
        channels: The channels.
        may_be_empty: Whether there may be no channels yet, if `swap` adds them later.

    Raises:
        TypeError: One is no channel.
        ValueError: There is none, or two are at one path.
    """

    def __init__(self, channels: Iterable[Channel], *, may_be_empty: bool = False) -> None:
        self._may_be_empty = may_be_empty
        self.sessions = Sessions(self)
        self.groups = Groups(self)
        self._endpoints = {
            path: ChannelEndpoint(self, channel)
            for path, channel in self._by_path(channels).items()
        }
        self._peers: Any = _NoPeers()
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self._portal: LoopPortal | None = None
        self._nursery: trio.Nursery | None = None
        self._parts: RunningParts | None = None
        # Of a gateway that is served as a whole: its endpoints, also those that come to their end.
        self._serving: dict[ChannelEndpoint, Running] | None = None
        self._leaving: list[Collection[Channel]] = []  # whose calls are not over
        self._swapping = trio.Lock()
        self._closing = False

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The channels, by path."""
        return {path: endpoint.channel for path, endpoint in self._endpoints.items()}

    # --- as a mapping -----------------------------------------------------------------------

    def __getitem__(self, path: str) -> ChannelEndpoint:
        return self._endpoints[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._endpoints)

    def __len__(self) -> int:
        return len(self._endpoints)

    # --- what it does -----------------------------------------------------------------------

    def statistics(self) -> GatewayStatistics:
        """The counters since the gateway was made."""

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

    async def swap(
        self, channels: Iterable[Channel], *, grace: float = 30.0
    ) -> dict[str, ChannelChange]:
        """Replaces the channels while they serve. For trio, on the loop.

        New backends and middleware are started first. If that fails, nothing changes. Those that
        are in both the old and the new channels go on. It returns for each path:

        - `"kept"`: the channel has the same router and middleware. Its sessions stay.
        - `"moved"`: it has another router or other middleware; nothing that is fixed when a client
          connects has changed. Its sessions stay. The old ones answer calls in flight, the new ones
          answer further messages.
        - `"replaced"`: something else has changed. Calls in flight are answered, then its sessions
          are closed with 1012; clients that connect again get the new channel.
        - `"removed"`: the channel is gone; its sessions end in the same way.
        - `"added"`: the channel is new.

        For a channel that is kept or moved, `in_flight`, `max_faults`, `max_sessions`, `grace`,
        `on_connect` and `on_disconnect` apply at once, and `max_age` to new sessions.

        Args:
            channels: All channels from now on.
            grace: Seconds that calls in flight have to be answered.

        Returns:
            What happened to each path.

        Raises:
            TypeError: One is no channel. ValueError: There is none, or two have one path; or paths
            are added, removed or replaced, but the listener has a copy of the mapping:
            `{**gateway}`. RuntimeError: It is closing.
        """
        wanted = self._by_path(channels)
        async with self._swapping:
            changes = {path: self._change_of(path, channel) for path, channel in wanted.items()}
            changes.update(dict.fromkeys(self._endpoints.keys() - wanted.keys(), "removed"))
            steady = set(changes.values()) <= {"kept", "moved"}
            if self._nursery is not None and self._serving is None and not steady:
                raise ValueError("paths can change where the listener has endpoints=gateway alone")
            fresh = {
                path: self._endpoint_for(channel)
                for path, channel in wanted.items()
                if changes[path] in ("added", "replaced")
            }
            if self._parts is not None:
                await self._parts.start(wanted.values())
            for endpoint in fresh.values():
                await self._serve(endpoint)
            if self._closing:
                for endpoint in fresh.values():
                    await self._end(endpoint)
                raise RuntimeError("this gateway is closing")
            self._exchange(wanted, fresh, grace)  # nothing waits, or fails, from here on
        return changes

    def swap_blocking(
        self, channels: Iterable[Channel], *, grace: float = 30.0
    ) -> dict[str, ChannelChange]:
        """`swap` for a thread that may block, while the gateway is served. Raises the same errors.

        With asyncio: `await asyncio.to_thread(gateway.swap_blocking, channels)`.

        Raises:
            RuntimeError: No listener serves it, or this is the thread of its loop.
        """
        if self._portal is None:
            raise RuntimeError("no listener serves this gateway")
        return self._portal.run(partial(self.swap, channels, grace=grace))

    def _by_path(self, channels: Iterable[Channel]) -> dict[str, Channel]:
        found: dict[str, Channel] = {}
        for channel in [channels] if isinstance(channels, Channel) else channels:
            if not isinstance(channel, Channel):
                raise TypeError(f"a channel is an object of Channel, not {type(channel).__name__}")
            if channel.path in found:
                raise ValueError(f"two channels are at {channel.path!r}")
            found[channel.path] = channel
        if not found and not self._may_be_empty:
            raise ValueError("a gateway needs a channel")
        return found

    def _change_of(self, path: str, channel: Channel) -> ChannelChange:
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            return "added"
        old = endpoint.channel
        if not channel.keeps_sessions_of(old):
            return "replaced"
        same = channel.router is old.router and channel.middleware == old.middleware
        return "kept" if same else "moved"

    def _endpoint_for(self, channel: Channel) -> ChannelEndpoint:
        before = self._endpoints.get(channel.path)
        endpoint = ChannelEndpoint(self, channel, None if before is None else before.counters)
        endpoint.use_loop(self.asyncio_loop)
        return endpoint

    def _exchange(
        self, wanted: Mapping[str, Channel], fresh: Mapping[str, ChannelEndpoint], grace: float
    ) -> None:
        before, old = [*self.channels.values()], self._endpoints
        self._endpoints = {path: fresh.get(path) or old[path] for path in wanted}
        pipelines = [
            pipeline
            for path, channel in wanted.items()
            if path not in fresh and (pipeline := old[path].use(channel)) is not None
        ]
        gone = [
            endpoint for path, endpoint in old.items() if self._endpoints.get(path) is not endpoint
        ]
        if self._nursery is not None:
            self._leaving.append(before)
            self._nursery.start_soon(self._retire, before, gone, pipelines, grace)

    async def _retire(
        self,
        channels: Collection[Channel],
        endpoints: Collection[ChannelEndpoint],
        pipelines: Collection[Pipeline],
        grace: float,
    ) -> None:
        """Ends what was there before, once its calls are answered."""
        for endpoint in endpoints:
            there = endpoint.channel.path in self._endpoints
            reason = "this channel has changed: connect again" if there else "this channel is gone"
            endpoint.drain_soon(grace, CloseCode.SERVICE_RESTART, reason)
        with trio.move_on_after(grace):
            for pipeline in pipelines:
                await pipeline.wait_idle()
        for endpoint in endpoints:
            await endpoint.wait_drained()
            await self._end(endpoint)
        self._leaving = [each for each in self._leaving if each is not channels]
        if self._parts is not None:
            used = [*self.channels.values(), *chain.from_iterable(self._leaving)]
            await self._parts.keep(used)

    # --- as a handler -----------------------------------------------------------------------

    def handler_at(self, path: str) -> ChannelEndpoint | None:
        """What serves the requests for a path; `None` if no channel is there."""
        found = self._endpoints.get(path)
        if found is None and path.endswith(CONTRACT_PATH):
            found = self._endpoints.get(path.removesuffix(CONTRACT_PATH))
            return found if found is not None and found.channel.contract else None
        return found

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `restsock.connection.Handler`."""
        path = exchange.request.target.partition(b"?")[0].decode("latin-1")
        endpoint = self.handler_at(path)
        if endpoint is not None:
            endpoint.handle(exchange)
        else:
            exchange.observer = ignore
            answer(exchange, 404, "There is nothing here.\n")

    def on_asyncio(self, face: Callable[[Connection], Any]) -> Gateway:
        """The same, with functions on the loop of asyncio that runs here; see `Endpoint`."""
        for endpoint in self._endpoints.values():
            endpoint.on_asyncio(face)
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets requests be served; see `restsock.connection.Handler`.

        Raises:
            RuntimeError: It is running already.
        """
        if self._serving is not None:
            raise RuntimeError("this gateway is running already")
        async with self.running_parts():
            self._serving, self._closing = {}, False
            try:
                for endpoint in self._endpoints.values():
                    await self._serve(endpoint)
                yield
                for endpoint in [*self._serving]:
                    await self._end(endpoint)
            finally:
                self._serving = None

    async def _serve(self, endpoint: ChannelEndpoint) -> None:
        if self._serving is not None and self._nursery is not None:
            self._serving[endpoint] = running = Running(endpoint)
            await self._nursery.start(running.run)

    async def _end(self, endpoint: ChannelEndpoint) -> None:
        running = None if self._serving is None else self._serving.pop(endpoint, None)
        if running is not None:
            await running.stop()

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """See `restsock.connection.Drains`: of all channels."""
        self._closing = True
        for endpoint in self._serving or ():
            endpoint.drain_soon(grace, code, reason)

    async def wait_drained(self) -> None:
        """See `restsock.connection.Drains`. Raises nothing; can be cancelled."""
        for endpoint in [*(self._serving or ())]:
            await endpoint.wait_drained()

    # --- for channels and sessions ----------------------------------------------------------

    def bind_peers(self, server: PeersLike) -> None:
        """Learns whose peers its backends call. `restsock.listen` does that.

        Raises:
            RuntimeError: It serves another listener now.
        """
        if self._portal is not None:
            raise RuntimeError("this gateway serves another listener already")
        self._peers = server

    def use_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Learns on which loop functions of asyncio run. `restsock.aio.listen` does that."""
        self.asyncio_loop = loop

    @asynccontextmanager
    async def running_parts(self) -> AsyncIterator[None]:
        """Runs backends and middleware, for the first channel that runs and so for all."""
        if self._portal is not None:
            yield
            return
        # For parts, and for whoever calls from another thread.
        async with trio.open_nursery() as nursery:
            self._nursery, self._portal = nursery, LoopPortal(nursery)
            self._parts = RunningParts(nursery, self._peers, self.asyncio_loop)
            try:
                await self._parts.start(self.channels.values())
                yield
                await self._parts.keep(())
            finally:
                self._portal.end()
                self._portal = self._nursery = self._parts = self.asyncio_loop = None
                self._leaving.clear()
                nursery.cancel_scope.cancel()

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
