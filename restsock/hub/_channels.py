"""From the channels of a configuration to those of a gateway."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from restsock._options import Heartbeat
from restsock.gateway import (
    GRIP,
    JSONRPC,
    Action,
    Admit,
    Channel,
    Dialect,
    EnvelopeDialect,
    HTTPDialect,
    Middleware,
    Pipe,
    RawDialect,
    Router,
)

from ._access import AccessRules, opened
from ._channel_backends import admit_of, backend_of
from ._channel_steps import steps_of
from ._channel_tables import AdmitTable, ChannelRouteTable, ChannelTable, StepsTable
from ._config import Config
from ._errors import ConfigError

__all__ = ["Channels"]

_DEFAULT = "default"
# Of a route or a step, the keys whose values are names of files.
_FILES = ("schema", "operations", "ca", "certificate", "key", "secret_file")


@dataclass(frozen=True)
class Channels:
    """The channels of a gateway, and what they were made of, by path.

    Those of the next configuration that are made of the same are the same objects, so that their
    connections, circuits, counters and caches go on.

    Attributes:
        made: The channels.
    """

    made: Mapping[str, _Made]

    @classmethod
    def of(
        cls, config: Config, access: AccessRules, *, loopback: bool, before: Channels | None = None
    ) -> Channels:
        """Makes them. Reads files.

        Args:
            config: The configuration.
            access: Its access tables.
            loopback: Whether this machine alone can reach them.
            before: Those that they take the place of.

        Raises:
            ConfigError: Something in it cannot be used, or is not safe.
        """
        made: dict[str, _Made] = {}
        for number, table in enumerate(config.channel):
            key = f"channel[{number}]"
            if table.path in made:
                raise ConfigError(f"{key}.path", f"there is a channel at {table.path} already")
            old = None if before is None else before.made.get(table.path)
            made[table.path] = _make(table, key, config, access, loopback=loopback, old=old)
        return cls(made)

    @property
    def channels(self) -> list[Channel]:
        """The channels themselves."""
        return [made.channel for made in self.made.values()]


@dataclass(frozen=True)
class _Made:
    """A channel with what it was made of."""

    channel: Channel
    fixed: object
    steps: object
    middleware: tuple[Middleware, ...]
    routes: Mapping[str, tuple[object, Pipe]]
    admit_table: AdmitTable | None
    admit: Admit | None


def _make(
    table: ChannelTable,
    key: str,
    config: Config,
    access: AccessRules,
    *,
    loopback: bool,
    old: _Made | None,
) -> _Made:
    auth = access.named(table.access, f"{key}.access")
    if auth is None and not (loopback or table.public):
        raise ConfigError(
            f"{key}.access",
            "everybody could connect from anywhere: name a table, or set public = true",
        )
    if not table.routes:
        raise ConfigError(f"{key}.routes", "it answers nothing: there is no route")
    folder = Path.cwd() if config.path is None else config.path.parent
    same = old.routes if old is not None else {}
    routes: dict[str, tuple[object, Pipe]] = {}
    for name, route in table.routes.items():
        mark = _fingerprint(route)
        if name in same and same[name][0] == mark:
            routes[name] = same[name]
        else:
            routes[name] = mark, _route(route, f"{key}.routes.{name}", folder)
    steps = [_fingerprint(step) for step in table.middleware]
    if old is not None and old.steps == steps:
        middleware = old.middleware
    else:
        middleware = tuple(
            one
            for number, step in enumerate(table.middleware)
            for one in steps_of(step, f"{key}.middleware[{number}]")
        )
    # What may change without another handshake; see `Gateway.swap`.
    limits = msgspec.structs.replace(table.limits, in_flight=1, sessions=1, faults=1, max_age=None)
    live: dict[str, Any] = {
        "in_flight": table.limits.in_flight,
        "max_faults": table.limits.faults,
        "max_sessions": table.limits.sessions,
        "max_age": table.limits.max_age,
        "grace": table.grace,
        "contract": table.contract,
    }
    fixed = (
        msgspec.structs.replace(
            table,
            routes={},
            middleware=(),
            admit=None,
            grace=None,
            contract=False,
            limits=limits,
        ),
        None if table.access is None else config.access[table.access],
        config.hub.trusted_proxies,
        config.hub.client_ip,
        config.hub.name,
    )
    if old is None or old.fixed != fixed:
        with opened(key):
            channel = Channel(
                table.path,
                _dialect(table),
                _router(routes, key),
                auth=auth,
                trusted_proxies=config.hub.proxies,
                **_options(table, config),
            )
    else:
        channel = old.channel
        same_limits = all(getattr(channel, name) == value for name, value in live.items())
        same_hooks = old.admit_table == table.admit
        same_steps = middleware is old.middleware
        if same_limits and same_hooks and same_steps and _same(routes, old.routes):
            return old
    admit = None
    if table.admit is not None:
        if old is not None and old.admit_table == table.admit:
            admit = old.admit
        else:
            admit = admit_of(table.admit, f"{key}.admit", folder)
    grip = next((p.backend for _, p in routes.values() if isinstance(p.backend, GRIP)), None)
    with opened(key):
        channel = dataclasses.replace(
            channel,
            router=_router(routes, key),
            middleware=middleware,
            on_connect=admit or (None if grip is None else grip.connect),
            on_disconnect=None if grip is None else grip.disconnect,
            **live,
        )
    return _Made(channel, fixed, steps, middleware, routes, table.admit, admit)


def _same(
    routes: Mapping[str, tuple[object, Pipe]], others: Mapping[str, tuple[object, Pipe]]
) -> bool:
    return [(name, id(pipe)) for name, (_, pipe) in routes.items()] == [
        (name, id(pipe)) for name, (_, pipe) in others.items()
    ]


def _router(routes: Mapping[str, tuple[object, Pipe]], key: str) -> Router:
    named = {name: pipe for name, (_, pipe) in routes.items() if name != _DEFAULT}
    with opened(f"{key}.routes"):
        return Router(named, default=routes[_DEFAULT][1] if _DEFAULT in routes else None)


def _route(table: ChannelRouteTable, key: str, folder: Path) -> Pipe:
    return Pipe(backend_of(table, key, folder), steps_of(table, key))


def _dialect(table: ChannelTable) -> Dialect:
    if table.dialect == "action":
        return Action(table.field)
    if table.field != "action":
        raise ValueError(f'field is for the dialect "action", and not for {table.dialect!r}')
    kinds: dict[str, type[Dialect]] = {
        "jsonrpc": JSONRPC,
        "http": HTTPDialect,
        "envelope": EnvelopeDialect,
        "raw": RawDialect,
    }
    return kinds[table.dialect]()


def _options(table: ChannelTable, config: Config) -> dict[str, Any]:
    beat = {name: getattr(table.heartbeat, name) for name in table.heartbeat.__struct_fields__}
    return {
        "origins": table.origins,
        "subprotocols": table.subprotocols,
        "browser_token": table.browser_token,
        "headers": list(table.headers.items()),
        "compression": table.compression,
        "name": config.hub.name,
        "max_message": table.limits.message,
        "max_queue": table.limits.queue,
        "idle": table.limits.idle,
        "heartbeat": Heartbeat(**{k: v for k, v in beat.items() if v is not UNSET}),
    }


def _fingerprint(table: StepsTable) -> object:
    """What is the same for tables that say the same, of files that hold the same."""
    return table, tuple(_hashes(table))


def _hashes(table: StepsTable) -> Iterator[bytes]:
    for name in _FILES:
        file = getattr(table, name, None)
        if file is not None and "://" not in file:
            try:
                yield hashlib.sha256(Path(file).read_bytes()).digest()
            except OSError:
                yield b""  # what is made of it says why
