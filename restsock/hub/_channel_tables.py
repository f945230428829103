"""The tables of channels: `[[channel]]`, their middleware and their routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from restsock._options import Heartbeat

from ._values import Duration, File, Secret, Size, Table, Texts, table_of

__all__ = [
    "AdmitTable",
    "BreakerTable",
    "CacheTable",
    "ChannelLimitsTable",
    "ChannelRouteTable",
    "ChannelTable",
    "HeartbeatTable",
    "LimitTable",
    "RateTable",
    "RetryTable",
    "StepsTable",
]

Scope: TypeAlias = Literal["all", "channel", "session", "principal", "address", "key"]
"""Which messages count together."""

if TYPE_CHECKING:
    HeartbeatTable: TypeAlias = Any
else:
    HeartbeatTable = table_of(Heartbeat)


class RateTable(Table, frozen=True, kw_only=True):
    """`rate`: messages a second."""

    rate: float | str
    burst: float | None = None
    key: Scope = "principal"


class LimitTable(Table, frozen=True, kw_only=True):
    """`limit`: calls at a time."""

    in_flight: int
    scope: Scope = "channel"
    on_full: Literal["wait", "refuse"] = "wait"
    queue: int = 1000


class CacheTable(Table, frozen=True, kw_only=True):
    """`cache`: replies that are kept."""

    ttl: Duration
    stale_if_error: Duration = 0.0
    shared: bool = False
    max_entries: int = 1000
    max_bytes: Size = 16 * 1024 * 1024


class RetryTable(Table, frozen=True, kw_only=True):
    """`retry`: calls that are made again."""

    attempts: int = 3
    initial: Duration = 0.1
    cap: Duration = 5.0
    idempotent: Texts = ()
    budget: float = 0.1
    reserve: int = 100


class BreakerTable(Table, frozen=True, kw_only=True):
    """`breaker`: no calls while they fail all the time."""

    key: Scope = "all"
    failures: int | None = 5
    ratio: float | None = 0.5
    window: Duration = 30.0
    minimum: int = 20
    slow: Duration | None = 10.0
    pause: Duration = 10.0
    probes: int = 1


class StepsTable(Table, frozen=True, kw_only=True):
    """One `[[channel.middleware]]`, and the same keys of a route. Outermost first."""

    rate: RateTable | None = None
    limit: LimitTable | None = None
    schema: File | None = None
    cache: CacheTable | None = None
    retry: RetryTable | int | None = None
    breaker: BreakerTable | None = None
    timeout: Duration | None = None


class ChannelRouteTable(StepsTable, frozen=True, kw_only=True):
    """A value of `[channel.routes]`: one backend, and what stands before it."""

    http: str | None = None
    peer: str | None = None
    app: str | None = None
    balance: Texts = ()
    operations: File | None = None
    websocket: str | None = None
    nats: str | None = None
    rabbitmq: str | None = None
    redis: str | None = None
    grip: str | None = None
    # Of those that speak HTTP.
    method: str | None = None
    path: str | None = None
    query: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    tell: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    max_body: Size = 1024 * 1024
    wait: Duration = 10.0
    weights: tuple[float, ...] = ()
    # Of those that are spoken to in TLS: of `restsock.tls.client`.
    ca: File | None = None
    certificate: File | None = None
    key: File | None = None
    server_hostname: str | None = None
    # Of operations.
    to: Texts = ()
    prefix: str = ""
    responses: bool = False
    # Of a WebSocket.
    ids: Literal["json", "jsonrpc", "none"] = "json"
    pool: int | None = None
    # Of brokers, and the key of GRIP.
    servers: Texts = ()
    user: str | None = None
    secret: Secret | None = None
    secret_file: File | None = None


class AdmitTable(Table, frozen=True, kw_only=True):
    """`admit` of a channel: who is asked before a WebSocket is accepted."""

    to: str
    path: str = ""
    timeout: Duration = 5.0


class ChannelLimitsTable(Table, frozen=True, kw_only=True):
    """`limits` of a channel."""

    in_flight: int = 25
    message: Size = 32 * 1024
    queue: Size = 1024 * 1024
    sessions: int = 10_000
    faults: int | None = 100
    idle: Duration | None = None
    max_age: Duration | None = None


class ChannelTable(Table, frozen=True, kw_only=True):
    """One `[[channel]]`: plain WebSockets at a path, whose messages are answered."""

    path: str
    dialect: Literal["action", "jsonrpc", "http", "envelope", "raw"] = "action"
    field: str = "action"
    access: str | None = None
    admit: AdmitTable | None = None
    public: bool = False
    origins: Texts | None = None
    subprotocols: Texts = ()
    browser_token: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    compression: bool = False
    grace: Duration | None = None
    contract: bool = False
    limits: ChannelLimitsTable = ChannelLimitsTable()
    heartbeat: HeartbeatTable = HeartbeatTable()
    middleware: tuple[StepsTable, ...] = ()
    routes: dict[str, ChannelRouteTable]
