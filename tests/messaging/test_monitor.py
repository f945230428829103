"""Health: what counts as ill, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.messaging import Messaging, MessagingHealth
from restsock.messaging._monitor import Monitor
from tests.messaging.links import ForeignLink


def health(monitor: Monitor, now: float, **more: Any) -> MessagingHealth:
    known = {"running": True, "active": 0, "total": 0, "depth": 0, "utilization": 0.0}
    return monitor.health(now, **(known | more))


def test_nobody_for_five_minutes() -> None:
    monitor = Monitor()
    assert health(monitor, 1000.0).healthy  # nobody is waited for
    monitor.note_listening(1000.0)
    assert health(monitor, 1299.0).healthy
    assert health(monitor, 1300.0).status == "nobody has been connected for 300 s"
    monitor.note_connected(dialed=False)
    assert health(monitor, 2000.0).healthy
    monitor.note_alone(2000.0)
    assert health(monitor, 2299.0).healthy
    assert not health(monitor, 2300.0).healthy


def test_who_dials_is_not_lonely_but_gives_up() -> None:
    monitor = Monitor()
    monitor.note_dialing(again=False)
    monitor.note_alone(0.0)
    assert health(monitor, 1000.0).healthy
    monitor.note_gave_up("refused")
    assert health(monitor, 1000.0).status == "out of retries: refused"
    monitor.note_connected(dialed=False)
    assert not health(monitor, 1000.0)
    monitor.note_connected(dialed=True)
    assert health(monitor, 1000.0)


def test_a_queue_that_is_full_for_half_a_minute() -> None:
    monitor = Monitor()
    for second in range(30):
        monitor.sample(float(second), 0, 1.0)
        assert health(monitor, float(second)).healthy
    assert health(monitor, 30.0).status == "the queue has been full for 30 s"
    monitor.sample(30.0, 0, 0.9)
    assert health(monitor, 100.0).healthy


def test_details() -> None:
    monitor = Monitor()
    assert health(monitor, 0.0).details == {
        "mode": "none",
        "connections": {"active": 0, "total": 0},
        "queue": {"depth": 0, "utilization": 0.0},
        "throughput": 0.0,
    }
    monitor.note_listening(0.0)
    assert health(monitor, 0.0).details["mode"] == "server"
    monitor.note_dialing(again=False)
    monitor.note_dialing(again=True)
    assert monitor.redials == 1
    for second in range(121):
        monitor.sample(float(second), 5 * second, 0.0)
    found = health(monitor, 0.0, active=2, total=3, depth=4, utilization=0.5)
    assert found.to_json() == {
        "healthy": True,
        "status": "ok",
        "details": {
            "mode": "both",
            "connections": {"active": 2, "total": 3},
            "queue": {"depth": 4, "utilization": 0.5},
            "throughput": 5.0,
        },
    }
    client = Monitor()
    client.note_dialing(again=False)
    assert health(client, 0.0).details["mode"] == "client"
    assert health(client, 0.0, running=False).status == "the messaging is not open"


async def test_of_a_messaging(autojump_clock: Any) -> None:
    import trio

    async with Messaging() as messaging:
        messaging.note_listening()
        messaging.note_dialing()
        messaging.note_dialing(again=True)
        messaging.note_error("connect_error")
        await trio.sleep(301)
        assert "nobody" in messaging.health().status
        link = ForeignLink(dialed=True)
        link.session = messaging.attach(link)
        assert messaging.health()
        with pytest.raises(ValueError, match="already"):
            messaging.attach(link)
        messaging.note_gave_up("refused")
        assert "refused" in messaging.health().status
        link.session.detach("over")
        link.session.detach("over")
        statistics = messaging.statistics()
        assert statistics.errors == {"connect_error": 1}
        assert statistics.reconnect_attempts == 1
        assert (statistics.connections_active, statistics.connections_total) == (0, 1)
        assert statistics.queue_utilization == 0.0
