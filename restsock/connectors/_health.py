"""`health_server`: health and metrics of a messaging, for monitoring."""

from __future__ import annotations

from collections.abc import Callable, Collection
from json import dumps
from typing import TYPE_CHECKING

from restsock.connection import Response
from restsock.messaging import MessagingHealth
from restsock.server import Server, listen

if TYPE_CHECKING:
    from restsock.connection import Request
    from restsock.messaging import Messaging

    from ._carrier import Carrier

__all__ = ["health_server"]


def health_server(
    carrier: Carrier, host: str, port: int, *, channels: Collection[str] = ()
) -> Server:
    """A listener that answers `GET /health` and `GET /metrics`; to be entered with `async with`.

    Health is `{"healthy", "status", "details"}` of `Messaging.health`, with status 200, or 503
    while it is not healthy. With ports of NATS, `details` has `{"nats": {"connected"}}`, and it is
    unhealthy without a connection. Metrics are those of `MessagingCollector`, if prometheus-client
    is installed; otherwise the answer is a 404. Neither needs credentials.

    Args:
        carrier: on the same loop.
        host: where to listen.
        port: likewise; 0 is one that the system chooses.
        channels: as of `MessagingCollector`.
    """
    metrics = _metrics_of(carrier.messaging, channels)

    async def answer(request: Request) -> Response:
        path = request.target.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return Response(405, [("Allow", "GET, HEAD")])
        if path == "/health":
            health = _health_of(carrier)
            body = dumps(health.to_json()).encode()
            fields = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
            return Response(200 if health else 503, fields, body)
        if path == "/metrics" and metrics is not None:
            kind, make = metrics
            return Response(200, [("Content-Type", kind)], make())
        return Response(404, [("Content-Type", "text/plain")], b"There are /health and /metrics.\n")

    return listen(host, port, peers=False, endpoints={"/": answer})


def _health_of(carrier: Carrier) -> MessagingHealth:
    health = carrier.messaging.health()
    if carrier.nats is None:
        return health
    connected = carrier.nats.connected
    reasons = [] if health.healthy else [health.status]
    if not connected:
        reasons.append("NATS is not connected")
    return MessagingHealth(
        healthy=not reasons,
        status="; ".join(reasons) or "ok",
        details={**health.details, "nats": {"connected": connected}},
    )


def _metrics_of(
    messaging: Messaging, channels: Collection[str]
) -> tuple[str, Callable[[], bytes]] | None:
    try:
        from restsock.instruments.prometheus import MessagingCollector
    except ImportError:  # prometheus-client is an extra
        return None
    collector = MessagingCollector(messaging.statistics, channels=channels)
    return collector.content_type, collector.exposition
