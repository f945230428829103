"""Tries every fault and prints what came of it; exits with 1 when one is not as promised.

    python -m tests.faults                      all, in about two minutes
    python -m tests.faults --only SIGKILL       those whose name has this in it
    python -m tests.faults --json FILE          the figures, to keep
    python -m tests.faults --page               writes them into docs/reliability.md

Rows of a real network (link down, packets lost) need network namespaces, so root or user
namespaces; where there are none, a line says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import trio

from tests.faults import network
from tests.faults.field import Family, Row
from tests.faults.page import put
from tests.faults.scenarios import LONG, SCENARIOS, problems, run
from tests.faults.table import table

# What a busy machine may add to each time, in seconds.
SLACK = 1.0


async def _here(only: str) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    found: list[str] = []
    async with Family() as family:
        for scenario in (*SCENARIOS, *LONG):
            if only.lower() not in scenario.name.lower():
                continue
            for side in scenario.sides:
                row = await run(scenario, side, family)
                wrong = problems(row, slack=SLACK, no_failures=scenario.no_failures)
                rows.append(row)
                found += [f"{row.fault}, caller {row.caller}: {what}" for what in wrong]
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--page", action="store_true", help="write them into docs/reliability.md")
    arguments = parser.parse_args()
    logging.disable()  # each fault is a line or more, by design
    rows, found = trio.run(_here, arguments.only)
    more_rows, more_found = network.measure(arguments.only)
    rows += more_rows
    found += more_found
    print(table(rows))
    if arguments.page:
        put("faults", table(rows, markdown=True))
    for what in found:
        print("NOT AS PROMISED:", what)
    if arguments.json:
        document = {"rows": [row.as_json() for row in rows], "problems": found}
        arguments.json.write_text(json.dumps(document, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
