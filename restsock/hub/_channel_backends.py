"""From a route of a channel to its backend."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from restsock import tls
from restsock.auth import Basic
from restsock.gateway import (
    GRIP,
    HTTP,
    Admit,
    App,
    Backend,
    Balance,
    HTTPBackend,
    HTTPMapping,
    JSONIds,
    Peer,
    WebSocket,
)

from ._access import opened
from ._channel_tables import AdmitTable, ChannelRouteTable
from ._errors import ConfigError

__all__ = ["admit_of", "backend_of", "kind_of"]

_IDS: Mapping[str, JSONIds | None] = {
    "json": JSONIds(),
    "jsonrpc": JSONIds(
        key="method", body="params", answer="result", error="error", extra={"jsonrpc": "2.0"}
    ),
    "none": None,
}
_TLS = ("ca", "certificate", "key", "server_hostname")
_HTTP = ("method", "path", "query", "tell", "max_body", "wait", *_TLS)
_BROKER = ("servers", "user", "secret", "secret_file", "tell", *_TLS)
# Of each kind of backend the keys that mean something for it.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "http": _HTTP,
    "peer": _HTTP,
    "app": _HTTP,
    "balance": (*_HTTP, "weights"),
    "operations": (*_HTTP, "to", "prefix", "responses", "weights"),
    "websocket": ("ids", "pool", *_TLS),
    "nats": _BROKER,
    "rabbitmq": _BROKER,
    "redis": _BROKER,
    "grip": (*_HTTP, "secret", "secret_file"),
}


def kind_of(table: ChannelRouteTable, key: str) -> str:
    """The key that says what kind of backend a route has.

    Raises:
        ConfigError: None does, or several do, or there are options of another kind.
    """
    kinds = [kind for kind in _OPTIONS if getattr(table, kind)]
    if len(kinds) != 1:
        some = "none" if not kinds else " and ".join(kinds)
        raise ConfigError(key, f"a route has one of {', '.join(_OPTIONS)}, and here is {some}")
    plain = ChannelRouteTable()
    for name in {name for names in _OPTIONS.values() for name in names}:
        given = getattr(table, name) != getattr(plain, name)
        if given and name not in _OPTIONS[kinds[0]]:
            raise ConfigError(f"{key}.{name}", f"{kinds[0]} has no such option")
    return kinds[0]


def backend_of(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    """The backend of a route.

    Args:
        table: The route.
        key: Where it stands.
        folder: Where modules of apps are looked for, too.

    Raises:
        ConfigError: A value cannot be used.
    """
    kind = kind_of(table, key)
    make: Callable[[ChannelRouteTable, str, Path], Backend] = _MAKERS[kind]
    with opened(f"{key}.{kind}"):
        return make(table, f"{key}.{kind}", folder)


def admit_of(table: AdmitTable, key: str, folder: Path) -> Admit:
    """What is asked before a WebSocket is accepted.

    Args:
        table: It.
        key: Where it stands.
        folder: Where modules of apps are looked for, too.

    Raises:
        ConfigError: A value cannot be used.
    """
    with opened(key):
        to = _target(ChannelRouteTable(), table.to, folder)
        return Admit(to, path=table.path, timeout=table.timeout)


def _mapping(table: ChannelRouteTable) -> HTTPMapping:
    return HTTPMapping(method=table.method, path=table.path, query=table.query, tell=table.tell)


def _http(table: ChannelRouteTable, url: str) -> HTTPBackend:
    return HTTP(url, _mapping(table), tls=_tls(table), max_body=table.max_body)


def _peer(table: ChannelRouteTable, name: str) -> HTTPBackend:
    source: dict[str, Any] = {"name_from": name} if "{" in name else {"name": name}
    return Peer(mapping=_mapping(table), wait=table.wait, max_body=table.max_body, **source)


def _app(table: ChannelRouteTable, name: str, folder: Path) -> HTTPBackend:
    if ":" not in name:
        raise ValueError(f"{name!r} is not MODULE:APP, such as main:app")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        app = pkgutil.resolve_name(name)
    except AttributeError as exc:
        raise ValueError(str(exc)) from None
    return App(app, _mapping(table), max_body=table.max_body)


def _target(table: ChannelRouteTable, text: str, folder: Path) -> HTTPBackend:
    """A backend as `to` and `balance` name it."""
    scheme, _, rest = text.partition(":")
    if scheme == "peer":
        return _peer(table, rest)
    if scheme == "app":
        return _app(table, rest, folder)
    if "://" not in text:
        raise ValueError(f'{text!r} is not "peer:NAME", "app:MODULE:APP" or a URL')
    return _http(table, text)


def _balance(table: ChannelRouteTable, targets: tuple[str, ...], folder: Path) -> Balance:
    weights = table.weights or (1.0,) * len(targets)
    if len(weights) != len(targets):
        raise ValueError(f"there are {len(targets)} of these, and {len(weights)} weights")
    found = [_target(table, text, folder) for text in targets]
    return Balance(list(zip(found, weights, strict=True)))


def _operations(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    from restsock.gateway import Operations  # takes a while to load

    if not table.to:
        raise ConfigError(key, 'to has to say what is called: "peer:edge-1", or a URL')
    assert table.operations is not None
    one = len(table.to) == 1
    to = _target(table, table.to[0], folder) if one else _balance(table, table.to, folder)
    return Operations(Path(table.operations), to, prefix=table.prefix, responses=table.responses)


def _websocket(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    assert table.websocket is not None
    return WebSocket(table.websocket, _IDS[table.ids], pool=table.pool, tls=_tls(table))


def _nats(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    from restsock.gateway import NATS
    from restsock.messaging.nats import NatsOptions

    where = key.rpartition(".")[0]
    options = NatsOptions(
        user=_user(table, where) or "",
        password=table.secret or "",
        password_file=table.secret_file,
        tls=_tls(table),
    )
    with opened(f"{where}.secret_file"):
        options.authentication()  # for its errors: the secret is there
    assert table.nats is not None
    servers = table.servers or ("nats://127.0.0.1:4222",)
    return NATS(table.nats, servers, options=options, tell=table.tell)


def _broker(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    options: Any = {"tls": _tls(table), "tell": table.tell}
    where = key.rpartition(".")[0]
    user = _user(table, where, "default" if table.redis else None)
    if user is not None:
        with opened(f"{where}.secret_file"):
            options["auth"] = Basic(user, table.secret, file=table.secret_file)
    if len(table.servers) > 1:
        raise ConfigError(key, "there is one server")
    if table.servers:
        options["url"] = table.servers[0]
    if table.rabbitmq is not None:
        from restsock.gateway import RabbitMQ  # only this one: each needs an extra of its own

        return RabbitMQ(table.rabbitmq, **options)
    assert table.redis is not None
    from restsock.gateway import RedisStreams

    return RedisStreams(table.redis, **options)


def _user(table: ChannelRouteTable, where: str, default: str | None = None) -> str | None:
    """Who a broker is to know this gateway as; `None` says nothing of that."""
    secrets = [name for name in ("secret", "secret_file") if getattr(table, name) is not None]
    if len(secrets) > 1:
        raise ConfigError(f"{where}.secret", "give secret, or secret_file, and not both")
    user = table.user or (default if secrets else None)
    if user is None and secrets:
        raise ConfigError(f"{where}.{secrets[0]}", "user is missing: whose secret this is")
    if user is not None and not secrets:
        raise ConfigError(f"{where}.user", "its password is missing: secret, or secret_file")
    return user


def _grip(table: ChannelRouteTable, key: str, folder: Path) -> Backend:
    secret, where = table.secret, key.rpartition(".")[0]
    if table.secret_file is not None:
        if secret is not None:
            raise ConfigError(f"{where}.secret", "give secret, or secret_file, and not both")
        with opened(f"{where}.secret_file"):
            secret = Path(table.secret_file).read_text("utf-8").rstrip("\r\n")
    assert table.grip is not None
    return GRIP(_target(table, table.grip, folder), key=secret)


def _tls(table: ChannelRouteTable) -> tls.ClientTLS | None:
    given: Any = {name: getattr(table, name) for name in _TLS}
    return tls.ClientTLS(**given) if any(given.values()) else None


_MAKERS: Mapping[str, Callable[[ChannelRouteTable, str, Path], Backend]] = {
    "http": lambda table, key, folder: _http(table, table.http or ""),
    "peer": lambda table, key, folder: _peer(table, table.peer or ""),
    "app": lambda table, key, folder: _app(table, table.app or "", folder),
    "balance": lambda table, key, folder: _balance(table, table.balance, folder),
    "operations": _operations,
    "websocket": _websocket,
    "nats": _nats,
    "rabbitmq": _broker,
    "redis": _broker,
    "grip": _grip,
}
