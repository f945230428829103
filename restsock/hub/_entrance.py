"""`Entrance`: what is behind a port for plain HTTP: channels of the gateway, and the ingress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from restsock.connection import answer, ignore

if TYPE_CHECKING:
    from restsock.connection import Exchange
    from restsock.gateway import Gateway
    from restsock.ingress import Ingress
    from restsock.protocol import RequestHead

__all__ = ["Entrance"]


class Entrance:
    """Gives requests to channels by their path, and all others to the ingress. A `Handler`.

    A host that is a peer's is that peer's alone: there is no channel at it.

    Args:
        gateway: The channels.
        ingress: For all else.
        serves_ingress: Whether requests go to the ingress at all.
    """

    def __init__(self, gateway: Gateway, ingress: Ingress, *, serves_ingress: bool) -> None:
        self._gateway = gateway
        self._ingress = ingress
        self._serves_ingress = serves_ingress

    def handle(self, exchange: Exchange) -> None:
        """Takes over a request; see `Handler`."""
        path = exchange.request.target.partition(b"?")[0].decode("latin-1")
        channel = self._gateway.handler_at(path)
        if channel is not None and not self._is_for_a_peer(exchange.request):
            channel.handle(exchange)
        elif self._serves_ingress:
            self._ingress.handle(exchange)
        else:
            exchange.observer = ignore
            answer(exchange, 404, "There is nothing here.\n")

    def _is_for_a_peer(self, request: RequestHead) -> bool:
        if not self._serves_ingress:
            return False
        fields = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers
        ]
        target = request.target.decode("latin-1")
        return self._ingress.explain("GET", f"http://hub{target}", fields).name is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs both; see `Handler`."""
        async with self._gateway.running(), self._ingress.running():
            yield

    def drain_soon(self, grace: float, code: int, reason: str) -> None:
        """See `Drains`: of the channels. Requests to peers are bounded by the listener."""
        self._gateway.drain_soon(grace, code, reason)

    async def wait_drained(self) -> None:
        """See `Drains`."""
        await self._gateway.wait_drained()
