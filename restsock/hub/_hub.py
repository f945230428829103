"""`Hub`: the listeners of peers, of the ingress and of the admin API, as one."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import trio

from restsock._logging import set_level
from restsock._version import __version__
from restsock.auth import SCOPES, BearerTokens, CredentialStore, Principal, Upgrade
from restsock.endpoint import drain_on_signal
from restsock.gateway import Gateway
from restsock.gateway.management import Management
from restsock.ingress import Ingress, Passed
from restsock.protocol import CloseCode
from restsock.server import (
    ConnectionEvent,
    Server,
    ServerStatistics,
    listen,
    systemd_sockets,
)

from ._access import opened
from ._changes import Changes, Running, changes_of
from ._config import Config
from ._entrance import Entrance
from ._errors import ConfigError, unquoted
from ._listening import Place, http_url
from ._messages import relay, running
from ._notify import beat_forever, notify, reloading
from ._parts import ListenerName, Parts, Places, endpoints_of, places_of
from ._records import PassedLog, Ring, log_passed
from ._state import admin_token, state_folder
from .admin import AdminAPI

__all__ = ["Hub"]

_log = logging.getLogger("restsock.hub")

_ADMIN = "admin"
_MANAGEMENT = "/gateway/v1"  # where the management API of the channels is
# Seconds for what is in flight at the admin API when all else is closed: event streams have ended.
_ADMIN_GRACE = 2.0


class Hub:
    """Accepts peers, passes plain HTTP requests on to them, and serves an admin API. For trio.

        async with restsock.hub.Hub(restsock.hub.load("hub.toml")) as hub:
            await hub.run_until_signal()

    Entering binds all listeners. Leaving closes them after the requests in flight (`hub.grace`):
    clients of the ingress first, then the peers, then the admin API.

    Args:
        config: made by `load`.
        sockets: sockets that listen already, by their listener: `"peers"`, `"ingress"`, `"admin"`.
            `None` uses those of systemd with these names; a socket with another name is for the
            peers. They replace the addresses in the configuration.

    Attributes:
        config: the present configuration.
        server: the listener of the peers, and of the ingress unless that has its own.
        ingress: passes plain HTTP on to peers.
        gateway: answers the clients of channels; empty if the configuration has none.
        passed: the last requests through the ingress, with counters.
        events: the last events of the connections of peers.
        reloads: how often the configuration was changed.
        closing: whether it accepts no new connections.

    Raises:
        ConfigError: on entering: the configuration cannot be used, or is not safe.
        OSError: on entering: an address cannot be bound, or a file cannot be read.
    """

    server: Server
    ingress: Ingress
    gateway: Gateway

    def __init__(
        self,
        config: Config,
        *,
        sockets: Mapping[ListenerName, Collection[socket.socket]] | None = None,
    ) -> None:
        self.config = config
        self.passed = PassedLog()
        self.events: Ring[ConnectionEvent] = Ring()
        self.reloads = 0
        self._given = sockets
        self._handed_over = False
        self._begun = config
        self._began_at = time.monotonic()
        self._parts: Parts
        self._places: Places
        self._admin_auth: BearerTokens
        self._servers: dict[ListenerName, Server] = {}
        self._since: dict[str, float] = {}  # when connections began, by their ids
        self._reloading = trio.Lock()
        self.closing = False
        self._manager: AbstractAsyncContextManager[None] | None = None

    # --- what it is -----------------------------------------------------------------------

    @property
    def peers_url(self) -> str:
        """The URL that a client on the same network dials."""
        return self.server.url

    @property
    def ingress_url(self) -> str:
        """The URL of the ingress, for browsers and other HTTP clients."""
        return self._url_of("ingress" if "ingress" in self._servers else "peers")

    @property
    def admin_url(self) -> str:
        """The URL of the admin API; `unix:` and a path for a Unix socket; empty if it is off."""
        return self._url_of("admin") if "admin" in self._places else ""

    def url_for(self, name: str) -> str | None:
        """The best of the URLs of a peer at the ingress; `None` if no URL can name it.

        Then the header field Restsock-Peer does. See `Ingress.urls_of`.
        """
        if not self.config.ingress.enabled:
            return None
        return next(iter(self.ingress.urls_of(name)), None)

    @property
    def admin_host(self) -> str | None:
        """The host that the admin API listens on, as the configuration has it; `None` is all."""
        return self._places["admin"].host

    @property
    def uptime(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._began_at

    def age_of(self, connection_id: str) -> float | None:
        """Seconds since a peer's connection began; `None` if that is not known."""
        began = self._since.get(connection_id)
        return None if began is None else trio.current_time() - began

    @property
    def loopback(self) -> bool:
        """Whether this machine alone can reach the ingress."""
        return self._at_ingress.loopback

    def restart_needed(self, config: Config) -> list[str]:
        """The keys of a configuration that a reload would not bring into use.

        Raises:
            ConfigError: an address in it is none.
        """
        return self._changes(config).restart_needed

    def _changes(self, config: Config) -> Changes:
        secure = [name for name, tls in self._parts.tls.items() if tls is not None]
        ports = {server.address[1] for server in self._servers.values()} - {0}
        return changes_of(self._begun, config, Running(self._places, secure, ports))

    def statistics(self) -> ServerStatistics:
        """Those of the server of the peers; clients of plain HTTP are those of the ingress."""
        found = self.server.statistics()
        if "ingress" not in self._servers:
            return found
        ingress = self._servers["ingress"].statistics()
        return replace(
            found,
            http_clients=ingress.http_clients,
            http_clients_total=ingress.http_clients_total,
            http_traffic=ingress.http_traffic,
        )

    def status(self) -> dict[str, Any]:
        """Version, addresses, health and statistics, ready for JSON."""
        health = self.server.health()
        return {
            "name": self.config.hub.name,
            "version": __version__,
            "uptime": round(self.uptime, 3),
            "healthy": health.ok,
            "reasons": list(health.reasons),
            "draining": self.closing,
            "peers_url": self.peers_url,
            "ingress_url": self.ingress_url,
            "admin_url": self.admin_url,
            "config": None if self.config.path is None else str(self.config.path),
            "reloads": self.reloads,
            "statistics": asdict(self.statistics()),
            "ingress": asdict(self.passed.total),
        }

    def admin_principal(self, upgrade: Upgrade) -> Principal | None:
        """Who has sent a request to the admin API, by its token.

        Raises:
            restsock.auth.Refused: it is not known.
        """
        return self._admin_auth(upgrade)

    def _found_at(self) -> str:
        """Where the ingress is found; peers may come a moment before it listens."""
        name: ListenerName = "ingress" if "ingress" in self._servers else "peers"
        try:
            return self._url_of(name)
        except RuntimeError:
            return http_url(self._places[name].expected, tls=self._parts.tls[name] is not None)

    @property
    def _at_ingress(self) -> Place:
        return self._places.get("ingress", self._places["peers"])

    def _url_of(self, name: ListenerName) -> str:
        return http_url(self._servers[name].address, tls=self._parts.tls[name] is not None)

    # --- life -----------------------------------------------------------------------------

    async def __aenter__(self) -> Hub:
        self._manager = self._run()
        await self._manager.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> bool | None:
        assert self._manager is not None
        return await self._manager.__aexit__(*exc)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        with unquoted(self.config.variables):
            self._places = places_of(self.config, self._inherited())
            self._parts = await trio.to_thread.run_sync(Parts.of, self.config, self._places)
        if "admin" in self._places:
            self._admin_auth = self._parts.admin or await self._own_token(self.config)
        _set_level(self.config)
        self._make_servers()
        error: BaseException | None = None
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(running(self._messaging))
                for server in self._servers.values():
                    await stack.enter_async_context(server)
                await nursery.start(self._follow_peers)
                nursery.start_soon(beat_forever)
                ingress = self.config.ingress.enabled and self.ingress_url
                _log.info("ingress at %s, admin API at %s", ingress or "-", self.admin_url or "-")
                yield
            # Kept from the nursery, which would wrap it in a group: it is to arrive as it is.
            except (Exception, KeyboardInterrupt, SystemExit) as exc:  # noqa: BLE001  # raised below
                error = exc
            await self.aclose(grace=None if error is None else 0)
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    def _inherited(self) -> dict[ListenerName, Place]:
        """Where sockets were handed over."""
        given: Mapping[ListenerName, Collection[socket.socket]]
        if self._given is not None:
            given = self._given
        else:
            names: tuple[ListenerName, ...] = ("ingress", "admin", "peers")
            found = {name: systemd_sockets(name) for name in names}
            given = {**found, "peers": [*found["peers"], *systemd_sockets()]}
        places = {name: Place.on(sockets) for name, sockets in given.items() if sockets}
        self._handed_over = "peers" in places
        return places

    async def _own_token(self, config: Config) -> BearerTokens:
        folder = state_folder(config.hub.state)
        token = await trio.to_thread.run_sync(partial(admin_token, folder, new=config.hub.dev))
        return BearerTokens({token: Principal(_ADMIN, claims={"scopes": SCOPES})})

    def _make_servers(self) -> None:
        config, parts, places = self.config, self._parts, self._places
        self.ingress = parts.ingress
        self.ingress.on_passed = self._note
        self.gateway = Gateway(parts.channels.channels, may_be_empty=True)
        entrance = Entrance(self.gateway, self.ingress, serves_ingress=config.ingress.enabled)
        self._messaging = relay(config.messaging, parts.rights)
        shared: Any = {"trusted_proxies": config.hub.proxies, "options": config.options}
        separate = "ingress" in places
        at_ingress = self._at_ingress
        self.server = listen(
            **places["peers"].arguments(),
            **shared,
            tls=parts.tls["peers"],
            auth=parts.peers,
            origins=config.peers.origins,
            name=config.hub.name,
            names=config.peers.names,
            messaging=self._messaging,
            # The hub binds the ingress itself, to these peers, wherever it listens.
            endpoints=endpoints_of(config, None if separate else entrance),
            peers=config.peers.enabled,
            app=Management(self.gateway) if config.hub.management else None,
        )
        if config.hub.domain or (config.hub.domain is None and at_ingress.loopback):
            self.server.keep_apart(str.lower)
        on = config.ingress.enabled
        self.ingress.bind(self.server, loopback=at_ingress.loopback or not on, url=self._found_at)
        if not on:
            self.server.tell_urls(lambda _: ())
        self.gateway.bind_peers(self.server)
        self._servers["peers"] = self.server
        if separate:
            self._servers["ingress"] = listen(
                **at_ingress.arguments(),
                **shared,
                tls=parts.tls["ingress"],
                endpoints={"/": entrance},
                peers=False,
            )
        if "admin" in places:
            self._servers["admin"] = listen(
                **places["admin"].arguments(),
                tls=parts.tls["admin"],
                endpoints={
                    "/": AdminAPI(self),
                    _MANAGEMENT: Management(self.gateway, self.admin_principal, path=_MANAGEMENT),
                },
                peers=False,
            )

    async def _follow_peers(self, task_status: trio.TaskStatus[None]) -> None:
        async with self.server.events() as events:
            task_status.started()
            async for event in events:
                # Metadata may be large, and connections have it.
                self.events.add(replace(event, metadata=None))
                if event.type == "ConnectionReceived":
                    self._since[event.connection_id] = trio.current_time()
                elif event.type == "EventsLost":
                    alive = self.server.connections
                    self._since = {id: t for id, t in self._since.items() if alive.by_id(id)}
                else:
                    self._since.pop(event.connection_id, None)

    def _note(self, passed: Passed) -> None:
        self.passed.note(passed, known=self.server.connections.was_seen(passed.name))
        if self.config.log.access:
            log_passed(passed)

    async def aclose(self, *, grace: float | None = None) -> None:
        """Closes all listeners, after the requests in flight.

        Peers are closed with 1012 if the sockets were handed over, since the next process takes
        them soon, and otherwise with 1001; clients dial again after both. A second call waits for
        the first; one with a shorter grace shortens it. If cancelled, everything is dropped at
        once. It raises no error of its own.

        Args:
            grace: seconds; `None` is `hub.grace`.
        """
        if not self.closing:
            self.closing = True
            notify("STOPPING=1")
        for ring in (self.passed, self.events):
            ring.end()
        seconds = self.config.options.timeouts.grace if grace is None else grace
        deadline = trio.current_time() + seconds
        code = CloseCode.SERVICE_RESTART if self._handed_over else CloseCode.GOING_AWAY
        try:
            if "ingress" in self._servers:
                await self._servers["ingress"].aclose(grace=seconds)
            if "peers" in self._servers:
                left = max(0.0, deadline - trio.current_time())
                await self.server.aclose(code, grace=left)
        finally:
            if "admin" in self._servers:
                await self._servers["admin"].aclose(grace=min(seconds, _ADMIN_GRACE))

    async def wait_closed(self) -> None:
        """Waits until no connection is left: no error is raised."""
        for server in self._servers.values():
            await server.wait_closed()

    async def run_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT; a second one ends it at once. SIGHUP reloads.

        Requests in flight may go on for `hub.grace` after the first signal. systemd is told that
        the service is ready (`Type=notify-reload`).

        Raises:
            RuntimeError: This is not the main thread, which alone gets signals.
        """
        async with drain_on_signal(self):
            await self.reload_on_signal()

    async def reload_on_signal(self) -> None:
        """Reloads at each SIGHUP, until it is cancelled.

        systemd is told that the service is ready. A wrong file is an error in the log.

        Raises:
            RuntimeError: This is not the main thread, which alone gets signals.
        """
        if not hasattr(signal, "SIGHUP"):
            await trio.sleep_forever()
        with trio.open_signal_receiver(signal.SIGHUP) as caught:
            notify("READY=1", f"STATUS=peers at {self.peers_url}")
            async for _ in caught:
                try:
                    await self.reload()
                except (ConfigError, OSError):
                    pass  # the log has it
                except Exception:  # noqa: BLE001  # a bug in it is no reason to drop everybody
                    _log.exception("the reload has failed in an unforeseen way")

    # --- another configuration ------------------------------------------------------------

    async def reload(self, config: Config | None = None) -> list[str]:
        """Applies another configuration, after checking all of it.

        Rules of the ingress, routes, access, tokens, certificates, limits, timeouts, heartbeat,
        addresses and log apply from now on. Connections stay and keep their limits, and requests in
        flight go on. A listener that moves binds its new address before it gives up the old one.

        Args:
            config: the new one; `None` reads the present file again, if there is one.

        Returns:
            The keys whose new values need a restart; until then, the old values apply.

        Raises:
            ConfigError: it cannot be used, or the hub is closing; nothing was changed. OSError: a
            file cannot be read, or an address cannot be bound; likewise.
        """
        async with self._reloading:
            reloading()
            try:
                return await self._reload(config)
            except (ConfigError, OSError) as exc:
                _log.error("the configuration stays as it is: %s", exc)
                raise
            finally:
                notify("READY=1")

    async def _reload(self, config: Config | None) -> list[str]:
        if config is None:
            config = await trio.to_thread.run_sync(self.config.read_again)
        with unquoted(config.variables):
            changes = self._changes(config)
            places = {**self._places, **changes.moves}
            new = await trio.to_thread.run_sync(Parts.of, config, places, self._parts)
        needed = changes.restart_needed
        async with AsyncExitStack() as stack:
            bound = {}
            for name, place in changes.moves.items():
                bound[name] = await self._servers[name].bind(*place.address)
                stack.push_async_callback(bound[name].aclose)
            await self._swap_tokens(config)
            if self.closing:
                raise ConfigError("", "the hub is about to end")
            with opened("channel"):
                await self.gateway.swap(new.channels.channels)
            stack.pop_all()  # nothing waits, or fails, from here on
        for name, old in self._parts.tls.items():
            fresh = new.tls[name]
            # One that is to leave [tls] has to wait: it is that of other listeners, too.
            if old is not None and fresh is not None and f"{name}.tls" not in needed:
                old.swap(fresh)
        self.ingress.swap(new.ingress)
        for name, server in self._servers.items():
            if name != "admin":
                server.use(config.options)
            if name in bound:
                server.listen_at(bound[name])
        self._parts = self._parts.with_rules_of(new)
        self.config, self._places = config, places
        self.reloads += 1
        _set_level(config)
        hint = f"; these need a restart: {', '.join(needed)}" if needed else ""
        _log.info("a new configuration is in use%s", hint)
        return needed

    async def _swap_tokens(self, config: Config) -> None:
        """Has peers and callers of the admin API be those of other files, where these are named."""
        for key, store, old, file in (
            ("peers.tokens", self._parts.peers, self.config.peers.tokens, config.peers.tokens),
            ("admin.tokens", self._parts.admin, self.config.admin.tokens, config.admin.tokens),
        ):
            if isinstance(store, CredentialStore) and old and file and old != file:
                with opened(key):  # it may be another one than a moment ago
                    await trio.to_thread.run_sync(store.follow, file)


def _set_level(config: Config) -> None:
    set_level(("debug" if config.hub.dev else config.log.level).upper())
