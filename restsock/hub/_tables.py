"""The tables of a hub's TOML file, as msgspec structs: every key, its type and its default.

docs/hub.md and packaging/hub.toml say what they mean; a test compares the latter with this.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

from restsock._options import Heartbeat, Limits, SocketOptions, Timeouts
from restsock.server import TrustedProxies

__all__ = [
    "AccessTable",
    "AdminTable",
    "Duration",
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

Duration = Annotated[float, Meta(extra={"unit": "duration"}, extra_json_schema={"x-text": "30s"})]
"""Seconds, or a text such as `"30s"`, `"500ms"`, `"5m"`, `"1h"`."""

Size = Annotated[int, Meta(extra={"unit": "size"}, extra_json_schema={"x-text": "100MiB"})]
"""Bytes, or a text such as `"64KiB"`, `"100MiB"`, `"1GB"`."""

File = Annotated[str, Meta(extra={"file": True})]
"""The name of a file; one that is relative starts from the folder of the TOML file. Or a URL."""

Secret = Annotated[str, Meta(extra={"secret": True})]
"""Given by `"${NAME}"` only, the name of an environment variable."""

# The fields that have this type.
_SECRETS = frozenset(("password", "secret"))

Texts = tuple[str, ...]
"""Several texts, or one alone."""


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables have in common."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names and values, for `repr` and rich; of a secret it tells only that there is one."""
        found = [(field, getattr(self, field)) for field in self.__struct_fields__]
        return [(name, ... if name in _SECRETS and value else value) for name, value in found]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


class HubTable(_Table, frozen=True, kw_only=True):
    """`[hub]`: the process as a whole."""

    name: str = "hub"
    domain: Texts | None = None
    state: File | None = None
    grace: Duration | None = None
    trusted_proxies: Texts = ()
    client_ip: Literal["cloudflare", "cloudfront"] | None = None
    dev: bool = False

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies that are believed, and which fields of theirs.

        Raises:
            ValueError: One is no address or network.
        """
        return TrustedProxies(self.trusted_proxies, client_ip=self.client_ip)


class TLSTable(_Table, frozen=True, kw_only=True):
    """`[tls]`, `[ingress.tls]` and `[admin.tls]`: PEM files, read again when they change."""

    certificate: File
    key: File | None = None
    client_ca: File | None = None
    client_certificate: Literal["required", "optional"] = "required"
    password: Secret | None = None
    password_file: File | None = None


class PeersTable(_Table, frozen=True, kw_only=True):
    """`[peers]`: who dials in, and where."""

    listen: str = "localhost:8080"
    names: Literal["replace", "reject", "share"] = "replace"
    tokens: File | None = None
    access: str | None = None
    origins: Texts | None = None
    public: bool = False


class IngressTable(_Table, frozen=True, kw_only=True):
    """`[ingress]`: requests of plain HTTP, passed on to peers."""

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


class AdminTable(_Table, frozen=True, kw_only=True):
    """`[admin]`: the admin API."""

    listen: str = "127.0.0.1:4480"
    tokens: File | None = None
    hosts: Texts = ()
    metrics: Literal["token", "open"] = "token"
    tls: TLSTable | None = None


class LogTable(_Table, frozen=True, kw_only=True):
    """`[log]`: what is written to stderr."""

    format: Literal["text", "json", "logfmt"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = False


class MessagingTable(_Table, frozen=True, kw_only=True):
    """`[messaging]`: messages that peers publish and subscribe to."""

    enabled: bool = False
    history: Annotated[int, Meta(ge=0, le=1_000_000)] = 100


class FieldsTable(_Table, frozen=True, kw_only=True):
    """`request_headers` and `response_headers` of a route."""

    set: dict[str, str] = {}
    remove: Texts = ()


class WebhookTable(_Table, frozen=True, kw_only=True):
    """`webhook` of a route."""

    scheme: Literal["github", "stripe", "slack", "standard"]
    secret: Secret | None = None
    secret_file: File | None = None


class RouteTable(_Table, frozen=True, kw_only=True):
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


class JWTTable(_Table, frozen=True, kw_only=True):
    """`jwt` of an access table."""

    jwks: File
    audience: Texts
    issuer: str | None = None


class AccessTable(_Table, frozen=True, kw_only=True):
    """One `[access.NAME]`: who may send requests, or dial in."""

    bearer: File | None = None
    basic: File | None = None
    certificate: str | None = None
    cidr: Texts = ()
    deny: Texts = ()
    jwt: JWTTable | None = None
    forward_auth: str | None = None
    any: bool = False


def _table_of(kind: type) -> Any:
    """The table of a class of options: the same keys, of which none has to be there."""
    hints = get_type_hints(kind)
    fields = []
    for field in dataclasses.fields(kind):
        hint: Any = hints[field.name]
        for plain, with_unit in ((float, Duration), (int, Size)):
            if hint == plain:
                hint = with_unit
            elif hint == (plain | None):
                hint = with_unit | None
        fields.append((field.name, hint | UnsetType, UNSET))
    return defstruct(
        f"{kind.__name__}Table",
        fields,
        bases=(_Table,),
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={"__module__": __name__},
    )


if TYPE_CHECKING:
    LimitsTable: TypeAlias = Any
    TimeoutsTable: TypeAlias = Any
    HeartbeatTable: TypeAlias = Any
    SocketsTable: TypeAlias = Any
else:
    LimitsTable = _table_of(Limits)
    TimeoutsTable = _table_of(Timeouts)
    HeartbeatTable = _table_of(Heartbeat)
    SocketsTable = _table_of(SocketOptions)


class Tables(_Table, frozen=True, kw_only=True):
    """The whole file."""

    hub: HubTable = HubTable()
    peers: PeersTable = PeersTable()
    ingress: IngressTable = IngressTable()
    tls: TLSTable | None = None
    admin: AdminTable = AdminTable()
    log: LogTable = LogTable()
    messaging: MessagingTable = MessagingTable()
    route: tuple[RouteTable, ...] = ()
    access: dict[str, AccessTable] = {}
    limits: LimitsTable = LimitsTable()
    timeouts: TimeoutsTable = TimeoutsTable()
    heartbeat: HeartbeatTable = HeartbeatTable()
    sockets: SocketsTable = SocketsTable()
