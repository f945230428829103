"""The judge itself: it must see each thing that must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, judge


def judged(tmp_path: Path, *lines: str) -> tuple[dict[str, object], bool]:
    ledger = Ledger(tmp_path / "ledger")
    for line in lines:
        ledger.note(*line.split(" "))
    ledger.close()
    counts = judge(tmp_path / "ledger")
    return {
        k: v for k, v in counts.as_json().items() if v and k not in ("errors", "faults")
    }, counts.clean


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("S c 1", "R 1", "A 1"), {"sent": 1, "answered": 1}),
        (("S c 1", "N 1 x"), {"sent": 1, "not_started": 1}),
        (("S c 1", "M 1 x"), {"sent": 1, "may_have_run": 1}),
        (("S c 1", "R 1", "M 1 x"), {"sent": 1, "may_have_run": 1, "ran": 1}),
        (("S c 1", "R 1", "L 1"), {"sent": 1, "left": 1}),
        (("S c 1", "R 1", "K c"), {"sent": 1, "unknown": 1}),
        (("S c/1 1", "K c"), {"sent": 1, "unknown": 1}),
    ],
)
def test_what_may_be(tmp_path: Path, lines: tuple[str, ...], expected: dict[str, object]) -> None:
    found, clean = judged(tmp_path, *lines)
    assert clean
    assert found == {**expected, "clean": True}


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (("S c 1", "R 1", "R 1", "A 1"), "twice"),
        (("S c 1", "R 1", "A 1", "A 1"), "twice"),
        (("S c 1", "R 1", "A 1", "M 1 x"), "twice"),
        (("S c 1", "R 1", "R 1", "M 1 x"), "twice"),
        (("S c 1", "R 1", "W 1 x"), "wrong"),
        (("S c 1", "A 1"), "wrong"),
        (("S c 1", "R 1", "N 1 x"), "wrong"),
        (("R 1",), "wrong"),
        (("E c went wrong",), "logged"),
        (("S c 1", "R 1"), "hung"),
        (("S c 1", "S d 2", "N 1 x", "K c"), "hung"),
    ],
)
def test_what_may_not_be(tmp_path: Path, lines: tuple[str, ...], kind: str) -> None:
    found, clean = judged(tmp_path, *lines)
    assert not clean
    assert found[kind] == 1
