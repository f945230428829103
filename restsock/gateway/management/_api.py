"""`Management`: the management API as a `Handler`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from restsock.auth import Refused
from restsock.connection import is_async, upgrade_of
from restsock.openapi import load
from restsock.protocol import values_of

from ._guard import Guard
from ._operation_api import OperationAPI
from ._operations import OPERATIONS, Call

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.auth import Upgrade
    from restsock.connection import Exchange
    from restsock.gateway import Gateway
    from restsock.openapi import Document
    from restsock.protocol import RequestHead

__all__ = ["DOCUMENT", "Knows", "Management"]

DOCUMENT = Path(__file__).with_name("gateway.yaml")
"""The OpenAPI document; spec/gateway.yaml is the same file."""

Knows: TypeAlias = "Callable[[Upgrade], Principal | None]"
"""Tells at once who has sent a request: `restsock.auth.BearerTokens`, or a plain function."""


class Management(OperationAPI[Call]):
    """Serves the management API of a gateway, as its OpenAPI document describes it. A `Handler`.

        tokens = BearerTokens(file="management.json")
        async with restsock.listen("127.0.0.1", 9000, endpoints={"/": Management(gateway, tokens)}):
            ...

    Serve it on a port of its own, next to the channels (`{**gateway, "/manage": ...}`, with
    `path="/manage"`), or to a peer (`restsock.listen(app=...)`, `restsock.connect(app=...)`): then
    a program behind NAT can send to browsers, over the connection that it has dialed.

    The claim `scopes` of a principal says what it may do: `"read"`, `"write"`. Without `auth`, the
    principal is that of the peer's connection. Requests without a principal are refused.

    Args:
        gateway: The gateway.
        auth: Authenticates requests.
        path: The path that it is under.
        wrong_response: What to do with an answer that breaks the document; see `OpenAPIHandler`.

    Raises:
        TypeError: This cannot authenticate without waiting. ValueError: The path does not begin
        with a slash.
    """

    def __init__(
        self,
        gateway: Gateway,
        auth: Knows | None = None,
        *,
        path: str = "/",
        wrong_response: str = "log",
    ) -> None:
        if auth is not None and not callable(auth):
            raise TypeError(f"auth has to be a function, not {type(auth).__name__}")
        if auth is not None and is_async(auth):
            raise TypeError("auth of a management API has to tell at once who somebody is")
        if not path.startswith("/"):
            raise ValueError(f"a path begins with /, unlike {path!r}")
        prefix = path.rstrip("/")
        mapping = load(DOCUMENT, check=False).mapping  # the tests have checked it
        document = load({**mapping, "servers": [{"url": prefix or "/"}]}, check=False)
        super().__init__(
            document,
            OPERATIONS,
            lambda request, variables: Call(request, variables, gateway),
            _Guard(document, auth),
            wrong_response=wrong_response,
            publish=f"{prefix}/openapi.json",
        )


class _Guard(Guard):
    def __init__(self, document: Document, auth: Knows | None) -> None:
        super().__init__(
            document,
            realm="restsock gateway",
            log=logging.getLogger("restsock.gateway.management"),
            audit=logging.getLogger("restsock.gateway.audit"),
        )
        self._auth = auth

    def authenticate(self, exchange: Exchange) -> Principal | None:
        connection = exchange.connection
        assert connection is not None
        if self._auth is None:
            return connection.principal
        return self._auth(upgrade_of(exchange.request, None, connection.peer))

    def check_source(self, request: RequestHead) -> None:
        if values_of(request.headers, b"origin"):
            raise Refused(403, "Pages may not use the management API.")
