"""When to dial again, as configurations of others say it."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.websockets import Reconnect, _reconnect


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


# A key, beside it what else has to be there, and the pauses before the second and third attempt.
KEYS: dict[str, tuple[dict[str, Any], list[float], int]] = {
    "tremor interval_ms": ({"interval_ms": 500, "randomized": False}, [0.5, 0.75], 0),
    "tremor growth_rate": (
        {"growth_rate": 4, "interval_ms": 500, "randomized": False},
        [0.5, 2.0],
        0,
    ),
    "tremor max_retries": (
        {"max_retries": 3, "interval_ms": 500, "randomized": False},
        [0.5, 0.75],
        3,
    ),
    "tremor randomized": ({"randomized": True, "interval_ms": 500}, [0.25, 0.375], 0),
    "streamkit enabled": ({"enabled": False}, [0.5, 1.0], 1),
    "streamkit initial_interval": ({"initial_interval": "4s"}, [2.0, 4.0], 10),
    "streamkit max_interval": ({"max_interval": "1s"}, [0.5, 0.5], 10),
    "streamkit multiplier": ({"multiplier": 4.0}, [0.5, 2.0], 10),
    "streamkit max_retries": ({"max_retries": 7}, [0.5, 1.0], 7),
}


def test_each_key_of_others_is_covered() -> None:
    assert set(KEYS) == {
        *(f"tremor {key}" for key in _reconnect._TREMOR),
        *(f"streamkit {key}" for key in _reconnect._STREAMKIT),
    }


@pytest.mark.parametrize("key", sorted(KEYS))
def test_each_key_of_others_has_an_effect(key: str) -> None:
    """What a dialer makes of pauses and attempts is shown by `test_dialer.py`."""
    config, pauses, tries = KEYS[key]
    assert key.split()[1] in config
    found = Reconnect.from_mapping(config)
    assert [found.delay(attempt, 0.5) for attempt in (1, 2)] == pytest.approx(pauses)
    assert found.tries == tries


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
