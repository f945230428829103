"""Tries every fault and prints what came of it; exits with 1 when one is not as promised.

    python -m tests.faults                      all, in about a quarter of an hour
    python -m tests.faults --messages           those of messages alone
    python -m tests.faults --requests           those of requests alone
    python -m tests.faults --gateway            those of gateways alone
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
from typing import Any

import trio

from tests.faults import network
from tests.faults.field import Family, Row
from tests.faults.gateway.rows import GatewayRow
from tests.faults.gateway.scenarios import LONG as GATEWAYS
from tests.faults.gateway.scenarios import gateway_problems, run_gateway
from tests.faults.gateway.table import gateway_table
from tests.faults.messages.field import MessageRow
from tests.faults.messages.scenarios import LONG as MESSAGES
from tests.faults.messages.scenarios import message_problems, run_messages
from tests.faults.messages.table import message_table
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


async def _messages(only: str) -> tuple[list[MessageRow], list[str]]:
    rows: list[MessageRow] = []
    found: list[str] = []
    async with Family() as family:
        for scenario in MESSAGES:
            if only.lower() not in scenario.name.lower():
                continue
            for delivery in scenario.deliveries:
                for side in scenario.sides:
                    row = await run_messages(scenario, delivery, side, family)
                    wrong = message_problems(row, slack=SLACK)
                    rows.append(row)
                    where = f"{row.fault}, {delivery}, sender {side}"
                    found += [f"{where}: {what}" for what in wrong]
                    print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows, found


async def _gateways(only: str) -> tuple[list[GatewayRow], list[str]]:
    rows: list[GatewayRow] = []
    found: list[str] = []
    async with Family() as family:
        for scenario in GATEWAYS:
            if only.lower() in scenario.name.lower():
                rows.append(await run_gateway(scenario, family))
                wrong = gateway_problems(rows[-1], slack=SLACK)
                found += [f"{scenario.name}: {what}" for what in wrong]
                print(".", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--page", action="store_true", help="write them into docs/reliability.md")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--messages", action="store_true", help="the faults of messages alone")
    which.add_argument("--requests", action="store_true", help="the faults of requests alone")
    which.add_argument("--gateway", action="store_true", help="the faults of gateways alone")
    arguments = parser.parse_args()
    logging.disable()  # each fault is a line or more, by design
    document: dict[str, list[Any]] = {"problems": []}
    if not (arguments.messages or arguments.gateway):
        rows, found = trio.run(_here, arguments.only)
        more_rows, more_found = network.measure(arguments.only)
        rows += more_rows
        document["rows"] = [row.as_json() for row in rows]
        document["problems"] += found + more_found
        if rows:
            print(table(rows))
        if arguments.page and rows:
            put("faults", table(rows, markdown=True))
    if not (arguments.requests or arguments.gateway):
        messages, found = trio.run(_messages, arguments.only)
        document["messages"] = [row.as_json() for row in messages]
        document["problems"] += found
        if messages:
            print(message_table(messages))
        if arguments.page and messages:
            put("messages", message_table(messages, markdown=True))
    if not (arguments.requests or arguments.messages):
        gateways, found = trio.run(_gateways, arguments.only)
        document["gateways"] = [row.as_json() for row in gateways]
        document["problems"] += found
        if gateways:
            print(gateway_table(gateways))
        if arguments.page and gateways:
            put("gateways", gateway_table(gateways, markdown=True))
    for what in document["problems"]:
        print("NOT AS PROMISED:", what)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1))
    return 1 if document["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
