"""Operations that tell how the hub is: for people, load balancers and Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from restsock.connection import Response
from restsock.gateway.management import answer_json, answer_text

from ._call import Call, OperationFunction
from ._interface import HubLike

__all__ = ["OPERATIONS"]

# The text format of Prometheus.
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


async def _liveness(call: Call) -> Response:
    return answer_text("ok\n")


async def _readiness(call: Call) -> Response:
    ready = not call.hub.closing and call.hub.server.health().ok
    return answer_text("ok\n" if ready else "not ready\n", 200 if ready else 503)


async def _status(call: Call) -> Response:
    return answer_json(call.hub.status())


async def _metrics(call: Call) -> Response:
    return answer_text("".join(_lines(call.hub)), kind=_METRICS)


def _lines(hub: HubLike) -> Iterator[str]:
    """Names as those of `restsock.instruments.prometheus`, where both have the number.

    No label has values that strangers choose.
    """
    found = hub.statistics()
    traffic = found.traffic
    yield from _metric("hub_uptime_seconds", "gauge", {"": hub.uptime})
    yield from _metric("connections", "gauge", {"": found.connections})
    yield from _metric("handshakes_total", "counter", {"": found.handshakes})
    yield from _metric("handshakes_failed_total", "counter", {"": found.handshakes_failed})
    yield from _metric("waiting_requests", "gauge", {"": found.waiting})
    yield from _metric("streams", "gauge", {"": traffic.open_streams})
    yield from _metric("sent_bytes_total", "counter", {"": traffic.bytes_sent})
    yield from _metric("received_bytes_total", "counter", {"": traffic.bytes_received})
    ended = {f'direction="sent",outcome="{kind}"': n for kind, n in traffic.sent.items()}
    ended |= {f'direction="received",outcome="{kind}"': n for kind, n in traffic.received.items()}
    yield from _metric("requests_total", "counter", ended)
    yield from _metric("http_clients", "gauge", {"": found.http_clients})
    yield from _metric("http_clients_opened_total", "counter", {"": found.http_clients_total})
    plain = found.http_traffic
    yield from _metric("http_requests_in_flight", "gauge", {"": plain.open_streams})
    ended = {f'outcome="{kind}"': n for kind, n in plain.received.items()}
    yield from _metric("http_requests_total", "counter", ended)
    limits = {f'limit="{name}"': number for name, number in found.limits.items()}
    yield from _metric("limits_hit_total", "counter", limits)
    total = hub.passed.total
    by_class = {f'status="{kind}"': number for kind, number in total.by_class.items()}
    yield from _metric("ingress_requests_total", "counter", by_class)
    yield from _metric("ingress_seconds_total", "counter", {"": total.seconds})
    yield from _metric("ingress_received_bytes_total", "counter", {"": total.received})
    yield from _metric("ingress_sent_bytes_total", "counter", {"": total.sent})
    channels = hub.gateway.statistics().channels.items()
    names = {path: f'channel="{_label(path)}"' for path, _ in channels}
    active = {names[path]: each.sessions_active for path, each in channels}
    yield from _metric("gateway_sessions", "gauge", active)
    opened = {names[path]: each.sessions_total for path, each in channels}
    yield from _metric("gateway_sessions_opened_total", "counter", opened)
    calls = {
        f'{names[path]},outcome="{outcome}"': number
        for path, each in channels
        for outcome, number in each.calls.items()
    }
    yield from _metric("gateway_calls_total", "counter", calls)


def _label(text: str) -> str:
    """The value of a label, as Prometheus escapes it."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _metric(name: str, kind: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# TYPE restsock_{name} {kind}\n"
    for labels, value in values.items():
        yield f"restsock_{name}{{{labels}}} {value}\n" if labels else f"restsock_{name} {value}\n"


OPERATIONS: dict[str, OperationFunction] = {
    "getLiveness": _liveness,
    "getReadiness": _readiness,
    "getStatus": _status,
    "getMetrics": _metrics,
}
