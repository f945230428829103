"""Metrics for Prometheus. Needs prometheus-client: `pip install 'restsock[prometheus]'`.

Every label has a fixed set of values. What a peer chooses (a name, a path, a method, any close
code) is never a label value, because each new value is a time series that is kept indefinitely.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from restsock.connection import OUTCOMES, Direction, Instrument, Side
from restsock.protocol import CloseCode

from ._prometheus_gateway import GatewayCollector
from ._prometheus_messaging import MessagingCollector

if TYPE_CHECKING:
    from restsock.connection import Closed, Connection

__all__ = ["GatewayCollector", "MessagingCollector", "PrometheusInstrument"]

_DIRECTIONS: tuple[Direction, ...] = ("sent", "received")
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

# Seconds. Through a tunnel on one machine a request takes tenths of a millisecond; at the upper end
# callers give up.
_REQUEST_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_ROUND_TRIP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_M = TypeVar("_M", Counter, Gauge, Histogram)

# The label value for names that were not listed, and for peers without a name.
_OTHER = "other"


class PrometheusInstrument(Instrument):
    """Metrics of clients, servers and gateways for Prometheus.

        from prometheus_client import start_http_server
        from restsock.instruments.prometheus import PrometheusInstrument

        start_http_server(9100)
        restsock.listen("0.0.0.0", 8443, instrument=PrometheusInstrument())

    One instrument may be shared by all clients and servers of a process. A second one needs another
    registry or another prefix. An event costs about a microsecond, a request about five of them.

    Args:
        registry: Where the metrics are registered; by default the registry of prometheus-client.
        prefix: The prefix of the metric names.
        peers: Names of peers with their own values of the label `peer`, which metrics of requests
            and connections then have; others count as `"other"`. Without names, there is no such
            label.
        buckets: Upper bounds of the histogram of requests, in seconds.

    Raises:
        ValueError: The registry already has metrics with these names.
        TypeError: `peers` is a single name, not a list.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = REGISTRY,
        prefix: str = "restsock",
        peers: Collection[str] = (),
        buckets: Sequence[float] = _REQUEST_BUCKETS,
    ) -> None:
        if isinstance(peers, str):
            raise TypeError("peers must be a list of names, not a single name")
        self._peers = frozenset(peers)
        peer = ("peer",) if peers else ()

        def metric(kind: type[_M], name: str, text: str, *labels: str, **options: Any) -> _M:
            return kind(f"{prefix}_{name}", text, labels, registry=registry, **options)

        self._connections = metric(Gauge, "connections", "Connections that are open now", *peer)
        self._opened = metric(
            Counter, "connections_opened_total", "Handshakes that were completed", *peer
        )
        self._closed = metric(
            Counter,
            "connections_closed_total",
            "Connections that have ended, by close code",
            *(*peer, "code"),
        )
        self._reconnects = metric(
            Counter, "reconnects_total", "Connections that clients have made again"
        )
        self._handshakes = metric(
            Counter,
            "handshakes_failed_total",
            "Attempts to connect that came to nothing, by this side's part in them",
            "side",
        )
        self._requests = metric(
            Counter,
            "requests_total",
            "Requests that are over, by who asked and how they ended",
            *(*peer, "direction", "outcome"),
        )
        self._responses = metric(
            Counter,
            "responses_total",
            "Requests that are over, by who asked and the class of the response's status",
            *(*peer, "direction", "status"),
        )
        self._seconds = metric(
            Histogram,
            "request_seconds",
            "From the start of a request to its last byte",
            *(*peer, "direction"),
            buckets=buckets,
        )
        self._streams = metric(Gauge, "streams", "Requests that are under way", "direction")
        self._http_clients = metric(
            Gauge, "http_clients", "Clients of plain HTTP that are connected now"
        )
        self._http_clients_opened = metric(
            Counter, "http_clients_opened_total", "Clients of plain HTTP that have connected"
        )
        self._http_requests = metric(
            Counter,
            "http_requests_total",
            "Requests of clients of plain HTTP that are over, by how they ended",
            "outcome",
        )
        self._http_responses = metric(
            Counter,
            "http_responses_total",
            "Requests of clients of plain HTTP that are over, by the class of the status",
            "status",
        )
        self._http_seconds = metric(
            Histogram,
            "http_request_seconds",
            "From the head of a request of a client of plain HTTP to the last byte",
            buckets=buckets,
        )
        self._http_streams = metric(
            Gauge, "http_requests_in_flight", "Requests of clients of plain HTTP under way"
        )
        self._calls = metric(
            *(Gauge, "gateway_measured_calls_in_flight", "Calls of clients of a gateway under way"),
            *("channel", "key"),
        )
        self._calls_ended = metric(
            Counter,
            "gateway_measured_calls_total",
            "Calls of clients of a gateway that are over, by how they ended and class of status",
            *("channel", "key", "outcome", "status"),
        )
        self._call_seconds = metric(
            Histogram,
            "gateway_measured_call_seconds",
            "From a message of a client of a gateway to its reply",
            *("channel", "key"),
            buckets=buckets,
        )
        self._sent = metric(Counter, "sent_bytes_total", "Bytes handed to sockets, frames and all")
        self._received = metric(Counter, "received_bytes_total", "Bytes that came from sockets")
        self._round_trip = metric(
            Histogram,
            "round_trip_seconds",
            "From a ping to its pong",
            buckets=_ROUND_TRIP_BUCKETS,
        )
        self._errors = metric(Counter, "errors_total", "What went wrong, by kind", "kind")
        self._limits = metric(
            Counter, "limits_hit_total", "How often a limit was in the way, by its name", "limit"
        )
        self._queue = metric(Gauge, "queue_depth", "Requests that wait in a queue", "queue")
        # Kept, because looking one up by its labels is slower than counting. There are few.
        self._stream_gauges = {d: self._streams.labels(d) for d in _DIRECTIONS}
        self._ended: dict[tuple[str, ...], tuple[Counter, Counter, Histogram]] = {}
        # Created at the start, so that the first event is an increase from 0.
        for side in ("dialer", "listener"):
            self._handshakes.labels(side)
        for outcome in OUTCOMES:
            self._http_requests.labels(outcome)
        if not peer:
            for direction in _DIRECTIONS:
                for outcome in OUTCOMES:
                    self._requests.labels(direction, outcome)

    def connection_opened(self, connection: Connection) -> None:
        """See `Instrument`."""
        self._of_peer(self._connections, connection).inc()
        self._of_peer(self._opened, connection).inc()

    def connection_closed(self, connection: Connection, closed: Closed) -> None:
        """See `Instrument`."""
        self._of_peer(self._connections, connection).dec()
        self._closed.labels(*self._peer(connection), _code(closed.code)).inc()

    def reconnected(self, connection: Connection) -> None:
        """See `Instrument`."""
        self._reconnects.inc()

    def handshake_failed(self, side: Side) -> None:
        """See `Instrument`."""
        self._handshakes.labels(side).inc()

    def round_trip(self, connection: Connection, seconds: float) -> None:
        """See `Instrument`."""
        self._round_trip.observe(seconds)

    def bytes_sent(self, connection: Connection, nbytes: int) -> None:
        """See `Instrument`."""
        self._sent.inc(nbytes)

    def bytes_received(self, connection: Connection, nbytes: int) -> None:
        """See `Instrument`."""
        self._received.inc(nbytes)

    def stream_opened(self, connection: Connection, direction: Direction) -> None:
        """See `Instrument`."""
        self._stream_gauges[direction].inc()

    def stream_closed(
        self,
        connection: Connection,
        direction: Direction,
        outcome: str,
        status: int,
        seconds: float,
    ) -> None:
        """See `Instrument`."""
        self._stream_gauges[direction].dec()
        key = (*self._peer(connection), direction, outcome, _class(status))
        children = self._ended.get(key)
        if children is None:
            children = self._ended[key] = self._children(*key)
        requests, responses, times = children
        requests.inc()
        responses.inc()
        times.observe(seconds)

    def error(self, connection: Connection, kind: str) -> None:
        """See `Instrument`."""
        self._errors.labels(kind).inc()

    def http_client_opened(self, connection: Connection) -> None:
        """See `Instrument`."""
        self._http_clients.inc()
        self._http_clients_opened.inc()

    def http_client_closed(self, connection: Connection, closed: Closed) -> None:
        """See `Instrument`."""
        self._http_clients.dec()

    def http_request_opened(self, connection: Connection) -> None:
        """See `Instrument`."""
        self._http_streams.inc()

    def http_request_closed(
        self, connection: Connection, outcome: str, status: int, seconds: float
    ) -> None:
        """See `Instrument`."""
        self._http_streams.dec()
        self._http_requests.labels(outcome).inc()
        self._http_responses.labels(_class(status)).inc()
        self._http_seconds.observe(seconds)

    def call_opened(self, channel: str, key: str) -> None:
        """See `Instrument`."""
        self._calls.labels(channel, key).inc()

    def call_closed(
        self, channel: str, key: str, outcome: str, status: int, seconds: float
    ) -> None:
        """See `Instrument`."""
        self._calls.labels(channel, key).dec()
        self._calls_ended.labels(channel, key, outcome, _class(status)).inc()
        self._call_seconds.labels(channel, key).observe(seconds)

    def limit_hit(self, kind: str) -> None:
        """See `Instrument`."""
        self._limits.labels(kind).inc()

    def queue(self, name: str, depth: int) -> None:
        """See `Instrument`."""
        self._queue.labels(name).set(depth)

    def _children(self, *labels: str) -> tuple[Counter, Counter, Histogram]:
        """The metrics for requests with these labels."""
        *peer, direction, outcome, status = labels
        return (
            self._requests.labels(*peer, direction, outcome),
            self._responses.labels(*peer, direction, status),
            self._seconds.labels(*peer, direction),
        )

    def _of_peer(self, metric: _M, connection: Connection) -> _M:
        peer = self._peer(connection)
        return metric.labels(*peer) if peer else metric

    def _peer(self, connection: Connection) -> tuple[str, ...]:
        """The value of the label `peer`, if there is such a label."""
        if not self._peers:
            return ()
        name = connection.name
        return (name if name in self._peers and name is not None else _OTHER,)


def _code(code: int) -> str:
    """A close code as a label value: only codes that restsock itself knows."""
    return str(int(code)) if code in _CODES else _OTHER  # an IntEnum has another text on 3.10


_CODES = frozenset(int(code) for code in CloseCode)


def _class(status: int) -> str:
    if status == 0:
        return "none"
    return _CLASSES[status // 100 - 1] if status < 600 else _OTHER
