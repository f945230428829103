"""The ledger: what was sent, what ran and what came of it, one line each, and who judges it.

All processes of a run append to one file, a line with one system call, so that not even a SIGKILL
takes back what was written. The lines, each behind its time (`time.monotonic`, one for the whole
machine):

====================  ======================================================================
S caller id           the caller is about to send the request
R id                  the app was called with it
A id                  the caller has the answer, whole and right
N id why              it failed, and the error says that it did not start
M id why              it failed, and the error says that it may have run
L id                  the caller left on purpose, in the middle of the answer
W id why              the answer is not the one to this request
K who                 a process was killed: of the requests of its callers (who/…) nobody knows
E who words           a process has logged an error
O who connection      a connection began
C who connection code a connection ended
T who json            what a process counts of itself
====================  ======================================================================
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Counts", "Ledger", "Line", "judge", "read"]


class Ledger:
    """Appends to the file. For any thread."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, kind: str, *words: object) -> None:
        """Appends a line."""
        line = " ".join([f"{time.monotonic():.6f}", kind, *map(str, words)])
        os.write(self._file, line.replace("\n", " ").encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


class Line(NamedTuple):
    """One line, read.

    Attributes:
        time: `time.monotonic` of the machine.
        kind: see above.
        words: what it says.
        size: its bytes in the file.
    """

    time: float
    kind: str
    words: list[str]
    size: int = 0


def read(path: Path | str, offset: int = 0) -> Iterator[Line]:
    """The lines of a ledger, from one that begins there. One that is not whole yet is left out."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        for raw in file:
            if raw.endswith(b"\n"):
                at, kind, *words = raw.decode().rstrip("\n").split(" ")
                yield Line(float(at), kind, words, len(raw))


@dataclass
class Counts:
    """What became of the requests of a run.

    Attributes:
        sent: all.
        answered: once, whole and right.
        left: by their callers, on purpose.
        not_started: failed, and the error says that they did not start.
        may_have_run: failed, and the error says that they may have run.
        ran: of the last, those that did.
        unknown: the caller was killed.
        twice: run twice, or with two outcomes. Must be 0.
        wrong: answered with something else; or said not to have started, and they had. Must be 0.
        hung: never ended, though their callers live. Must be 0.
        logged: errors that a process has logged: bugs of restsock's. Must be 0.
        errors: how often each error came.
        faults: ids and reasons of what must not be.
    """

    sent: int = 0
    answered: int = 0
    left: int = 0
    not_started: int = 0
    may_have_run: int = 0
    ran: int = 0
    unknown: int = 0
    twice: int = 0
    wrong: int = 0
    hung: int = 0
    logged: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether all is as it must be: every request accounted for, none twice, none wrong."""
        parts = (self.answered, self.left, self.not_started, self.may_have_run, self.unknown)
        return (
            not (self.twice or self.wrong or self.hung or self.logged) and sum(parts) == self.sent
        )

    def blame(self, kind: str, reason: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.faults) < 20:
            self.faults.append(f"{kind}: {reason}")

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "errors": dict(self.errors.most_common()), "clean": self.clean}


def judge(path: Path | str) -> Counts:
    """Reads a ledger and counts. Nothing is taken on trust that two sides can tell."""
    counts = Counts()
    callers: dict[str, str] = {}
    runs: Counter[str] = Counter()
    outcomes: dict[str, str] = {}
    reasons: dict[str, str] = {}
    killed: set[str] = set()
    for _, kind, words, _ in read(path):
        if kind == "S":
            callers[words[1]] = words[0]
        elif kind == "R":
            runs[words[0]] += 1
        elif kind == "K":
            killed.add(words[0])
        elif kind == "E":
            counts.blame("logged", " ".join(words))
        elif kind in "ANMLW":
            if words[0] in outcomes:
                counts.blame("twice", f"{words[0]}: {outcomes[words[0]]}, then {kind}")
            outcomes[words[0]] = kind
            reasons[words[0]] = " ".join(words[1:])
    counts.sent = len(callers)
    for id_, caller in callers.items():
        outcome = outcomes.get(id_)
        times = runs[id_]
        if times > 1:
            counts.blame("twice", f"{id_} ran {times} times")
        if outcome is None and caller.partition("/")[0] in killed:
            counts.unknown += 1
        elif outcome is None:
            counts.blame("hung", f"{id_} of {caller} never ended")
        elif outcome == "A":
            counts.answered += 1
            if not times:
                counts.blame("wrong", f"{id_} was answered and never ran")
        elif outcome == "L":
            counts.left += 1
        elif outcome == "W":
            counts.blame("wrong", f"{id_}: {reasons[id_]}")
        else:
            counts.errors[reasons[id_]] += 1
            if outcome == "M":
                counts.may_have_run += 1
                counts.ran += times > 0
            else:
                counts.not_started += 1
                if times:
                    counts.blame("wrong", f"{id_} ran; its error said it had not started")
    for id_ in runs.keys() - callers.keys():
        counts.blame("wrong", f"{id_} ran and was never sent")
    return counts
