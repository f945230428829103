"""Server-sent events: how long one takes from the app to the client, in interleaved rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bench.ways import INGRESS, LOCALTUNNEL, WAYS, opened

# The same app behind all of them, and the same caller.
DIRECT = "waitress"
EVENT_WAYS = (DIRECT, "nginx", "ssh -R", LOCALTUNNEL, INGRESS)


def measure(folder: Path, *, rounds: int, count: int) -> dict[str, Any]:
    """Delays of so many events on each way, in each round."""
    found = []
    with opened({name: WAYS[name] for name in EVENT_WAYS}, folder) as (lines, skips):
        for line in lines.values():
            line.order("events", count=20)  # everybody is warm
        for turn in range(rounds):
            for name in lines if turn % 2 == 0 else reversed(list(lines)):
                figures = lines[name].order("events", count=count)
                found.append({"way": name, "round": turn, **figures})
    return {"streams": found, "skipped": skips}
