"""Metrics for Prometheus. Needs prometheus-client: `pip install 'restsock[prometheus]'`.

Every label has a fixed set of values: what a peer chooses (a name, a path, a method, a close code
out of thousands) is never one, because each new value is a time series that is kept indefinitely.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from restsock.connection import OUTCOMES, Direction, Instrument, Side
from restsock.protocol import CloseCode

if TYPE_CHECKING:
    from restsock.connection import Closed, Connection

__all__ = ["PrometheusInstrument"]

_DIRECTIONS: tuple[Direction, ...] = ("sent", "received")
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

# Seconds. Through a tunnel on one machine a request takes tenths of a millisecond; the upper end is
# where callers give up.
_REQUEST_BUCKETS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_ROUND_TRIP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# What stands for names that were not listed, and for peers that have none.
_OTHER = "other"


class PrometheusInstrument(Instrument):
    """Counts, measures and times what happens, for Prometheus to fetch.

        from prometheus_client import start_http_server
        from restsock.instruments.prometheus import PrometheusInstrument

        start_http_server(9100)
        restsock.listen("0.0.0.0", 8443, instrument=PrometheusInstrument())

    One instrument may be shared by all clients and servers of a process. A second one needs another
    registry or another prefix. An event costs about a microsecond, a request about five of them.

    Args:
        registry: where the metrics are registered; that of prometheus-client by default.
        prefix: what their names begin with.
        peers: names of peers to tell apart, in a label `peer` of what is counted for each request
            and connection; all others are `"other"` in it. Without any there is no such label.
        buckets: upper bounds of the histogram of requests, in seconds.

    Raises:
        ValueError: the registry has metrics of these names already.
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

        def named(name: str) -> str:
            return f"{prefix}_{name}"

        self._connections = Gauge(
            named("connections"), "Connections that are open now", peer, registry=registry
        )
        self._opened = Counter(
            named("connections_opened_total"),
            "Handshakes that were completed",
            peer,
            registry=registry,
        )
        self._closed = Counter(
            named("connections_closed_total"),
            "Connections that have ended, by close code",
            (*peer, "code"),
            registry=registry,
        )
        self._reconnects = Counter(
            named("reconnects_total"), "Connections that clients have made again", registry=registry
        )
        self._handshakes = Counter(
            named("handshakes_failed_total"),
            "Attempts to connect that came to nothing, by this side's part in them",
            ("side",),
            registry=registry,
        )
        self._requests = Counter(
            named("requests_total"),
            "Requests that are over, by who asked and how they ended",
            (*peer, "direction", "outcome"),
            registry=registry,
        )
        self._responses = Counter(
            named("responses_total"),
            "Requests that are over, by who asked and the class of the response's status",
            (*peer, "direction", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            named("request_seconds"),
            "From the start of a request to its last byte",
            (*peer, "direction"),
            buckets=buckets,
            registry=registry,
        )
        self._streams = Gauge(
            named("streams"), "Requests that are under way", ("direction",), registry=registry
        )
        self._sent = Counter(
            named("sent_bytes_total"), "Bytes handed to sockets, frames and all", registry=registry
        )
        self._received = Counter(
            named("received_bytes_total"), "Bytes that came from sockets", registry=registry
        )
        self._round_trip = Histogram(
            named("round_trip_seconds"),
            "From a ping to its pong",
            buckets=_ROUND_TRIP_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            named("errors_total"), "What went wrong, by kind", ("kind",), registry=registry
        )
        self._limits = Counter(
            named("limits_hit_total"),
            "How often a limit was in the way, by its name",
            ("limit",),
            registry=registry,
        )
        self._queue = Gauge(
            named("queue_depth"), "Requests that wait in a queue", ("queue",), registry=registry
        )
        # Kept, because looking one up by its labels costs more than counting. There are few.
        self._stream_gauges = {d: self._streams.labels(d) for d in _DIRECTIONS}
        self._ended: dict[tuple[str, ...], tuple[Counter, Counter, Histogram]] = {}
        # There from the beginning, so that the first event is a step from 0.
        for side in ("dialer", "listener"):
            self._handshakes.labels(side)
        if not peer:
            for direction in _DIRECTIONS:
                for outcome in OUTCOMES:
                    self._requests.labels(direction, outcome)

    def connection_opened(self, connection: Connection) -> None:
        """See `Instrument`."""
        peer = self._peer(connection)
        (self._connections.labels(*peer) if peer else self._connections).inc()
        (self._opened.labels(*peer) if peer else self._opened).inc()

    def connection_closed(self, connection: Connection, closed: Closed) -> None:
        """See `Instrument`."""
        peer = self._peer(connection)
        (self._connections.labels(*peer) if peer else self._connections).dec()
        self._closed.labels(*peer, _code(closed.code)).inc()

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

    def limit_hit(self, kind: str) -> None:
        """See `Instrument`."""
        self._limits.labels(kind).inc()

    def queue(self, name: str, depth: int) -> None:
        """See `Instrument`."""
        self._queue.labels(name).set(depth)

    def _children(self, *labels: str) -> tuple[Counter, Counter, Histogram]:
        """What counts requests that have ended alike."""
        *peer, direction, outcome, status = labels
        return (
            self._requests.labels(*peer, direction, outcome),
            self._responses.labels(*peer, direction, status),
            self._seconds.labels(*peer, direction),
        )

    def _peer(self, connection: Connection) -> tuple[str, ...]:
        """The value of the label `peer`, if there is that label."""
        if not self._peers:
            return ()
        name = connection.name
        return (name if name in self._peers and name is not None else _OTHER,)


def _code(code: int) -> str:
    """A close code as a label: only those that restsock itself knows."""
    return str(int(code)) if code in _CODES else _OTHER  # an IntEnum has another text on 3.10


_CODES = frozenset(int(code) for code in CloseCode)


def _class(status: int) -> str:
    if status == 0:
        return "none"
    return _CLASSES[status // 100 - 1] if status < 600 else _OTHER
