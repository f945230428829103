"""Memory that levels off is told from memory that goes on growing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.soak.figures import growth

_HELD = {
    "tasks": 9,
    "threads": 4,
    "workers": 8,
    "files": 23,
    "objects": 55_000,
    "blocks": 250_000,
    "mib": 49.6,
}


def process(samples: list[float], **after: float) -> dict[str, Any]:
    return {"before": _HELD, "after": {**_HELD, **after}, "samples": samples}


def test_arenas_that_fill_up_are_no_growth() -> None:
    samples = [62.0 - 8.0 * 0.95**number for number in range(150)]
    assert growth("b", process(samples, mib=50.7, blocks=251_000)) == []


def test_memory_that_goes_on_growing_under_load() -> None:
    samples = [54.0 + number / 12 for number in range(150)]
    assert growth("b", process(samples)) == [
        "b: 56.0 MiB in its first third, 64.4 in its last",
        "b: 60.2 MiB in its second third, 64.4 in its last",
    ]
    late = [54.0 + max(0, number - 75) / 11 for number in range(150)]
    assert growth("b", process(late)) == ["b: 54.0 MiB in its second third, 58.5 in its last"]


@pytest.mark.parametrize(
    ("what", "most"),
    [("mib", 57.6), ("objects", 57_750), ("blocks", 255_000), ("threads", 6), ("tasks", 9)],
)
def test_more_of_it_at_rest(what: str, most: float) -> None:
    assert growth("b", process([], **{what: most})) == []
    (problem,) = growth("b", process([], **{what: most + 1}))
    assert problem.startswith(f"b: {_HELD[what]} ")


def test_a_short_run_is_not_judged_by_memory() -> None:
    more = process([float(number) for number in range(90)], mib=99.0, objects=1e6, blocks=1e6)
    assert growth("b", more, memory=False) == []
    assert len(growth("b", more)) == 5
