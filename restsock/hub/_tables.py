"""The tables of a hub's TOML file, as msgspec structs: every key, its type and its default.

docs/hub.md and packaging/hub.toml say what they mean; a test compares the latter with this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from restsock._options import Limits, SocketOptions, Timeouts
from restsock.server import TrustedProxies

from ._channel_tables import ChannelTable, HeartbeatTable
from ._values import Duration, File, Secret, Size, Table, Texts, table_of

__all__ = [
    "AccessTable",
    "AdminTable",
    "FieldsTable",
    "HubTable",
    "IngressTable",
    "JWTTable",
    "LogTable",
    "MessagingTable",
    "PeersTable",
    "RouteTable",
    "TLSTable",
    "Tables",
    "WebhookTable",
]


class HubTable(Table, frozen=True, kw_only=True):
    """`[hub]`: the process as a whole."""

    name: str = "hub"
    listen: str | None = None
    domain: Texts | None = None
    state: File | None = None
    grace: Duration | None = None
    trusted_proxies: Texts = ()
    client_ip: Literal["cloudflare", "cloudfront"] | None = None
    dev: bool = False
    management: bool = False

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that are believed, and which fields of theirs.

        Raises:
            ValueError: One is no address or network.
        """
        return TrustedProxies(self.trusted_proxies, client_ip=self.client_ip)


class TLSTable(Table, frozen=True, kw_only=True):
    """`[tls]`, `[ingress.tls]` and `[admin.tls]`: PEM files, read again when they change."""

    certificate: File
    key: File | None = None
    client_ca: File | None = None
    client_certificate: Literal["required", "optional"] = "required"
    password: Secret | None = None
    password_file: File | None = None


class PeersTable(Table, frozen=True, kw_only=True):
    """`[peers]`: who dials in, and where."""

    enabled: bool = True
    listen: str = "localhost:8080"
    names: Literal["replace", "reject", "share"] = "replace"
    tokens: File | None = None
    access: str | None = None
    origins: Texts | None = None
    public: bool = False


class IngressTable(Table, frozen=True, kw_only=True):
    """`[ingress]`: requests of plain HTTP, passed on to peers."""

    enabled: bool = True
    listen: str | None = None
    public: bool = False
    access: str | None = None
    header: bool = True
    path_prefix: bool | None = None
    reserved: Texts | None = None
    wait: Duration = 5.0
    timeout: Duration | None = None
    max_body: Size | None = 100 * 1024 * 1024
    max_in_flight: int = 1000
    rate: str | None = None
    pages: File | None = None
    url: str | None = None
    tls: TLSTable | None = None


class AdminTable(Table, frozen=True, kw_only=True):
    """`[admin]`: the admin API."""

    enabled: bool = True
    listen: str = "127.0.0.1:4480"
    tokens: File | None = None
    hosts: Texts = ()
    metrics: Literal["token", "open"] = "token"
    tls: TLSTable | None = None


class LogTable(Table, frozen=True, kw_only=True):
    """`[log]`: what is written to stderr."""

    format: Literal["text", "json", "logfmt"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = False


class MessagingTable(Table, frozen=True, kw_only=True):
    """`[messaging]`: messages that peers publish and subscribe to."""

    enabled: bool = False
    history: Annotated[int, Meta(ge=0, le=1_000_000)] = 100


class FieldsTable(Table, frozen=True, kw_only=True):
    """`request_headers` and `response_headers` of a route."""

    set: dict[str, str] = {}  # noqa: RUF012  # msgspec copies it
    remove: Texts = ()


class WebhookTable(Table, frozen=True, kw_only=True):
    """`webhook` of a route."""

    scheme: Literal["github", "stripe", "slack", "standard"]
    secret: Secret | None = None
    secret_file: File | None = None


class RouteTable(Table, frozen=True, kw_only=True):
    """One `[[route]]`: a host that is a certain peer."""

    host: str
    peer: str
    path: str = "/"
    strip: bool = False
    access: str | None = None
    webhook: WebhookTable | None = None
    request_headers: FieldsTable = FieldsTable()
    response_headers: FieldsTable = FieldsTable()
    rate: str | None = None
    upstream_host: str = "keep"
    cookie_domain: Literal["host", "keep"] = "host"


class JWTTable(Table, frozen=True, kw_only=True):
    """`jwt` of an access table."""

    jwks: File
    audience: Texts
    issuer: str | None = None


class AccessTable(Table, frozen=True, kw_only=True):
    """One `[access.NAME]`: who may send requests, or dial in."""

    bearer: File | None = None
    basic: File | None = None
    certificate: str | None = None
    cidr: Texts = ()
    deny: Texts = ()
    jwt: JWTTable | None = None
    forward_auth: str | None = None
    any: bool = False


if TYPE_CHECKING:
    LimitsTable: TypeAlias = Any
    TimeoutsTable: TypeAlias = Any
    SocketsTable: TypeAlias = Any
else:
    LimitsTable = table_of(Limits)
    TimeoutsTable = table_of(Timeouts)
    SocketsTable = table_of(SocketOptions)


class Tables(Table, frozen=True, kw_only=True):
    """The whole file."""

    hub: HubTable = HubTable()
    peers: PeersTable = PeersTable()
    ingress: IngressTable = IngressTable()
    tls: TLSTable | None = None
    admin: AdminTable = AdminTable()
    log: LogTable = LogTable()
    messaging: MessagingTable = MessagingTable()
    route: tuple[RouteTable, ...] = ()
    channel: tuple[ChannelTable, ...] = ()
    access: dict[str, AccessTable] = {}  # noqa: RUF012  # msgspec copies it
    limits: LimitsTable = LimitsTable()
    timeouts: TimeoutsTable = TimeoutsTable()
    heartbeat: HeartbeatTable = HeartbeatTable()
    sockets: SocketsTable = SocketsTable()
