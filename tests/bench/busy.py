"""What thousands of idle connections cost the busy ones on the same server: their p99.

There are two servers, each with as many busy peers that send at the same steady rate; one of them
has the idle connections, too. The two are measured in turns, so that a ratio is one of neighbours.
The processes are those of `tests.soak.many`.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tests.bench.figures import ALONE, BESIDE
from tests.bench.idle import SPARE_FILES, raise_file_limit
from tests.bench.processes import hear, python, running, tell
from tests.soak import many

WHERE = (ALONE, BESIDE)

_PAUSE = 0.25  # seconds between two requests of a busy peer
_DIALERS = 2  # processes


def measure(*, idle: int, busy: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Latencies of the busy ones in so many rounds, of so many seconds for each server."""
    found: dict[str, Any] = {"idle": idle, "busy": busy, "spells": [], "skipped": []}
    wanted = idle + busy + SPARE_FILES
    if raise_file_limit() < wanted:
        found["skipped"].append(f"SKIP {idle} idle beside busy: {wanted} open files; ulimit -n")
        return found
    with contextlib.ExitStack() as stack:
        sites = {where: many.site(stack, busy) for where in WHERE}
        dialers = [
            stack.enter_context(running(python("idle", "dial", sites[BESIDE].port)))
            for _ in range(_DIALERS)
        ]
        for dialer in dialers:
            tell(dialer, {"open": idle // _DIALERS})
        for dialer in dialers:
            hear(dialer)
        for site in sites.values():
            site.spell("warm", 1.0, _PAUSE)
        for turn in range(rounds):
            for where in WHERE if turn % 2 == 0 else reversed(WHERE):
                spell = sites[where].spell(where, seconds, _PAUSE)
                if spell["errors"]:
                    raise RuntimeError(f"{spell['errors']} errors: {spell['first_error']}")
                found["spells"].append({"where": where, "round": turn, **spell})
            if sys.stderr.isatty():
                print(f"\rround {turn + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    return found
