"""The judge of messages itself: it must see each thing that must not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.ledger import Ledger, Line
from tests.faults.messages.ledger import judge_messages, resumed


def judged(tmp_path: Path, lines: tuple[str, ...], *, may_lose: bool = False) -> dict[str, object]:
    ledger = Ledger(tmp_path / "ledger")
    for line in lines:
        ledger.note(*line.split(" "))
    ledger.close()
    counts = judge_messages(tmp_path / "ledger", may_lose=may_lose)
    return {key: value for key, value in counts.as_json().items() if value}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("S s a", "A a", "H r a 1"), {"sent": 1, "handled": 1}),
        (("S s a", "N a full"), {"refused": 1}),
        (("S s a", "K s"), {"unknown": 1}),
        (("S s a", "H r a 1", "K s"), {"unknown": 1, "handled": 1}),
        (
            ("S s a", "A a", "H r a 5", "K r", "M r 4", "H q a 5"),
            {"sent": 1, "handled": 1, "again": 1},
        ),
        (("S s a", "A a", "H r a 5", "H q a 5", "P a"), {"sent": 1, "handled": 1}),
    ],
)
def test_what_may_be(tmp_path: Path, lines: tuple[str, ...], expected: dict[str, object]) -> None:
    assert judged(tmp_path, lines) == expected


def test_what_is_sent_at_most_once_may_be_lost(tmp_path: Path) -> None:
    lines = ("S s a", "A a")
    assert judged(tmp_path, lines, may_lose=True) == {"sent": 1, "lost": 1}
    assert judged(tmp_path, lines)["faults"]


_SENT = ("S s a", "A a", "S s b", "A b")


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ((*_SENT, "H r a 1"), "lost"),
        ((*_SENT, "H r a 1", "H r b 2", "H r b 2"), "twice"),
        ((*_SENT, "H r a 1", "H r b 2", "H q b 2"), "twice"),
        ((*_SENT, "H r a 1", "H r b 2", "K r", "H q b 2"), "twice"),
        ((*_SENT, "H r a 1", "H r b 2", "K r", "M r 2", "H q b 2"), "twice"),
        ((*_SENT, "H r a 1", "H r b 2", "K r", "M r 0 2", "H q b 2"), "twice"),
        ((*_SENT, "H r b 2", "H r a 1"), "disorder"),
        ((*_SENT, "H r a 1", "H r b 2", "P a", "P b", "P b"), "twice"),
        ((*_SENT, "H r a 1", "H r b 2", "P b"), "lost"),
        ((*_SENT, "H r a 1", "H r b 2", "P b", "P a"), "disorder"),
        (("S s a", "N a full", "H r a 1"), "wrong"),
        (("H r a 1",), "wrong"),
        (("S s a",), "hung"),
        (("E s went wrong",), "logged"),
    ],
)
def test_what_may_not_be(tmp_path: Path, lines: tuple[str, ...], kind: str) -> None:
    found = judged(tmp_path, lines)
    assert found[kind] == 1
    assert found["faults"]


def test_no_more_may_come_again_than_a_peer_has_credit_for(tmp_path: Path) -> None:
    ids = [f"m{number}" for number in range(65)]
    lines = [f"{word} {id_}" for id_ in ids for word in ("S s", "A")]
    lines += [f"H r {id_} {seq}" for seq, id_ in enumerate(ids, 1)]
    lines += ["K r", "M r 0"]
    lines += [f"H q {id_} {seq}" for seq, id_ in enumerate(ids, 1)]
    found = judged(tmp_path, tuple(lines))
    assert (found["again"], found["twice"]) == (64, 1)


def test_it_is_back_when_a_message_of_after_the_fault_is_handled() -> None:
    lines = [
        Line(1.0, "S", ["s", "a"]),
        Line(2.0, "G", []),
        Line(2.1, "S", ["s", "b"]),
        Line(2.2, "H", ["r", "a", "1"]),
    ]
    assert resumed(lines) == [None]
    assert resumed([*lines, Line(2.5, "H", ["r", "b", "2"])]) == [0.5]
    # The next fault came first, so nobody knows.
    assert resumed([*lines, Line(2.3, "G", [])]) == [None]
