"""The garbage collector of commands that serve."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, weakref
from restsock.cli._collector import collect_seldom
collect_seldom()
assert gc.get_freeze_count() > 1000, gc.get_freeze_count()
assert gc.get_threshold()[0] == 20_000, gc.get_threshold()

class Cycle:
    pass

def made():
    cycle = Cycle()
    cycle.itself = cycle
    return weakref.ref(cycle)

first = made()
kept = [made() for _ in range(100_000)]
assert first() is None
"""


def test_it_looks_seldom_and_still_collects() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
