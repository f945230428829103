"""Each metric of messages counts what it says, for Prometheus and for OpenTelemetry."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

import restsock
import restsock.messaging.aio
import restsock.messaging.sync
from restsock import HandshakeError
from restsock.instruments import _messaging
from restsock.instruments.opentelemetry import MessagingMetrics
from restsock.instruments.prometheus import MessagingCollector
from restsock.messaging import (
    AskTimeout,
    InvalidMessage,
    Message,
    Messaging,
    MessagingOptions,
    Raw,
    Semstreams,
)
from restsock.websockets import Reconnect
from tests.covered import _claims_are_true as _claims_are_true
from tests.covered import claims, note
from tests.messaging.dialects.peers import client, data, served
from tests.messaging.test_connections import joined
from tests.waiting import until

QUICK = restsock.Backoff(initial=0.01, cap=0.02, tries=3)


def shows(*names: str) -> pytest.MarkDecorator:
    """Claims metrics: the test has looked at each of them."""
    return pytest.mark.covers(*(f"metric {name}" for name in names))


class Shown:
    """What both instruments show of a messaging."""

    def __init__(self, messaging: Any) -> None:
        names: Any = {"channels": ["a"], "methods": ["status", "slow"]}
        self._collector = MessagingCollector(messaging.statistics, **names)
        self._reader = InMemoryMetricReader()
        self._provider = MeterProvider([self._reader])
        MessagingMetrics(messaging, meter_provider=self._provider, **names)

    def close(self) -> None:
        self._provider.shutdown()

    def __getitem__(self, name: str) -> dict[str, float]:
        """The values of a metric by its label, which are the same in both."""
        note(f"metric {name}")
        prometheus = self._in_prometheus(name)
        assert prometheus == self._in_opentelemetry(name)
        return prometheus

    def _in_prometheus(self, name: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._collector.exposition().decode()):
            for sample in family.samples:
                if sample.name in (
                    f"restsock_messaging_{name}",
                    f"restsock_messaging_{name}_total",
                ):
                    found["".join(sample.labels.values())] = sample.value
        return found

    def points(self, name: str) -> dict[str, Any]:
        """The points of a metric of OpenTelemetry, by its label."""
        read = self._reader.get_metrics_data()
        resources = () if read is None else read.resource_metrics
        scopes = itertools.chain(*(one.scope_metrics for one in resources))
        return {
            "".join(map(str, (point.attributes or {}).values())): point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == f"restsock.messaging.{name}"
            for point in metric.data.data_points
        }

    def _in_opentelemetry(self, name: str) -> dict[str, float]:
        return {label: point.value for label, point in self.points(name).items()}


@pytest.fixture
def shown() -> Any:
    made: list[Shown] = []

    def make(messaging: Any) -> Shown:
        made.append(Shown(messaging))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[[Any], Shown]


@shows("messages_received", "messages_published", "messages_sent", "messages_acknowledged")
@shows("messages_redelivered", "messages_dead", "nacks_sent", "nacks_received")
@shows("connections_active", "connections")
async def test_messages_that_are_handled_and_those_that_are_not(shown: Make) -> None:
    dialer, listener = Messaging(options=MessagingOptions(redelivery=QUICK)), Messaging()
    failures = [RuntimeError("now")]

    @listener.on("*")
    async def take(message: Message) -> None:
        if message.body == "never":
            raise InvalidMessage("never")
        if failures:
            raise failures.pop()

    sent, received = shown(dialer), shown(listener)
    async with joined(dialer, listener):
        for channel, body in (("a", 1), ("a", 2), ("b", 3), ("a", "never")):
            to = dialer.channel(channel, delivery="at_least_once")
            await to.send(body)
            with trio.fail_after(20):
                await to.drain()
        assert received["messages_received"] == {"a": 4, "other": 1}
        assert received["messages_published"] == {"a": 2, "other": 1}
        assert sent["messages_sent"] == {"a": 4, "other": 1}
        assert sent["messages_acknowledged"] == {"a": 2, "other": 1}
        assert sent["messages_redelivered"] == {"": 1}
        assert sent["messages_dead"] == {"refused": 1}
        assert sum(received["nacks_sent"].values()) == 2
        assert sent["nacks_received"] == {"": 2}
        assert received["connections_active"] == received["connections"] == {"": 1}
    assert received["connections_active"] == {"": 0}


@shows("outbox_messages", "outbox_bytes", "messages_dropped")
async def test_messages_that_wait_or_have_no_room(shown: Make) -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=1))
    found = shown(messaging)
    async with messaging:
        assert found["outbox_messages"] == found["outbox_bytes"] == {"": 0}
        await messaging.channel("a", delivery="at_least_once", to="away").send("x" * 100)
        assert found["outbox_messages"] == {"": 1}
        assert found["outbox_bytes"][""] > 100
        for _ in range(3):
            await messaging.channel("a", to="away").send(1)
        assert found["messages_dropped"] == {"drop_oldest": 2}


@shows("requests_sent", "requests_received", "replies_received", "replies_late")
@shows("request_timeouts")
async def test_requests(shown: Make) -> None:
    dialer, listener = Messaging(), Messaging()
    go = trio.Event()

    @dialer.method("slow")
    async def slow(request: Any) -> int:
        await go.wait()
        return 1

    asking, asked = shown(listener), shown(dialer)
    async with joined(dialer, listener):
        await until(lambda: len(listener.sessions))
        [session] = listener.sessions
        await session.ask("status")
        with pytest.raises(AskTimeout):
            await session.ask("slow", timeout=0.05)
        go.set()
        await until(lambda: asking["replies_late"] == {"": 1})
        assert asking["requests_sent"] == {"status": 1, "slow": 1}
        assert asked["requests_received"] == {"status": 1, "slow": 1}
        assert asking["request_timeouts"] == {"": 1}
        assert asking["replies_received"] == {"ok": 1}
        points = asking.points("request_duration")
        assert {name: point.count for name, point in points.items()} == {"status": 1, "slow": 1}
        assert 0.05 <= points["slow"].sum < 20
        assert points["slow"].explicit_bounds == _messaging.SECONDS
        counts = asking._in_prometheus("request_duration_seconds_count")
        assert counts == {"status": 1, "slow": 1}


@asynccontextmanager
async def _foreign(messaging: Messaging) -> AsyncIterator[Any]:
    endpoint = messaging.endpoint(Semstreams(channel="a"))
    async with served(messaging, endpoint) as server, client(server) as peer:
        yield peer


@shows("queue_depth", "queue_utilization", "slow_sent", "slow_received", "errors")
@shows("messages_duplicate")
async def test_foreign_peers(shown: Make) -> None:
    messaging = Messaging(options=MessagingOptions(queue_messages=5))
    found = shown(messaging)
    go = trio.Event()

    @messaging.on("a")
    async def take(message: Message) -> None:
        await go.wait()

    async with _foreign(messaging) as peer:
        await peer.send("{")
        await peer.send_json({"type": "slow", "payload": {"utilization": 0.9}})
        for number in range(5):
            await peer.send_json(data(number, id=f"msg-1-{number}"))
        await until(lambda: found["queue_depth"] == {"": 4})
        assert found["queue_utilization"] == {"": 0.8}
        assert found["slow_sent"] == {"": 1}
        assert found["slow_received"] == {"": 1}
        assert found["errors"] == {"parse_error": 1}
        go.set()
        await peer.send_json(data(0, id="msg-1-0"))
        await until(lambda: found["messages_duplicate"] == {"": 1})


@shows("reconnect_attempts")
async def test_dialing_again(shown: Make) -> None:
    messaging = Messaging()
    found = shown(messaging)
    async with messaging:
        with pytest.raises(HandshakeError):
            await messaging.dial(
                "ws://127.0.0.1:1/",
                Raw(),
                reconnect=Reconnect(initial=0.01, cap=0.01, tries=3),
                proxy=False,
            )
        assert found["reconnect_attempts"] == {"": 2}


def test_each_metric_is_covered_by_a_test() -> None:
    assert {f"metric {metric.name}" for metric in _messaging.METRICS} == claims("instruments")


async def test_before_it_is_open_nothing_is_shown(shown: Make) -> None:
    found = shown(Messaging())
    assert found.points("messages_sent") == {}
    with pytest.raises(TypeError, match="lists of names"):
        MessagingMetrics(Messaging(), channels="a")


def test_in_threads_and_on_asyncio(shown: Make) -> None:
    with restsock.messaging.sync.Messaging() as messaging:
        found = shown(messaging)
        messaging.channel("a", delivery="at_least_once", to="away").send(1)
        assert found["outbox_messages"] == {"": 1}

    async def main() -> None:
        async with restsock.messaging.aio.Messaging() as messaging:
            found = shown(messaging)
            await messaging.channel("a", delivery="at_least_once", to="away").send(1)
            assert found["outbox_messages"] == {"": 1}

    asyncio.run(main())


async def test_a_hook_that_fails_does_not_affect_others() -> None:
    dialer, listener = Messaging(), Messaging()
    told: list[tuple[str, float]] = []

    @listener.on_request
    def fail(method: str, seconds: float) -> None:
        raise RuntimeError

    listener.on_request(lambda method, seconds: told.append((method, seconds)))
    async with joined(dialer, listener):
        await until(lambda: len(listener.sessions))
        [session] = listener.sessions
        assert await session.ask("status")
    [(method, seconds)] = told
    assert method == "status"
    assert seconds >= 0


async def test_it_is_collected_by_another_thread(shown: Make) -> None:
    messaging = Messaging()
    found = shown(messaging)
    async with messaging:
        points = await trio.to_thread.run_sync(found.points, "connections_active")
        assert points[""].value == 0
