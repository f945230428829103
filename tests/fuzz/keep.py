"""Chooses, out of all inputs that were found, the few that the repository keeps.

An input is kept when it takes a step from one line to another, or else a set of steps, that the
seeds and smaller inputs do not. Steps are seen with the interpreter's own tracing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import wsproto

import restsock
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import CORPUS, Target, corpus, target

__all__ = ["keep", "steps"]

Step = tuple[str, int, int]

# Of one target: enough for what it is about, little enough to be read.
_MOST = 40

_PACKAGES = tuple(package.__path__[0] for package in (restsock, h11, wsproto))


def keep(name: str, found: Path) -> int:
    """Adds to what is kept; returns how many inputs there are now. None is ever taken out."""
    module = target(name)
    kept = corpus(name)
    candidates = {path.read_bytes() for path in found.iterdir()}.difference(kept)
    chosen = choose(module, candidates, [*seeds(name, module.MAX_LEN), *kept])
    chosen = chosen[: max(0, _MOST - len(kept))]
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for data in chosen:
        # Named for what is in it: the same input has the same name wherever it was found.
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:16]
        (folder / digest).write_bytes(data)
    return len(kept) + len(chosen)


def choose(module: Target, candidates: Iterable[bytes], begun: Iterable[bytes]) -> list[bytes]:
    """Those with a new step, and then those with a new whole of steps; small ones first."""
    wholes = {frozenset(steps(module, data)) for data in begun}
    known = set[Step]().union(*wholes)
    chosen: list[bytes] = []
    others: list[bytes] = []
    for data in sorted(candidates, key=lambda data: (len(data), data)):
        whole = frozenset(steps(module, data))
        if whole in wholes:
            continue
        wholes.add(whole)
        (chosen if whole - known else others).append(data)
        known |= whole
    return chosen + others


def steps(module: Target, data: bytes) -> set[Step]:
    """The steps from line to line that an input takes."""
    taken: set[Step] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if event == "call" and not name.startswith(_PACKAGES):
            return None
        if event in ("call", "line"):
            before = last.get(id(frame), 0) if event == "line" else 0
            taken.add((name, before, frame.f_lineno))
            last[id(frame)] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        module.test_one(data)
    finally:
        sys.settrace(before)
    return taken
