"""What an idle connection consists of: its bytes by the package that has allocated them.

Unlike resident memory, this is the same on every run, and tells where to look. It is counted in the
processes of `tests.bench.idle`: all that was allocated between two commands and is still there.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from typing import Any

from tests.bench.profiling import package_of

__all__ = ["Scales", "of_one"]


class Scales:
    """Weighs what this process gets between two commands."""

    def __init__(self) -> None:
        self._objects = 0  # before

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Does what a command says of weighing: `{"weigh": "before"}`, `{"weigh": "after"}`.

        Returns:
            After the second: bytes by package, and how many objects the garbage collector knows
            more.
        """
        when = command.get("weigh")
        if when is None:
            return {}
        gc.collect()
        if when == "before":
            self._objects = len(gc.get_objects())
            tracemalloc.start()
            return {}
        objects = len(gc.get_objects()) - self._objects
        found: Counter[str] = Counter()
        for statistic in tracemalloc.take_snapshot().statistics("filename"):
            found[_package_of(statistic.traceback[0].filename)] += statistic.size
        tracemalloc.stop()
        return {"bytes": found, "objects": objects}


def of_one(answer: dict[str, Any], count: int) -> dict[str, Any]:
    """The same for one of so many connections; without what comes to less than a byte."""
    each = {package: round(size / count) for package, size in answer["bytes"].items()}
    return {
        "bytes": {package: size for package, size in each.items() if size},
        "objects": round(answer["objects"] / count, 1),
    }


def _package_of(filename: str) -> str:
    # What attrs has made has a name like <attrs generated methods trio._core._run.Task>.
    if filename.startswith("<attrs"):
        return filename.rpartition(" ")[2].partition(".")[0]
    return package_of(filename)
