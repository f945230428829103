"""`AdminAPI`: the admin API as a `Handler`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from restsock.apps import Responder
from restsock.auth import Refused
from restsock.connection import ignore
from restsock.openapi import OpenAPIHandler, load

from ._guard import Guard
from ._operations import Operations

if TYPE_CHECKING:
    from restsock.connection import Exchange

    from ._interface import HubLike

__all__ = ["DOCUMENT", "AdminAPI"]

DOCUMENT = Path(__file__).with_name("hub.yaml")
"""The OpenAPI document; spec/hub.yaml is the same file."""


class AdminAPI:
    """Answers the admin API of a hub, as its OpenAPI document has it.

    Args:
        hub: whose it is.
        wrong_response: what is done with an answer that breaks the document; see `OpenAPIHandler`.
    """

    def __init__(self, hub: HubLike, *, wrong_response: str = "log") -> None:
        document = load(DOCUMENT, check=False)  # the tests have checked it
        self._guard = Guard(hub, document)
        self._inner = OpenAPIHandler(
            Operations(hub, document).answer,
            document,
            responses=True,
            wrong_response=wrong_response,
            threads=2,
            interface="function",
        )

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        try:
            self._guard.check(exchange)
        except Refused as exc:
            exchange.observer = ignore
            headers = [*exc.headers, (b"Cache-Control", b"no-store")]
            Responder(exchange, exchange.request.method).problem(exc.status, exc.text, headers)
        else:
            self._inner.handle(exchange)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Runs what answers; see `Handler`."""
        return self._inner.running()
