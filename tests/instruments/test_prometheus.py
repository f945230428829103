"""What Prometheus gets to see, in its own format, after traffic over a real socket."""

from __future__ import annotations

import sys
import threading
import urllib.request
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

import restsock
from restsock.connection import Closed
from restsock.instruments.prometheus import PrometheusInstrument
from restsock.testing import connected_pair
from tests.instruments.recorder import app
from tests.plain_client import GET, dial
from tests.waiting import until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(registry: CollectorRegistry) -> Samples:
    """Name and sorted labels -> value, from the exposition as a scrape gets it."""
    return parsed(generate_latest(registry).decode())


def parsed(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return samples(registry)[name, tuple(sorted(labels.items()))]


async def test_the_exposition_after_mixed_traffic() -> None:
    here, there = CollectorRegistry(), CollectorRegistry()
    listening = PrometheusInstrument(registry=there)
    dialing = PrometheusInstrument(registry=here)
    async with restsock.listen("127.0.0.1", 0, app=app, instrument=listening) as server:
        async with restsock.connect(server.url, name="edge-1", instrument=dialing) as client:
            for status in (200, 204, 404, 404, 500):
                await client.request("GET", f"/status/{status}")
            with pytest.raises(restsock.RequestTimeout):
                await client.request("GET", "/hang", timeout=0.05)
            assert value(here, "restsock_connections") == 1
            assert value(there, "restsock_connections") == 1
            assert value(here, "restsock_streams", direction="sent") == 0
            await until(lambda: not value(there, "restsock_streams", direction="received"))
            traffic = client.statistics().traffic
            assert value(here, "restsock_sent_bytes_total") == traffic.bytes_sent
            assert value(here, "restsock_received_bytes_total") == traffic.bytes_received
    for registry, direction in ((here, "sent"), (there, "received")):
        found = samples(registry)

        def got(name: str, found: Samples = found, **labels: str) -> float:
            return found[f"restsock_{name}", tuple(sorted(labels.items()))]

        assert got("requests_total", direction=direction, outcome="answered") == 5
        assert got("requests_total", direction=direction, outcome="cancelled") == 1
        assert got("requests_total", direction=direction, outcome="lost") == 0
        assert got("responses_total", direction=direction, status="2xx") == 2
        assert got("responses_total", direction=direction, status="4xx") == 2
        assert got("responses_total", direction=direction, status="5xx") == 1
        assert got("responses_total", direction=direction, status="none") == 1
        assert got("request_seconds_count", direction=direction) == 6
        assert 0.05 <= got("request_seconds_sum", direction=direction) < 10
        assert got("request_seconds_bucket", direction=direction, le="+Inf") == 6
        assert got("connections") == 0
        assert got("connections_opened_total") == 1
        assert [key for key in found if "closed_total" in key[0]] == [
            ("restsock_connections_closed_total", (("code", "1000"),))
        ]
        assert got("round_trip_seconds_count") >= 1
        assert got("handshakes_failed_total", side="listener") == 0
        assert got("reconnects_total") == 0


async def test_types_units_and_help_are_as_the_conventions_say() -> None:
    registry = CollectorRegistry()
    PrometheusInstrument(registry=registry)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert families
    for family in families:
        assert family.documentation
        assert family.name.startswith("restsock_")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        assert family.type in ("counter", "gauge", "histogram")


async def test_a_scrape_over_http_while_threads_ask() -> None:
    registry = CollectorRegistry()
    httpd, thread = start_http_server(0, "127.0.0.1", registry=registry)
    port = httpd.server_port
    instrument = PrometheusInstrument(registry=registry)
    number, each = 4, 25

    def scrape() -> Samples:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return parsed(answer.read().decode())

    def work() -> None:
        with (
            restsock.sync.listen("127.0.0.1", 0, app=app, instrument=instrument) as server,
            restsock.sync.connect(server.url, instrument=instrument) as client,
        ):

            def ask() -> None:
                for _ in range(each):
                    client.request("GET", "/", timeout=10)

            threads = [threading.Thread(target=ask) for _ in range(number)]
            for one in threads:
                one.start()
            scrape()
            for one in threads:
                one.join()

    try:
        await trio.to_thread.run_sync(work)
        found = await trio.to_thread.run_sync(scrape)
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
    for direction in ("sent", "received"):
        labels = (("direction", direction), ("outcome", "answered"))
        assert found["restsock_requests_total", labels] == number * each
        assert found["restsock_streams", (("direction", direction),)] == 0
    assert found["restsock_connections", ()] == 0


async def test_no_word_of_a_peer_is_a_label(autojump_clock: MockClock) -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry)
    names = ("edge-SECRET", 'x"} 1\nforged 2')
    for name in names[:1]:
        async with connected_pair(app_b=app, name=name, instrument_b=instrument) as pair:
            await pair.dialer.request("SECRET", "/SECRET?SECRET", headers={"SECRET": "SECRET"})
            pair.dialer.close_soon(4321, "SECRET")
    assert "SECRET" not in generate_latest(registry).decode()
    assert value(registry, "restsock_connections_closed_total", code="other") == 1


async def test_peers_that_were_asked_for_are_told_apart(autojump_clock: MockClock) -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry, peers=["edge-1", "edge-2"])
    for name in ("edge-1", "edge-3", None):
        async with connected_pair(app_b=app, name=name, instrument_b=instrument) as pair:
            await pair.dialer.request("GET", "/")
    peers = {dict(labels).get("peer") for name, labels in samples(registry)} - {None}
    assert peers == {"edge-1", "other"}
    received = {"direction": "received", "outcome": "answered"}
    assert value(registry, "restsock_requests_total", peer="edge-1", **received) == 1
    assert value(registry, "restsock_requests_total", peer="other", **received) == 2
    assert value(registry, "restsock_connections", peer="other") == 0


def test_a_second_one_needs_a_registry_or_prefix_of_its_own() -> None:
    registry = CollectorRegistry()
    PrometheusInstrument(registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusInstrument(registry=registry)
    PrometheusInstrument(registry=registry, prefix="edge")
    assert value(registry, "edge_connections") == 0
    with pytest.raises(TypeError):
        PrometheusInstrument(registry=CollectorRegistry(), peers="edge-1")


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (0, "none"),
        (101, "1xx"),
        (200, "2xx"),
        (399, "3xx"),
        (404, "4xx"),
        (599, "5xx"),
        (600, "other"),
        (999, "other"),
    ],
)
def test_classes_of_statuses(status: int, label: str) -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry)
    connection: Any = None
    instrument.stream_opened(connection, "sent")
    instrument.stream_closed(connection, "sent", "answered", status, 0.1)
    assert value(registry, "restsock_responses_total", direction="sent", status=label) == 1


@pytest.mark.parametrize(("code", "label"), [(1000, "1000"), (4003, "4003"), (4999, "other")])
def test_close_codes_that_nobody_knows_are_one(code: int, label: str) -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry)
    connection: Any = None
    instrument.connection_opened(connection)
    instrument.connection_closed(connection, Closed(False, code, "", by_peer=True))
    assert value(registry, "restsock_connections_closed_total", code=label) == 1


def test_trouble_and_queues() -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry)
    connection: Any = None
    instrument.error(connection, "protocol")
    instrument.limit_hit("max_streams")
    instrument.limit_hit("max_streams")
    instrument.queue("workers", 7)
    instrument.reconnected(connection)
    instrument.handshake_failed("dialer")
    assert value(registry, "restsock_errors_total", kind="protocol") == 1
    assert value(registry, "restsock_limits_hit_total", limit="max_streams") == 2
    assert value(registry, "restsock_queue_depth", queue="workers") == 7
    assert value(registry, "restsock_reconnects_total") == 1
    assert value(registry, "restsock_handshakes_failed_total", side="dialer") == 1


def test_neither_library_is_loaded_unless_it_is_used() -> None:
    assert "restsock" in sys.modules  # what test_layers shows for `import restsock`
    import restsock.instruments

    assert not hasattr(restsock.instruments, "PrometheusInstrument")


async def test_clients_of_plain_http() -> None:
    registry = CollectorRegistry()
    instrument = PrometheusInstrument(registry=registry)
    async with restsock.listen(
        "127.0.0.1", 0, endpoints={"/": app}, instrument=instrument
    ) as server:
        async with dial(server) as one, dial(server) as other:
            for target in ("/", "/status/404", "/fail"):
                await one.get(target)
            await other.send(GET.replace(b"/ ", b"/hang "))
            await until(lambda: value(registry, "restsock_http_requests_in_flight"))
            assert value(registry, "restsock_http_clients") == 2
        await until(lambda: not value(registry, "restsock_http_clients"))
        found = samples(registry)

    def got(name: str, **labels: str) -> float:
        return found[f"restsock_{name}", tuple(sorted(labels.items()))]

    assert got("http_clients_opened_total") == 2
    assert got("http_requests_in_flight") == 0
    assert got("http_requests_total", outcome="answered") == 3
    assert got("http_requests_total", outcome="lost") == 1
    assert got("http_requests_total", outcome="timed_out") == 0
    for status in ("2xx", "4xx", "5xx", "none"):
        assert got("http_responses_total", status=status) == 1
    assert got("http_request_seconds_count") == 4
    # All else is about peers.
    assert got("connections") == got("connections_opened_total") == 0
    assert got("requests_total", direction="received", outcome="answered") == 0
