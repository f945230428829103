"""What a running hub makes of another configuration: what moves, and what takes a restart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ._config import Config
from ._listening import ListenerName, Place
from ._parts import Places, places_of, tls_tables

__all__ = ["Changes", "Running", "changes_of"]

# Keys of which a running hub keeps the value that it has begun with.
_FIXED = (
    *("hub.name", "hub.state", "hub.trusted_proxies", "hub.client_ip"),
    *("hub.dev", "hub.management"),
    *("peers.names", "peers.origins", "peers.access", "peers.swaggersocket"),
    *("peers.enabled", "ingress.enabled", "admin.enabled"),
    *("messaging.enabled", "messaging.history"),
)
# Keys whose values may change, but neither appear nor disappear.
_THERE_OR_NOT = (
    *("hub.domain", "peers.tokens", "admin.tokens"),
    *("tls", "ingress.tls", "admin.tls"),
)
# Of `[sockets]`, those of sockets that listen.
_LISTENING = (
    *("send_buffer", "receive_buffer", "backlog", "reuse_address", "reuse_port"),
    "unix_mode",
)


@dataclass(frozen=True)
class Running:
    """What a hub has at present.

    Attributes:
        places: where it listens.
        secure: the listeners that speak TLS.
        ports: that it listens on.
    """

    places: Places
    secure: Collection[ListenerName]
    ports: Collection[int]


@dataclass(frozen=True)
class Changes:
    """What becomes of another configuration.

    Attributes:
        moves: the listeners that go to another address, which is bound before the old one goes.
        restart_needed: the keys whose new values do not come into use.
    """

    moves: Mapping[ListenerName, Place]
    restart_needed: list[str]


def changes_of(begun: Config, config: Config, running: Running) -> Changes:
    """Compares a configuration with the one that a hub has begun with, and with what it has now.

    Raises:
        ConfigError: an address is none.
    """
    wanted, before = places_of(config, {}), places_of(begun, {})
    secure = {name for name, (table, _) in tls_tables(config, wanted).items() if table is not None}
    moves: dict[ListenerName, Place] = {}
    needed = [*_fixed(begun, config)]
    for name, place in running.places.items():
        new = wanted.get(name)
        if place.sockets:
            # Whoever has bound them can move them.
            if new != before.get(name):
                needed.append(f"{name}.listen")
        elif new is not None and new.address == place.address:
            continue
        elif (
            new is None
            or new.loopback != place.loopback  # which its rules depend on
            or (name in secure) != (name in running.secure)
            or new.port in running.ports  # where it would be in its own way
        ):
            needed.append(f"{name}.listen")
        else:
            moves[name] = new
    needed += [f"{name}.listen" for name in wanted if name not in running.places]
    return Changes(moves, needed)


def _fixed(begun: Config, config: Config) -> Iterator[str]:
    for key in _FIXED:
        if _value(begun, key) != _value(config, key):
            yield key
    for key in _THERE_OR_NOT:
        if (_value(begun, key) is None) != (_value(config, key) is None):
            yield key
    named = config.peers.access
    if named is not None and begun.access.get(named) != config.access.get(named):
        yield f"access.{named}"
    for key in _LISTENING:
        if getattr(begun.options.sockets, key) != getattr(config.options.sockets, key):
            yield f"sockets.{key}"


def _value(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value
