"""The tables of an input and of an output, as msgspec structs: every key and its default.

docs/connectors.md says what they mean. They are StreamKit's, and a few more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "AuthTable",
    "BackpressureTable",
    "BidirectionalTable",
    "ClientTLSTable",
    "ClientTable",
    "InputPortsTable",
    "InputTables",
    "NatsTable",
    "OutputPortsTable",
    "OutputTables",
    "ReconnectTable",
    "ServerTLSTable",
    "ServerTable",
    "SinkTable",
    "SourceTable",
]

File = Annotated[str, Meta(extra={"file": True})]
"""The name of a file; one that is relative starts from the folder of the configuration."""

GoDuration: TypeAlias = "str | int"
"""Text such as `"1s"` or `"1m30s"`, or whole nanoseconds; see `go_duration`."""

Mode = Literal["server", "client"]
PortType = Literal["stdio", "nats", "jetstream"]
OnFull = Literal["drop_oldest", "drop_newest", "block", "disconnect"]
PortNumber = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables have in common."""


class ServerTLSTable(_Table, frozen=True, kw_only=True):
    """`server.tls`: PEM files, read again when they change."""

    certificate: File
    key: File | None = None
    client_ca: File | None = None


class ClientTLSTable(_Table, frozen=True, kw_only=True):
    """`client.tls`: PEM files, read again when they change."""

    ca: File | None = None
    certificate: File | None = None
    key: File | None = None


class ServerTable(_Table, frozen=True, kw_only=True):
    """`server`: where to listen, with mode `server`."""

    host: str = ""
    http_port: PortNumber = 8081
    path: str = "/"
    max_connections: Count = 100
    read_buffer_size: Count = 4096
    write_buffer_size: Count = 4096
    enable_compression: bool = True
    allowed_origins: tuple[str, ...] = ()
    tls: ServerTLSTable | None = None


class ReconnectTable(_Table, frozen=True, kw_only=True):
    """`client.reconnect`: when to dial again."""

    enabled: bool = True
    max_retries: Annotated[int, Meta(ge=0)] = 10
    initial_interval: GoDuration = "1s"
    max_interval: GoDuration = "60s"
    multiplier: float = 2.0


class ClientTable(_Table, frozen=True, kw_only=True):
    """`client`: whom to dial, with mode `client`."""

    url: str
    reconnect: ReconnectTable = ReconnectTable()
    tls: ClientTLSTable | None = None


class AuthTable(_Table, frozen=True, kw_only=True):
    """`auth`: who may connect, or what is shown. Secrets are in environment variables."""

    type: Literal["none", "bearer", "basic"] = "none"
    bearer_token_env: str | UnsetType = UNSET
    basic_username_env: str | UnsetType = UNSET
    basic_password_env: str | UnsetType = UNSET


class BidirectionalTable(_Table, frozen=True, kw_only=True):
    """`bidirectional`: requests of peers, and of this side."""

    enabled: bool = True
    request_timeout: GoDuration = "5s"
    max_concurrent_requests: Count = 10


class BackpressureTable(_Table, frozen=True, kw_only=True):
    """`backpressure`: the queue of each peer."""

    enabled: bool = True
    queue_size: Count = 1000
    on_full: OnFull | UnsetType = UNSET


class _PortTable(_Table, frozen=True, kw_only=True):
    name: str
    type: PortType = "nats"
    subject: str = ""
    required: bool = True
    description: str = ""
    interface: str = ""


class SinkTable(_PortTable, frozen=True, kw_only=True):
    """One of `ports.outputs` of an input: where messages go."""

    ordered: bool = True


class SourceTable(_PortTable, frozen=True, kw_only=True):
    """One of `ports.inputs` of an output: where messages come from."""

    stream_name: str = ""
    consumer_name: str = ""
    queue: str = ""
    window: Count | UnsetType = UNSET


class InputPortsTable(_Table, frozen=True, kw_only=True):
    """`ports` of an input."""

    outputs: tuple[SinkTable, ...] = ()
    inputs: Any = ()


class OutputPortsTable(_Table, frozen=True, kw_only=True):
    """`ports` of an output."""

    inputs: tuple[SourceTable, ...] = ()
    outputs: Any = ()


class NatsTable(_Table, frozen=True, kw_only=True):
    """`nats`: the server of the ports, and who this side is there. Secrets are elsewhere."""

    servers: tuple[str, ...] = ()
    credentials: File | None = None
    nkey_seed: File | None = None
    user: str = ""
    password_env: str = ""
    password_file: File | None = None
    token_env: str = ""
    token_file: File | None = None
    tls: ClientTLSTable | None = None
    tls_first: bool = False
    name: str = "restsock"
    ready_timeout: GoDuration = "15s"
    ack_timeout: GoDuration = "5s"


class _Connector(_Table, frozen=True, kw_only=True):
    mode: Mode = "server"
    server: ServerTable | None = None
    client: ClientTable | None = None
    auth: AuthTable = AuthTable()
    bidirectional: BidirectionalTable = BidirectionalTable()
    backpressure: BackpressureTable = BackpressureTable()
    nats: NatsTable | None = None


class InputTables(_Connector, frozen=True, kw_only=True):
    """The whole file of an input."""

    channel: str = "data"
    ports: InputPortsTable = InputPortsTable()


class OutputTables(_Connector, frozen=True, kw_only=True):
    """The whole file of an output."""

    delivery_mode: Literal["at-most-once", "at-least-once"] = "at-most-once"
    ack_timeout: GoDuration = "5s"
    passthrough: bool = False
    subject: str = "stdin"
    subjects: tuple[str, ...] = ()
    ports: OutputPortsTable = OutputPortsTable()
    port: PortNumber | UnsetType = UNSET
    path: str | UnsetType = UNSET
