"""What each request has to show before an API for administrators looks at what it asks for.

In this order: no page of another origin, a principal whose scopes cover the operation, and JSON
where something is to change. None of it depends on where a request comes from: loopback is reached
by pages in browsers, and through peers that forward.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from restsock._limit_log import LimitLog
from restsock.auth import Refused, scopes_of
from restsock.openapi.document import NoSuchMethod, NoSuchPath
from restsock.protocol import values_of

if TYPE_CHECKING:
    from restsock._principal import Principal
    from restsock.connection import Exchange
    from restsock.openapi import Document, Operation
    from restsock.protocol import RequestHead

__all__ = ["Guard"]

_SAFE = (b"GET", b"HEAD")
# A page that is elsewhere cannot send these without asking first, be there a body or not.
_ASKED_FIRST = (b"PUT", b"DELETE")


class Guard(ABC):
    """Lets requests pass, or refuses them.

    Args:
        document: Says which scope an operation needs.
        realm: Of the challenge to those who are not known.
        log: For refusals.
        audit: For what is changed, and by whom.
    """

    def __init__(
        self, document: Document, *, realm: str, log: logging.Logger, audit: logging.Logger
    ) -> None:
        self._document = document
        self._challenge = f'Bearer realm="{realm}"'
        self._audit = audit
        self._limit_log = LimitLog(log)

    @abstractmethod
    def authenticate(self, exchange: Exchange) -> Principal | None:
        """Who has sent a request; `None` or `Refused` if that is not known."""

    @abstractmethod
    def check_source(self, request: RequestHead) -> None:
        """Refuses what a page of another origin sends, by raising `Refused`."""

    def check(self, exchange: Exchange) -> None:
        """Looks at a request.

        Raises:
            Refused: it is not to be answered.
        """
        request = exchange.request
        self.check_source(request)
        operation = self._operation(request)
        scope = self.scope_of(operation)
        if scope is None:
            return
        try:
            principal = self.authenticate(exchange)
            if principal is None:
                raise Refused(401, "A bearer token is needed.", challenge=self._challenge)
            if scope not in scopes_of(principal):
                raise Refused(
                    403,
                    f"This token does not have the scope {scope}.",
                    challenge=f'{self._challenge}, error="insufficient_scope", scope="{scope}"',
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
            self._audit.info(
                "%r: %s %s",
                principal.name,
                request.method.decode("latin-1"),
                target,
                extra={"principal": principal.name, "operation": str(operation)},
            )

    def scope_of(self, operation: Operation | None) -> str | None:
        """The scope that a token needs; `None` where no token is needed."""
        if operation is None:
            return "read"
        security = operation.mapping.get("security", self._document.mapping["security"])
        scopes: list[str] = [scope for one in security for scope in one["bearer"]]
        return scopes[0] if scopes else None

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

    def _operation(self, request: RequestHead) -> Operation | None:
        path = request.target.partition(b"?")[0].decode("latin-1")
        try:
            return self._document.match(request.method.decode("latin-1"), path).operation
        except (NoSuchPath, NoSuchMethod):
            return None  # which is told to those who have a token

    def _check_type(self, request: RequestHead) -> None:
        """A form of a page that is elsewhere cannot send JSON without asking first."""
        kinds = values_of(request.headers, b"content-type")
        kind = kinds[0].partition(b";")[0].strip().lower() if kinds else b""
        if kind != b"application/json" and (kinds or request.method not in _ASKED_FIRST):
            raise Refused(415, "What changes something is sent as application/json.")
