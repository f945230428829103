"""`load_input` and `load_output`: what a file says, and all that can be made of it beforehand.

A configuration is right if this can be made of it, so nothing is bound or dialed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET

from restsock._addresses import is_loopback
from restsock._go_duration import go_duration
from restsock._strict_json import NotJSON, read_json
from restsock.client import parse_url
from restsock.hub import ConfigError, parse_toml, read_tables
from restsock.messaging import (
    MessagingOptions,
    QueuePolicy,
    Semstreams,
    authenticator_from,
    credentials_from,
)
from restsock.tls import ClientTLS, ServerTLS
from restsock.websockets import ConnectOptions, Endpoint, EndpointOptions, Reconnect

from ._keys import at_key
from ._nats import NatsConfig, nats_config
from ._ports import Sink, Source, sinks_of, sources_of
from ._tables import ClientTable, InputTables, OutputTables, ServerTable

__all__ = ["Dial", "InputConfig", "Listen", "OutputConfig", "load_input", "load_output"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where a connector listens.

    Attributes:
        host: the host; `None` is all addresses.
        port: the port; 0 is one that the system chooses.
        tls: for `wss://`.
        options: of its endpoint.
    """

    host: str | None
    port: int
    tls: ServerTLS | None
    options: EndpointOptions

    @property
    def open_to_all(self) -> bool:
        """Whether all who reach the port may connect, and others than this machine may reach it."""
        certified = self.tls is not None and self.tls.requires_certificate
        return not (is_loopback(self.host) or certified or self.options.get("auth"))


@dataclass(frozen=True, kw_only=True)
class Dial:
    """Whom a connector dials.

    Attributes:
        url: `ws://` or `wss://`.
        reconnect: when to dial again.
        options: of the connection.
    """

    url: str
    reconnect: Reconnect
    options: ConnectOptions


@dataclass(frozen=True, kw_only=True)
class _Config:
    place: Listen | Dial
    dialect: Semstreams
    options: MessagingOptions
    answers: bool
    nats: NatsConfig | None


@dataclass(frozen=True, kw_only=True)
class InputConfig(_Config):
    """What an input does. Made by `load_input`.

    Attributes:
        place: where it listens, or whom it dials.
        dialect: what its peers speak.
        options: of its messaging.
        answers: whether requests of peers are answered.
        nats: where the ports of NATS are; `None` if there are none.
        channel: of the messages that come.
        sinks: where they go.
        control: a subject of NATS for requests; `None` if they are answered here.
    """

    channel: str
    sinks: Sequence[Sink]
    control: str | None


@dataclass(frozen=True, kw_only=True)
class OutputConfig(_Config):
    """What an output does. Made by `load_output`.

    Attributes:
        place: where it listens, or whom it dials.
        dialect: what its peers speak.
        options: of its messaging.
        answers: whether requests of peers are answered.
        reliable: whether messages are kept until a peer has acknowledged them.
        passthrough: whether they leave as they are, without a subject and a time.
        subject: what is said in those that were lines.
        nats: where the ports of NATS are; `None` if there are none.
        sources: where they come from.
    """

    reliable: bool
    passthrough: bool
    subject: str
    sources: Sequence[Source]


_Tables: TypeAlias = "InputTables | OutputTables"


def load_input(path: Path, *, nats: Sequence[str] = ()) -> InputConfig:
    """Reads the file of an input, in TOML if its name ends with `.toml`, else in JSON.

    Args:
        path: the file.
        nats: URLs of servers of NATS, instead of those in the file.

    Raises:
        ConfigError: something in it is wrong; it says which key.
        OSError: it, or a file that it names, cannot be read.
    """
    tables = load_tables(InputTables, path)
    common = _common(tables, "drop_oldest")
    with at_key("channel"):
        dialect = Semstreams(channel=tables.channel)
    sinks = sinks_of(tables)
    return InputConfig(
        **common,
        dialect=dialect,
        channel=tables.channel,
        nats=nats_config(tables.nats, nats, sinks.data, sinks.control),
        sinks=sinks.data,
        control=sinks.control,
    )


def load_output(path: Path, *, nats: Sequence[str] = ()) -> OutputConfig:
    """Reads the file of an output; see `load_input`.

    Raises:
        ConfigError: likewise.
        OSError: likewise.
    """
    tables = load_tables(OutputTables, path)
    flat: dict[str, Any] = {"http_port": tables.port, "path": tables.path}
    given = {name: value for name, value in flat.items() if value is not UNSET}
    if given:
        if tables.server is not None:
            key = "port" if tables.port is not UNSET else "path"
            raise ConfigError(key, "there is a table server, too: it goes in there")
        server = ServerTable(**{"path": "/ws", **given})
        tables = msgspec.structs.replace(tables, server=server)
    with at_key("ack_timeout"):
        ack_timeout = go_duration(tables.ack_timeout)
    common = _common(tables, "block", ack_timeout=ack_timeout)
    with at_key("subject"):
        dialect = Semstreams(channel=tables.subject)
    sources = sources_of(tables)
    return OutputConfig(
        **common,
        dialect=dialect,
        reliable=tables.delivery_mode == "at-least-once",
        passthrough=tables.passthrough,
        subject=tables.subject,
        nats=nats_config(tables.nats, nats, sources, None),
        sources=sources,
    )


def load_tables(kind: type[T], path: Path) -> T:
    """Reads a file by its tables alone.

    Raises:
        ConfigError: something in it is wrong; it says which key.
        OSError: it cannot be read.
    """
    path = path.absolute()
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("", f"{path} is not UTF-8") from None
    if path.suffix == ".toml":
        found: Any = parse_toml(text)
    else:
        try:
            found = read_json(text)
        except NotJSON as exc:
            raise ConfigError("", f"not JSON: {exc}") from None
        if not isinstance(found, dict):
            raise ConfigError("", "not an object")
    return read_tables(kind, found, path.parent)


def _common(tables: _Tables, on_full: QueuePolicy, **more: Any) -> dict[str, Any]:
    """What both kinds have."""
    auth = msgspec.to_builtins(tables.auth)
    place: Listen | Dial
    if tables.mode == "server":
        if tables.server is None:
            raise ConfigError("server", 'there is no such table, and the mode is "server"')
        place = _listen(tables.server, auth)
    else:
        if tables.client is None:
            raise ConfigError("client", 'there is no such table, and the mode is "client"')
        place = _dial(tables.client, auth)
    bidirectional, pressure = tables.bidirectional, tables.backpressure
    with at_key("bidirectional.request_timeout"):
        ask_timeout = go_duration(bidirectional.request_timeout)
        MessagingOptions(ask_timeout=ask_timeout)
    for key, value in more.items():
        with at_key(key):
            MessagingOptions(**{key: value})
    options = MessagingOptions(
        ask_timeout=ask_timeout,
        ask_limit=bidirectional.max_concurrent_requests,
        queue_messages=pressure.queue_size,
        queue_full=on_full if pressure.on_full is UNSET else pressure.on_full,
        slow_above=MessagingOptions.slow_above if pressure.enabled else 1.0,
        **more,
    )
    return {"place": place, "options": options, "answers": bidirectional.enabled}


def _listen(table: ServerTable, auth: dict[str, Any]) -> Listen:
    if not table.path.startswith("/") or "?" in table.path or "#" in table.path:
        raise ConfigError("server.path", f"a path begins with a slash, not {table.path!r}")
    tls = None
    if table.tls is not None:
        with at_key("server.tls"):
            tls = ServerTLS(table.tls.certificate, table.tls.key, client_ca=table.tls.client_ca)
    with at_key("auth"):
        authenticator = authenticator_from(auth)
    options = EndpointOptions(
        auth=authenticator,
        origins=table.allowed_origins or None,
        max_connections=table.max_connections,
        compression=table.enable_compression,
        path=table.path,
    )
    with at_key("server.allowed_origins"):
        Endpoint(_serve_nobody, **options)
    return Listen(host=table.host or None, port=table.http_port, tls=tls, options=options)


def _dial(table: ClientTable, auth: dict[str, Any]) -> Dial:
    with at_key("client.url"):
        secure = parse_url(table.url).tls
    with at_key("client.reconnect"):
        reconnect = Reconnect.from_mapping(msgspec.to_builtins(table.reconnect))
    options = ConnectOptions(compression=True)
    if table.tls is not None:
        if not secure:
            raise ConfigError("client.tls", "the URL begins with ws://, which has no TLS")
        with at_key("client.tls"):
            options["tls"] = ClientTLS(
                ca=table.tls.ca, certificate=table.tls.certificate, key=table.tls.key
            )
    with at_key("auth"):
        options["auth"] = credentials_from(auth)
    return Dial(url=table.url, reconnect=reconnect, options=options)


async def _serve_nobody(websocket: object) -> None:
    """Of an endpoint that is only made to have its arguments checked."""
