"""Rows as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.field import Row

__all__ = ["table"]

_HEAD = (
    ("fault", 34),
    ("caller", 16),
    ("sent", 7),
    ("answered", 9),
    ("not started", 12),
    ("may have run", 13),
    ("(ran)", 6),
    ("twice", 6),
    ("wrong", 6),
    ("hung", 5),
    ("noticed s", 10),
    ("limit", 6),
    ("back s", 7),
    ("limit", 6),
)


def cells(row: Row) -> list[str]:
    """One row, as text."""
    if row.skipped:
        return [row.fault, row.caller, f"SKIP: {row.skipped}"]
    counts = row.counts
    return [
        row.fault,
        row.caller,
        *(
            str(number)
            for number in (
                counts.sent,
                counts.answered,
                counts.not_started,
                counts.may_have_run,
                counts.ran,
                counts.twice,
                counts.wrong,
                counts.hung,
            )
        ),
        *(
            "-" if seconds is None or not row.lost else f"{seconds:.2f}"
            for seconds in (row.detect, row.detect_limit, row.recover, row.recover_limit)
        ),
    ]


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """All rows, under a head; and the sum of what must be 0."""
    if markdown:
        lines = [
            "| " + " | ".join(name for name, _ in _HEAD) + " |",
            "| --- | --- |" + " --: |" * (len(_HEAD) - 2),
        ]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
        return "\n".join([*lines, "", _sum(rows)])
    lines = [
        "".join(f"{name:<{w}}" if at < 2 else f"{name:>{w}}" for at, (name, w) in enumerate(_HEAD))
    ]
    for row in rows:
        texts = cells(row)
        lines.append(
            "".join(
                f"{text:<{width}}" if at < 2 else f"{text:>{width}}"
                for at, (text, (_, width)) in enumerate(zip(texts, _HEAD, strict=False))
            )
        )
    return "\n".join([*lines, _sum(rows)])


def _sum(rows: Sequence[Row]) -> str:
    sent = sum(row.counts.sent for row in rows)
    twice = sum(row.counts.twice for row in rows)
    wrong = sum(row.counts.wrong for row in rows)
    hung = sum(row.counts.hung for row in rows)
    return f"{sent:,} requests: {twice} answered twice, {wrong} wrongly, {hung} never."
