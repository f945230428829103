"""What each request has to show before the admin API looks at what it asks for.

A Host that is ours (against DNS rebinding), no Origin but our own, and what `Guard` of the
management API asks for besides.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from restsock._addresses import host_and_port, ip_of
from restsock.auth import Refused
from restsock.connection import upgrade_of
from restsock.gateway.management import Guard as CommonGuard
from restsock.protocol import values_of

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Exchange
    from restsock.openapi import Document, Operation
    from restsock.protocol import RequestHead

    from ._interface import HubLike

__all__ = ["Guard"]


class Guard(CommonGuard):
    """Lets requests pass, or refuses them.

    Args:
        hub: whose API it is.
        document: says which scope an operation needs.
    """

    def __init__(self, hub: HubLike, document: Document) -> None:
        super().__init__(
            document,
            realm="restsock admin",
            log=logging.getLogger("restsock.hub.admin"),
            audit=logging.getLogger("restsock.hub.audit"),
        )
        self._hub = hub

    def authenticate(self, exchange: Exchange) -> Principal | None:
        """See `Guard` of the management API."""
        connection = exchange.connection
        assert connection is not None
        return self._hub.admin_principal(upgrade_of(exchange.request, None, connection.peer))

    def check_source(self, request: RequestHead) -> None:
        """See `Guard` of the management API."""
        self._check_origin(request, self._check_host(request))

    def scope_of(self, operation: Operation | None) -> str | None:
        """See `Guard` of the management API; metrics may be open."""
        is_open = self._hub.config.admin.metrics == "open"
        if is_open and operation is not None and operation.id == "getMetrics":
            return None
        return super().scope_of(operation)

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
