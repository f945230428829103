"""Mixed load with a fault every few seconds; exits with 1 when anything is not as it must be.

    make soak                   five minutes
    make soak MINUTES=30 ARGS=--page    and write the figures into docs/reliability.md
    make soak MINUTES=3 ARGS="--leak 100"   must fail
    python -m tests.soak --minutes 30 --seed 7 --json build/soak.json

At the end memory, tasks, threads and open files of the processes that lived all the time have to be
where they were after the warm-up, and the ledger of all requests has to be clean: none answered
twice, none wrongly, none never.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import trio

from tests.faults.page import put
from tests.soak.run import soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leak", type=int, default=0, help="bytes of each request, on purpose")
    parser.add_argument("--json", type=Path, default=Path("build/soak.json"))
    parser.add_argument("--page", action="store_true", help="write them into docs/reliability.md")
    arguments = parser.parse_args()
    logging.disable()  # each fault is a line or more, by design
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    seconds = arguments.minutes * 60

    async def run() -> int:
        figures = await soak(
            seconds,
            every=arguments.every,
            seed=arguments.seed,
            memory=seconds >= 120,
            leak=arguments.leak,
            folder=arguments.json.parent,
        )
        print(figures.text())
        arguments.json.write_text(json.dumps(figures.as_json(), indent=1))
        if arguments.page:
            put("soak", f"```\n{figures.text()}\n```")
        print(f"\nall figures: {arguments.json}")
        return 1 if figures.problems else 0

    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main())
