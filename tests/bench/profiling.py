"""Where the time of one call goes: CPU time of each thread, and of each package within it.

The threads are weighed by the kernel (/proc/<pid>/task/*/schedstat) while nothing else looks on.
The packages come from cProfile on one thread at a time, with that thread's CPU time as its clock,
so that waiting counts nothing; it makes calls of Python functions dearer than they are, so these
are shares and not times.
"""

from __future__ import annotations

import cProfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.processes import ROOT

_PACKAGE = ROOT / "restsock"

# Shares below this are summed up.
_SMALLEST = 0.02


def thread_microseconds(pid: int) -> dict[int, float]:
    """CPU time of each thread of a process so far; empty where there is no /proc."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e3
        except (OSError, ValueError):
            continue  # it has ended, or this kernel does not count
    return found


def by_role(pid: int, before: dict[int, float], calls: int) -> dict[str, float]:
    """Microseconds of a call, of the main thread, the loop's, and all others together.

    The thread with the loop is the first that either of our processes starts.
    """
    spent = {
        tid: (now - before.get(tid, 0.0)) / calls for tid, now in thread_microseconds(pid).items()
    }
    main = spent.pop(pid, 0.0)
    loop = spent.pop(min(spent), 0.0) if spent else 0.0
    return {"main": main, "loop": loop, "others": sum(spent.values())}


def profiled(
    run: Callable[[], object], post: Callable[[Callable[[], object]], object] | None = None
) -> dict[str, float]:
    """The share of each package in the CPU time of this thread, or of another, while it runs.

    Args:
        run: what to profile.
        post: has a function called on the other thread.
    """
    profile = cProfile.Profile(time.thread_time)
    if post is None:
        profile.enable()
        run()
        profile.disable()
    else:
        post(profile.enable)
        run()
        post(profile.disable)
        time.sleep(0.1)  # it is done there by then
    spent: dict[str, float] = {}
    for entry in profile.getstats():
        code = entry.code
        package = "functions in C" if isinstance(code, str) else package_of(code.co_filename)
        spent[package] = spent.get(package, 0.0) + entry.inlinetime
    total = sum(spent.values()) or 1.0
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    shares = {name: value / total for name, value in ranked}
    large = {name: share for name, share in shares.items() if share >= _SMALLEST}
    return {**large, "others": 1.0 - sum(large.values())}


def package_of(filename: str) -> str:
    """Who wrote some code: a part of restsock, a package, or the standard library."""
    path = Path(filename)
    if path.is_relative_to(_PACKAGE):
        return ".".join(part.removesuffix(".py") for part in path.relative_to(ROOT).parts[:2])
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    return "the benchmark" if path.is_relative_to(ROOT / "tests") else "standard library"
