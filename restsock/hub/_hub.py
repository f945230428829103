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
from restsock.auth import SCOPES, BearerTokens, Principal, Upgrade
from restsock.endpoint import drain_on_signal
from restsock.gateway import Gateway
from restsock.gateway.management import Management
from restsock.ingress import Ingress, Passed
from restsock.protocol import CloseCode
from restsock.server import (
    Server,
    ServerStatistics,
)

from ._access import opened
from ._changes import Changes, Running, changes_of
from ._config import Config
from ._entrance import Entrance
from ._errors import ConfigError, unquoted
from ._listening import ListenerName, Place, handed_over, http_url
from ._messages import relay, running
from ._notify import beat_forever, notify, reloading
from ._parts import Parts, Places, places_of
from ._records import EventLog, PassedLog, log_passed
from ._servers import servers_of
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
        self.events = EventLog()
        self.reloads = 0
        self._given = sockets
        self._handed_over = False
        self._begun = config
        self._began_at = time.monotonic()
        self._parts: Parts
        self._places: Places
        self._admin_auth: BearerTokens
        self._servers: dict[ListenerName, Server] = {}
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
        return self.events.age_of(connection_id)

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
            given = handed_over(self._given)
            self._handed_over = "peers" in given
            self._places = places_of(self.config, given)
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
                await nursery.start(self.events.follow, self.server)
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

    async def _own_token(self, config: Config) -> BearerTokens:
        folder = state_folder(config.hub.state)
        token = await trio.to_thread.run_sync(partial(admin_token, folder, new=config.hub.dev))
        return BearerTokens({token: Principal(_ADMIN, claims={"scopes": SCOPES})})

    def _make_servers(self) -> None:
        config, parts = self.config, self._parts
        self.ingress = parts.ingress
        self.ingress.on_passed = self._note
        self.gateway = Gateway(parts.channels.channels, may_be_empty=True)
        self._messaging = relay(config.messaging, parts.rights)
        on = config.ingress.enabled
        self._servers = servers_of(
            config,
            parts,
            self._places,
            entrance=Entrance(self.gateway, self.ingress, serves_ingress=on),
            admin=self._admin_endpoints() if "admin" in self._places else {},
            messaging=self._messaging,
            app=Management(self.gateway) if config.hub.management else None,
        )
        self.server = self._servers["peers"]
        loopback = self._at_ingress.loopback
        if config.hub.domain or (config.hub.domain is None and loopback):
            self.server.keep_apart(str.lower)
        self.ingress.bind(self.server, loopback=loopback or not on, url=self._found_at)
        if not on:
            self.server.tell_urls(lambda _: ())
        self.gateway.bind_peers(self.server)

    def _admin_endpoints(self) -> dict[str, Any]:
        management = Management(self.gateway, self.admin_principal, path=_MANAGEMENT)
        return {"/": AdminAPI(self), _MANAGEMENT: management}

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
            await self._parts.follow_tokens(self.config, config)
            if self.closing:
                raise ConfigError("", "the hub is about to end")
            with opened("channel"):
                await self.gateway.swap(new.channels.channels)
            stack.pop_all()  # nothing waits, or fails, from here on
        self._parts.swap_certificates(new, needed)
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


def _set_level(config: Config) -> None:
    set_level(("debug" if config.hub.dev else config.log.level).upper())
