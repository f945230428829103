"""The ledger of messages, and who judges it. Each line is one of `tests.faults.ledger`:

====================  ======================================================================
S sender id           the sender is about to send the message
A id                  `send` has returned: the message is promised
N id why              `send` has raised: there is no such message
H receiver id seq     a handler was called with it; written before the handler returns
P id                  it is in the place where handlers keep it, once for each line, in its order;
                      written at the end, in the place of what H says
K who                 a process was killed
M who upto seq ...    what the store of a killed receiver says it has handled, read from its file
G                     a fault is over
Z sender              all that it has sent is handled, so it is told
Q who                 a process has ended in good order
E who words           a process has logged an error
====================  ======================================================================

A receiver that is killed after a handler was called, and before its store has noted that, handles
the message again: this is documented, and counted as "again". The file of its store, read behind
the kill, tells this from a message that was noted and handled all the same: that is "twice". So is
what comes again beyond the credit of a peer, since no more can be under way.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restsock.messaging import MessagingOptions
from tests.faults.ledger import Line, read

__all__ = ["MessageCounts", "judge_messages", "resumed"]

_CREDIT = MessagingOptions().credit_messages


@dataclass
class MessageCounts:
    """What became of the messages of a run.

    Attributes:
        sent: that `send` has returned from.
        refused: that `send` has raised for.
        unknown: whose sender was killed within `send`.
        handled: those that were, of all.
        lost: sent, and not handled. Must be 0 for at least once.
        again: handled again, by the successor of one that was killed before it had noted that.
        twice: handled again otherwise. Must be 0.
        disorder: handled before one that was sent earlier. Must be 0.
        wrong: handled, and refused or never sent. Must be 0.
        hung: `send` has neither returned nor raised, though its process lives. Must be 0.
        logged: errors that a process has logged. Must be 0.
        faults: ids and reasons of what must not be.
    """

    sent: int = 0
    refused: int = 0
    unknown: int = 0
    handled: int = 0
    lost: int = 0
    again: int = 0
    twice: int = 0
    disorder: int = 0
    wrong: int = 0
    hung: int = 0
    logged: int = 0
    faults: list[str] = field(default_factory=list)

    def blame(self, kind: str, reason: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.faults) < 20:
            self.faults.append(f"{kind}: {reason}")

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def judge_messages(path: Path | str, *, may_lose: bool = False) -> MessageCounts:
    """Reads a ledger and counts. `may_lose`: what is sent at most once."""
    counts = MessageCounts()
    senders: dict[str, str] = {}  # by id, in the order in which they were sent
    outcomes: dict[str, str] = {}
    handled: dict[str, list[tuple[str, int]]] = {}
    kept: dict[str, list[tuple[str, int]]] = {}
    killed: set[str] = set()
    marked: dict[str, tuple[int, set[int]]] = {}
    for _, kind, words, _ in read(path):
        if kind == "S":
            senders[words[1]] = words[0]
        elif kind in "AN":
            outcomes[words[0]] = kind
        elif kind == "H":
            handled.setdefault(words[1], []).append((words[0], int(words[2])))
        elif kind == "P":
            kept.setdefault(words[0], []).append(("place", 0))
        elif kind == "K":
            killed.add(words[0])
        elif kind == "M":
            marked[words[0]] = int(words[1]), {int(word) for word in words[2:]}
        elif kind == "E":
            counts.blame("logged", " ".join(words))
    handled = kept or handled  # there, nothing may be twice
    tally = Counter(outcomes.values())
    counts.sent, counts.refused = tally["A"], tally["N"]
    for id_, sender in senders.items():
        outcome = outcomes.get(id_)
        if outcome is None and sender in killed:
            counts.unknown += 1
        elif outcome is None:
            counts.blame("hung", f"{id_} was neither sent nor refused")
        elif outcome == "A" and id_ not in handled:
            counts.lost += 1
            if not may_lose:
                counts.faults.append(f"lost: {id_}")
    _judge_handled(counts, handled, killed, marked)
    _judge_order(counts, list(senders), list(handled))
    for id_ in handled:
        if id_ not in senders or outcomes.get(id_) == "N":
            counts.blame("wrong", f"{id_} was handled, and refused or never sent")
    return counts


def _judge_handled(
    counts: MessageCounts,
    handled: dict[str, list[tuple[str, int]]],
    killed: set[str],
    marked: dict[str, tuple[int, set[int]]],
) -> None:
    counts.handled = len(handled)
    again: Counter[str] = Counter()
    for id_, times in handled.items():
        for (receiver, seq), (later, _) in itertools.pairwise(times):
            upto, seqs = marked.get(receiver, (0, set()))
            if receiver == later or receiver not in killed or receiver not in marked:
                counts.blame("twice", f"{id_} by {receiver}, and by {later}")
            elif seq <= upto or seq in seqs:
                counts.blame("twice", f"{id_} by {later}, and {receiver} had noted it")
            elif again[receiver] == _CREDIT:
                counts.blame("twice", f"{id_} by {later}, beyond the credit that {receiver} gave")
            else:
                again[receiver] += 1
    counts.again = sum(again.values())


def _judge_order(counts: MessageCounts, sent: Sequence[str], handled: Sequence[str]) -> None:
    place = {id_: number for number, id_ in enumerate(sent)}
    last = -1
    for id_ in handled:
        if place.get(id_, last) < last:
            counts.blame("disorder", f"{id_} after {sent[last]}")
        last = max(last, place.get(id_, last))


def resumed(lines: Sequence[Line]) -> list[float | None]:
    """For each fault that was over: seconds until a message was handled that was sent after it.

    `None`: not yet. One that the next fault has cut short is left out.
    """
    found: list[float | None] = []
    over: float | None = None
    fresh: set[str] = set()
    for time, kind, words, _ in lines:
        if kind == "G":
            over = time
            fresh = set()
        elif kind == "S":
            fresh.add(words[1])
        elif kind == "H" and over is not None and words[1] in fresh:
            found.append(time - over)
            over = None
    if over is not None:
        found.append(None)
    return found
