"""Profiles of one call on the ways of restsock; see `profiling` for how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.profiling import by_role, thread_microseconds
from tests.bench.ways import ADAPTER, SESSION, SESSION_FASTAPI, SESSION_TLS, WAYS, Line, opened

PROFILED = (ADAPTER, SESSION, SESSION_TLS, SESSION_FASTAPI)


def measure(folder: Path, *, calls: int) -> dict[str, Any]:
    """For each way: CPU time of a call by thread, and shares of packages within the caller's."""
    with opened({name: WAYS[name] for name in PROFILED}, folder) as (lines, skips):
        found = {name: _profile(line, calls) for name, line in lines.items()}
    return {"ways": found, "skipped": skips}


def _profile(line: Line, calls: int) -> dict[str, Any]:
    line.order("calls", calls=calls)  # everybody is warm, and all threads have started
    pids = {"caller": line.caller_pid, "server": line.server_pids[0]}
    before = {side: thread_microseconds(pid) for side, pid in pids.items()}
    line.order("calls", calls=calls)
    caller, server = (by_role(pids[side], before[side], calls) for side in ("caller", "server"))
    threads = {
        "calling thread": caller["main"],
        "caller's loop": caller["loop"],
        "server's loop": server["loop"],
        "server's workers": server["others"],
    }
    shares = {
        thread: line.order("profile", calls=calls, loop=loop)["shares"]
        for thread, loop in (("calling thread", False), ("caller's loop", True))
    }
    return {"threads": threads, "shares": shares}
