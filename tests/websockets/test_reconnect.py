"""When to dial again, as configurations of others say it."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.websockets import Reconnect


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Reconnect()),
        (
            {"initial": 2, "factor": 3, "cap": 9, "tries": 4, "jitter": False},
            Reconnect(initial=2, factor=3, cap=9, tries=4, jitter=False),
        ),
        # Tremor's
        ({"interval_ms": 500}, Reconnect(initial=0.5, factor=1.5)),
        (
            {"retry": {"interval_ms": 10_000, "growth_rate": 2, "max_retries": 7}},
            Reconnect(initial=10, factor=2, tries=7),
        ),
        (
            {"interval_ms": 90_000, "randomized": False},
            Reconnect(initial=90, factor=1.5, cap=90, jitter=False),
        ),
        # StreamKit's
        ({"enabled": True}, Reconnect(tries=10)),
        (
            {
                "enabled": True,
                "max_retries": 0,
                "initial_interval": "1s",
                "max_interval": "1m30s",
                "multiplier": 2.5,
            },
            Reconnect(initial=1, factor=2.5, cap=90, tries=0),
        ),
        ({"initial_interval": 250_000_000}, Reconnect(initial=0.25, tries=10)),
        ({"initial_interval": "1.5s", "max_retries": 2}, Reconnect(initial=1.5, tries=2)),
        ({"enabled": False}, Reconnect(tries=1)),
    ],
)
def test_all_three_forms(config: dict[str, Any], expected: Reconnect) -> None:
    found = Reconnect.from_mapping(config)
    assert found.initial == pytest.approx(expected.initial)
    assert (found.factor, found.cap, found.tries) == (
        expected.factor,
        expected.cap,
        expected.tries,
    )
    assert (found.jitter, found.give_up) == (expected.jitter, "never")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"intervall_ms": 5}, "did you mean 'interval_ms'"),
        ({"interval_ms": 5, "multiplier": 2}, "different forms"),
        ({"growth_rate": 2}, "interval_ms"),
        ({"interval_ms": "5"}, "interval_ms"),
        ({"interval_ms": True}, "interval_ms"),
        ({"interval_ms": 0}, "initial"),
        ({"interval_ms": 5, "max_retries": -1}, "max_retries"),
        ({"interval_ms": 5, "randomized": 1}, "randomized"),
        ({"initial_interval": "1"}, "initial_interval"),
        ({"initial_interval": "1s "}, "initial_interval"),
        ({"initial_interval": 1.5}, "initial_interval"),
        ({"max_interval": "x1s"}, "max_interval"),
        ({"multiplier": 0.5}, "factor"),
        ({"jitter": "no"}, "jitter"),
        ({"interval_ms": 10**400}, "interval_ms"),
        ({"growth_rate": 10**400, "interval_ms": 5}, "growth_rate"),
        ({"initial_interval": 10**400}, "initial_interval"),
        ({"max_interval": "9" * 400 + "h"}, "max_interval"),
        ({"tries": 1.5}, "tries"),
    ],
)
def test_what_is_not_valid_is_refused_by_its_name(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Reconnect.from_mapping(config)


@pytest.mark.parametrize("factor", [1, 2.0, 1e6, 1e300, 10**6])
def test_a_wait_has_a_length_however_often_it_has_failed(factor: float) -> None:
    reconnect = Reconnect(factor=factor, jitter=False)
    waits = [reconnect.delay(attempt, 0.5) for attempt in (1, 2, 3, 100, 10**9)]
    assert waits[0] == 1
    assert waits == sorted(waits)
    assert waits[-1] == (1 if factor == 1 else 60)


def test_only_a_mapping_is_read() -> None:
    with pytest.raises(TypeError):
        Reconnect.from_mapping("none")  # type: ignore[arg-type]
