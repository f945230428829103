"""What a configuration amounts to: all that can be made of it before anything is bound.

A configuration is right if this can be made of it. So a reload makes all parts first, and only then
puts them in the place of the old ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import trio
from msgspec import UNSET

from restsock.auth import Authenticator, BearerTokens, CredentialStore
from restsock.endpoint import check_socket_options
from restsock.ingress import RESERVED, FieldRules, Ingress, Route, Webhook
from restsock.swaggersocket import Endpoint
from restsock.tls import ServerTLS

from ._access import AccessRules, opened
from ._channels import Channels
from ._config import Config
from ._errors import ConfigError, unquoted
from ._listening import ListenerName, Place
from ._messages import Rights
from ._tables import FieldsTable, RouteTable, TLSTable, WebhookTable

__all__ = ["Parts", "Places", "check", "endpoints_of", "places_of", "tls_tables"]

Places: TypeAlias = Mapping[ListenerName, Place]
"""Where the listeners are; without one for the ingress, that is on the port of the peers."""


@dataclass(frozen=True)
class Parts:
    """The parts of a hub.

    Attributes:
        config: what they were made of.
        tls: of each listener.
        peers: tells who dials in; `None` lets everybody in.
        admin: the tokens of the admin API; `None` stands for the one in the state folder.
        ingress: the rules for requests, not bound yet.
        channels: of the gateway.
        access: what the access tables have become.
        rights: what peers may do with messages.
    """

    config: Config
    tls: Mapping[ListenerName, ServerTLS | None]
    peers: Authenticator | None
    admin: BearerTokens | None
    ingress: Ingress
    channels: Channels
    access: AccessRules
    rights: Rights

    @classmethod
    def of(cls, config: Config, places: Places, before: Parts | None = None) -> Parts:
        """Makes them. Reads files, so it belongs into a thread.

        Args:
            config: the configuration.
            places: where the listeners are, or will be.
            before: those that they take the place of.

        Raises:
            ConfigError: something in it cannot be used, or is not safe.
        """
        with unquoted(config.variables):
            return cls._of(config, places, before)

    @classmethod
    def _of(cls, config: Config, places: Places, before: Parts | None) -> Parts:
        places = _as_reached(config, places)  # of this one, and not of that which they were made by
        if "ingress" not in places:
            _check_beside_ingress(config)
        access = AccessRules(config, None if before is None else before.access)
        peers = _peers_access(config, access)
        open_to_all = peers is None and not (places["peers"].loopback or config.peers.public)
        if open_to_all and config.peers.enabled:
            raise ConfigError(
                "peers.tokens",
                "everybody could dial in from anywhere: name a file, or set public = true",
            )
        if "admin" in places and config.admin.tokens is None and not places["admin"].loopback:
            raise ConfigError(
                "admin.tokens", "an admin API that others can reach needs a file of tokens"
            )
        if config.hub.dev and not all(place.loopback for place in places.values()):
            raise ConfigError("hub.dev", "it is for listeners on loopback")
        admin = None
        if config.admin.tokens is not None:
            with opened("admin.tokens"):
                admin = BearerTokens(file=config.admin.tokens)
        loopback = _at_ingress(places).loopback
        ingress = _ingress(config, access, loopback=loopback or not config.ingress.enabled)
        channels = Channels.of(
            config,
            access,
            loopback=loopback,
            before=None if before is None else before.channels,
        )
        if not (config.peers.enabled or config.ingress.enabled or config.channel):
            raise ConfigError("channel", "there is nothing to serve: no channel")
        access.check_used()
        rights = _rights(config, known=peers is not None)
        with opened("sockets"):
            check_socket_options(config.options.sockets)
        made: dict[str, ServerTLS | None] = {}  # one of each table, by its key
        tables = tls_tables(config, places)
        for table, key in tables.values():
            made.setdefault(key, _tls(table, key))
        return cls(
            config,
            {name: made[key] for name, (_, key) in tables.items()},
            peers,
            admin,
            ingress,
            channels,
            access,
            rights,
        )

    async def follow_tokens(self, before: Config, after: Config) -> None:
        """Has peers and callers of the admin API be those of other files, where these are named.

        Raises:
            ConfigError: a file cannot be used any more.
        """
        for key, store, old, file in (
            ("peers.tokens", self.peers, before.peers.tokens, after.peers.tokens),
            ("admin.tokens", self.admin, before.admin.tokens, after.admin.tokens),
        ):
            if isinstance(store, CredentialStore) and old and file and old != file:
                with opened(key):  # it may be another one than a moment ago
                    await trio.to_thread.run_sync(store.follow, file)

    def swap_certificates(self, other: Parts, needed: Collection[str]) -> None:
        """Takes over the certificates of others, but for the keys that need a restart."""
        for name, old in self.tls.items():
            fresh = other.tls[name]
            # One that is to leave [tls] has to wait: it is that of other listeners, too.
            if old is not None and fresh is not None and f"{name}.tls" not in needed:
                old.swap(fresh)

    def with_rules_of(self, other: Parts) -> Parts:
        """These, with the access tables, rights and channels of others, which hold from now on."""
        self.rights.swap(other.rights)
        return replace(self, access=other.access, channels=other.channels)


def places_of(config: Config, given: Mapping[ListenerName, Place]) -> dict[ListenerName, Place]:
    """Where the listeners of a configuration are, unless they were handed over.

    Raises:
        ConfigError: an address is none, or two listeners are to be at the same one.
    """
    with unquoted(config.variables):
        return _places_of(config, given)


def _places_of(config: Config, given: Mapping[ListenerName, Place]) -> dict[ListenerName, Place]:
    places: dict[ListenerName, Place] = {
        "peers": Place.at(config.peers.listen, "peers.listen"),
    }
    if config.admin.enabled:
        places["admin"] = Place.at(config.admin.listen, "admin.listen")
    if config.ingress.listen is not None and config.ingress.listen != config.peers.listen:
        places["ingress"] = Place.at(config.ingress.listen, "ingress.listen")
    elif config.ingress.tls is not None:
        raise ConfigError("ingress.tls", "the ingress is on the port of the peers, which has [tls]")
    places.update(
        (name, place) for name, place in given.items() if name in places or name != "admin"
    )
    places = _as_reached(config, places)
    for name, place in places.items():
        admin = places.get("admin")
        if name != "admin" and admin is not None and place.port and place[:2] == admin[:2]:
            raise ConfigError("admin.listen", f"it has to be another address than that of {name}")
    return places


def _as_reached(config: Config, places: Places) -> dict[ListenerName, Place]:
    """The places as others reach them: through trusted proxies also what is on loopback."""
    found = dict(places)
    if config.hub.client_ip is not None and not config.hub.trusted_proxies:
        raise ConfigError("hub.client_ip", "trusted_proxies has to say who is believed that field")
    if config.hub.trusted_proxies:
        for name in found.keys() - {"admin"}:
            found[name] = found[name]._replace(loopback=False)
    return found


def _at_ingress(places: Places) -> Place:
    return places.get("ingress", places["peers"])


def tls_tables(config: Config, places: Places) -> dict[ListenerName, tuple[TLSTable | None, str]]:
    """The table that says how each listener speaks TLS, `None` if it does not; and its key."""
    own = (config.tls, "tls")
    ingress, admin = (config.ingress.tls, "ingress.tls"), (config.admin.tls, "admin.tls")
    tables: dict[ListenerName, tuple[TLSTable | None, str]] = {
        "peers": own,
        "ingress": own if ingress[0] is None else ingress,
    }
    if "admin" in places:
        by_default = admin if places["admin"].loopback else own
        tables["admin"] = by_default if admin[0] is None else admin
    return tables


def check(config: Config) -> None:
    """Checks all that can be checked without binding anything: files, addresses, rules.

    Raises:
        ConfigError: a hub would not start with it.
    """
    Parts.of(config, places_of(config, {}))


def endpoints_of(config: Config, ingress: Any) -> dict[str, Any] | None:
    """What is on the port of the peers beside those of restsock.v1.

    Args:
        config: the configuration.
        ingress: what is at `/`, unless that has a listener of its own; else `None`.
    """
    endpoints: dict[str, Any] = {} if ingress is None else {"/": ingress}
    if config.peers.enabled and config.peers.swaggersocket is not None:
        endpoints[config.peers.swaggersocket] = Endpoint(name_of=_name_in)
    return endpoints or None


def _check_beside_ingress(config: Config) -> None:
    """Peers of swaggersocket take their path, and all below it, from the ingress on their port."""
    path = config.peers.swaggersocket
    if path is None or not config.peers.enabled:
        return
    if path == "/":
        raise ConfigError(
            "peers.swaggersocket",
            "the ingress is at this path: take another one, or give it a port (ingress.listen)",
        )
    for number, table in enumerate(config.channel):
        if f"{table.path}/".startswith(f"{path}/"):
            raise ConfigError(
                f"channel[{number}].path", "peers.swaggersocket is at this path, or at one above it"
            )


def _name_in(metadata: Any) -> str | None:
    """The name in what a peer of swaggersocket says of itself: a text, or `name` of an object."""
    found = metadata.get("name") if isinstance(metadata, dict) else metadata
    return found if isinstance(found, str) else None


def _peers_access(config: Config, access: AccessRules) -> Authenticator | None:
    table = config.peers
    if table.tokens is not None and table.access is not None:
        raise ConfigError("peers.access", "give tokens, or access, and not both")
    if table.tokens is None:
        return access.named(table.access, "peers.access")
    with opened("peers.tokens"):
        return BearerTokens(file=table.tokens)


def _rights(config: Config, *, known: bool) -> Rights:
    """What peers may do with messages.

    Args:
        config: the configuration.
        known: whether it is found out who peers are.
    """
    rules = config.messaging.rights
    rights = Rights(None if rules is UNSET else rules)
    if rules is not UNSET and not config.messaging.enabled:
        raise ConfigError("messaging.rights", "there are no messages: set enabled = true")
    if rights.by_principal and not known:
        raise ConfigError(
            rights.by_principal, "nobody has a principal without peers.tokens or peers.access"
        )
    return rights


def _tls(table: TLSTable | None, key: str) -> ServerTLS | None:
    if table is None:
        return None
    password = table.password
    with opened(key):
        if table.password_file is not None:
            if password is not None:
                raise ValueError("give password, or password_file, and not both")
            password = Path(table.password_file).read_text("utf-8").rstrip("\r\n")
        return ServerTLS(
            table.certificate,
            table.key,
            client_ca=table.client_ca,
            client_certificate=table.client_certificate,
            password=password,
        )


def _ingress(config: Config, access: AccessRules, *, loopback: bool) -> Ingress:
    table = config.ingress
    auth = access.named(table.access, "ingress.access")
    if auth is None and not (loopback or table.public):
        raise ConfigError(
            "ingress.access",
            "everybody could send requests from anywhere: name a table, or set public = true",
        )
    routes = [_route(route, f"route[{n}]", access) for n, route in enumerate(config.route)]
    with opened("ingress"):
        return Ingress(
            domains=config.hub.domain,
            routes=routes,
            access=auth,
            public=table.public,
            header=table.header,
            path_prefix=table.path_prefix,
            trusted_proxies=config.hub.proxies,
            reserved=RESERVED if table.reserved is None else table.reserved,
            wait=table.wait,
            timeout=table.timeout,
            max_body=table.max_body,
            max_in_flight=table.max_in_flight,
            rate=table.rate,
            pages=table.pages,
            url=table.url,
        )


def _route(table: RouteTable, key: str, access: AccessRules) -> Route:
    auth = access.named(table.access, f"{key}.access")
    with opened(key):
        return Route(
            table.host,
            table.peer,
            path=table.path,
            strip=table.strip,
            access=auth,
            webhook=_webhook(table.webhook),
            request_fields=_rules(table.request_headers),
            response_fields=_rules(table.response_headers),
            rate=table.rate,
            upstream_host=table.upstream_host,
            cookie_domain=table.cookie_domain,
        )


def _webhook(table: WebhookTable | None) -> Webhook | None:
    if table is None:
        return None
    return Webhook(table.scheme, table.secret, file=table.secret_file)


def _rules(table: FieldsTable) -> FieldRules:
    return FieldRules(table.set, table.remove)
