"""What each request has to show before the admin API looks at what it asks for.

In this order: a Host that is ours (against DNS rebinding), no Origin but our own, a bearer token
whose scopes cover the operation, and JSON where something is to change. None of it depends on where
a request comes from: loopback is reached by pages in browsers, and through peers that forward.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from restsock._addresses import host_and_port, ip_of
from restsock._limit_log import LimitLog
from restsock.auth import Refused
from restsock.connection import upgrade_of
from restsock.hub._tokens import scopes_of
from restsock.openapi.document import NoSuchMethod, NoSuchPath
from restsock.protocol import values_of

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Exchange
    from restsock.openapi import Document, Operation
    from restsock.protocol import RequestHead

    from ._interface import HubLike

__all__ = ["Guard"]

_log = logging.getLogger("restsock.hub.admin")
_audit = logging.getLogger("restsock.hub.audit")

_CHALLENGE = 'Bearer realm="restsock admin"'
_SAFE = (b"GET", b"HEAD")


class Guard:
    """Lets requests pass, or refuses them.

    Args:
        hub: whose API it is.
        document: says which scope an operation needs.
    """

    def __init__(self, hub: HubLike, document: Document) -> None:
        self._hub = hub
        self._document = document
        self._limit_log = LimitLog(_log)

    def check(self, exchange: Exchange) -> None:
        """Looks at a request.

        Raises:
            Refused: it is not to be answered.
        """
        request = exchange.request
        host = self._check_host(request)
        self._check_origin(request, host)
        operation = self._operation(request)
        scope = self._scope(operation)
        if scope is None:
            return
        try:
            principal = self._authenticated(exchange)
            if scope not in scopes_of(principal):
                raise Refused(
                    403,
                    f"This token does not have the scope {scope}.",
                    challenge=f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"',
                )
        except Refused as exc:
            self._note(exchange, exc)
            raise
        if request.upgrade is not None:
            raise Refused(400, "Nothing here is an upgrade.")
        if request.method not in _SAFE:
            self._check_type(request)
        if scope == "write":
            target = request.target.decode("latin-1")
            _audit.info(
                "%r: %s %s",
                principal.name,
                request.method.decode("latin-1"),
                target,
                extra={"principal": principal.name, "operation": str(operation)},
            )

    def _authenticated(self, exchange: Exchange) -> Principal:
        connection = exchange.connection
        assert connection is not None
        upgrade = upgrade_of(exchange.request, None, connection.peer)
        found = self._hub.admin_principal(upgrade)
        if found is None:
            raise Refused(401, "A bearer token is needed.", challenge=_CHALLENGE)
        return found

    def _note(self, exchange: Exchange, refused: Refused) -> None:
        connection = exchange.connection
        assert connection is not None
        self._limit_log.note(
            "refused",
            "refused with %d: %s, %s %s",
            refused.status,
            connection.peer,
            exchange.request.method.decode("latin-1"),
            exchange.request.target.partition(b"?")[0].decode("latin-1"),
            level=logging.INFO,
        )

    def _check_host(self, request: RequestHead) -> str:
        given = values_of(request.headers, b"host")[0].decode("latin-1").lower()
        host = host_and_port(given)[0].rstrip(".")
        own = (self._hub.admin_host or "localhost").lower()
        listed = (name.lower() for name in self._hub.config.admin.hosts)
        # Who has a name can point it here; nobody can do that with an address.
        if ip_of(host.strip("[]")) is None and host not in ("localhost", own, *listed):
            raise Refused(421, "This host is not the admin API's; admin.hosts may list it.")
        return given

    def _check_origin(self, request: RequestHead, host: str) -> None:
        for value in values_of(request.headers, b"origin"):
            scheme, _, authority = value.decode("latin-1").lower().partition("://")
            if scheme not in ("http", "https") or authority != host:
                raise Refused(403, "Pages of other origins may not use the admin API.")

    def _operation(self, request: RequestHead) -> Operation | None:
        path = request.target.partition(b"?")[0].decode("latin-1")
        try:
            return self._document.match(request.method.decode("latin-1"), path).operation
        except (NoSuchPath, NoSuchMethod):
            return None  # which is told to those who have a token

    def _scope(self, operation: Operation | None) -> str | None:
        """The scope that a token needs; `None` where no token is needed."""
        if operation is None:
            return "read"
        if operation.id == "getMetrics" and self._hub.config.admin.metrics == "open":
            return None
        security = operation.mapping.get("security", self._document.mapping["security"])
        scopes: list[str] = [scope for one in security for scope in one["bearer"]]
        return scopes[0] if scopes else None

    def _check_type(self, request: RequestHead) -> None:
        """A form of a page that is elsewhere cannot send JSON without asking first."""
        kinds = values_of(request.headers, b"content-type")
        kind = kinds[0].partition(b";")[0].strip().lower() if kinds else b""
        if kind != b"application/json" and (kinds or request.method != b"DELETE"):
            raise Refused(415, "What changes something is sent as application/json.")
