"""Durations as Go writes them."""

from __future__ import annotations

from typing import Any

import pytest

from restsock._go_duration import go_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1),
        ("1m30s", 90),
        ("1h2m3s", 3723),
        (".5h", 1800),
        ("1.5s", 1.5),
        ("3\u00b5s2us5ns", 5.005e-6),
        ("250ms", 0.25),
        ("0s", 0),
        (1_000_000_000, 1),
        (0, 0),
        (2**63 - 1, 9223372036.854775),
        ("2562047h", 9223369200),
    ],
)
def test_seconds(value: Any, seconds: float) -> None:
    assert go_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    ["", "1", "s", "1s ", " 1s", "-1s", "1S", "1.s", "1s2", "1d", "\u0661s", 1.5, True, None, []],
)
def test_what_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        go_duration(value)


@pytest.mark.parametrize("value", [2**63, 10**400, -(10**400), "9" * 400 + "s", "2562048h"])
def test_more_than_go_has_room_for(value: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        go_duration(value)
