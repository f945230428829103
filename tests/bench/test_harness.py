"""The benchmarks' own arithmetic and housekeeping, without measuring anything."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import message_figures, message_ways, messages, node, page, profiles
from tests.bench.__main__ import asyncio_plan, full_plan, quick_plan
from tests.bench.calls import SCHEMES
from tests.bench.figures import ALONE, BESIDE, Results, Spread, rate_ratio
from tests.bench.gateway import CELLS as GATEWAY_CELLS
from tests.bench.gateway import WHERE as GATEWAY_WHERE
from tests.bench.gateway_ways import CALLS, OURS, PASSES
from tests.bench.idle import weigh
from tests.bench.idle_clients import weigh as weigh_client
from tests.bench.message_fan import STALLED, WELL, held
from tests.bench.message_ways import ECHO, FAN, FAN_KINDS, IN_MEMORY, Ends
from tests.bench.processes import ROOT, hear, running, tell, tree
from tests.bench.profiling import package_of
from tests.bench.tables import tables
from tests.bench.targets import MANY, TARGETS
from tests.bench.transfers import FAIRNESS_WAYS
from tests.bench.ways import (
    ASYNCIO_WAYS,
    BULK_WAYS,
    HTTPX,
    INGRESS,
    NATIVE,
    SESSION,
    WAYS,
    reference,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def spell(way: str, turn: int, requests: int) -> dict[str, Any]:
    return {
        "way": way,
        "workload": "small",
        "threads": 1,
        "round": turn,
        "requests": requests,
        "seconds": 0.5,
        "caller_cpu": 0.25,
        "server_cpu": 0.125,
        "between_cpu": None,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
    }


def message_spell(way: str, turn: int, where: str, count: int) -> dict[str, Any]:
    cell = {"way": way, "where": where, "size": 100, "round": turn, "messages": count}
    if where == "pump":
        return {**cell, "seconds": 0.5}
    return {
        **cell,
        "seconds": 0.5,
        "p50_ms": 1.0,
        "p99_ms": 4.0 if where == messages.BESIDE else 2.0,
    }


def load_spell(rate: int, p99: float) -> dict[str, Any]:
    """10 readers for 2 seconds; the readers have used 0.1 s of CPU time, the sender half of it."""
    cell = {"way": FAN, "rate": rate, "round": 0, "readers": 10, "seconds": 2.0}
    cpu = {"server_cpu": 0.05, "readers_cpu": 0.1}
    sent = {"sent": 2 * rate, "messages": 20 * rate}
    return {**cell, **cpu, **sent, "p50_ms": 1.0, "p99_ms": p99}


def test_calls_are_profiled_on_each_way(tmp_path: Path) -> None:
    """It looks into an adapter for the loop that carries it."""
    found = profiles.measure(tmp_path, calls=3)
    assert set(found["ways"]) == set(profiles.PROFILED)
    for way in found["ways"].values():
        assert set(way["shares"]) == {"calling thread", "caller's loop"}


@pytest.fixture
def results() -> Results:
    pairs = [(100, 300), (200, 500), (50, 200)]
    spells = [
        spell(way, turn, requests)
        for turn, pair in enumerate(pairs)
        for way, requests in zip(("waitress", SESSION), pair, strict=True)
    ]
    busy = [
        {
            "where": where,
            "round": turn,
            "rate": 80.0,
            "p50_ms": 1.0,
            "p99_ms": p99,
            "listener_core": 0.1,
        }
        for turn, pair in enumerate([(10.0, 15.0), (20.0, 22.0), (5.0, 10.0)])
        for where, p99 in zip((ALONE, BESIDE), pair, strict=True)
    ]
    machine = {"date": "2026-01-02", "python": "3.11", "system": "Linux", "cpus": 2, "cpu": "X"}
    return {
        "machine": {**machine, "versions": {"trio": "0.35"}},
        "skipped": ["SKIP nginx: no nginx: apt-get install nginx-light"],
        "rates": {"spells": spells},
        "import": {
            "restsock": [90.0, 100.0, 130.0],
            "restsock.sync": [200.0, 210.0, 260.0],
            "requests": [100.0, 100.0, 100.0],
            "heavy": [],
        },
        "events": {
            "streams": [
                {"way": way, "round": turn, "events": 20, "p50_ms": p50, "p99_ms": 3.0}
                for turn, pair in enumerate([(1.0, 2.0), (0.5, 2.0), (1.0, 3.0)])
                for way, p50 in zip(("waitress", INGRESS), pair, strict=True)
            ]
        },
        "messages": {
            "spells": [
                message_spell(way, turn, where, count)
                for turn, counts in enumerate([(1000, 700), (500, 400), (800, 480)])
                for way, count in zip((ECHO, IN_MEMORY), counts, strict=True)
                for where in ("pump", messages.ALONE, messages.BESIDE)
            ],
            "downloads": [
                {"where": where, "round": 0, "mb_per_s": 200.0, "gap": {"p50_ms": 0.1, "p99_ms": p}}
                for where, p in ((messages.ALONE, 1.0), (messages.BESIDE, 1.5))
            ],
            "fans": [
                {
                    "readers": readers,
                    "stalled": readers // 100,
                    "pause": 0.05,
                    "kib": {FAN: 12.0},
                    "spells": [
                        {"way": FAN, "where": where, "round": 0, "p50_ms": 1.0, "p99_ms": p99}
                        for where, p99 in ((WELL, 10.0), (STALLED, 11.0))
                    ],
                }
                for readers in (100, 1000)
            ],
            "loads": [load_spell(rate, 90.0 if rate < 200 else 110.0) for rate in (100, 150, 200)],
        },
        "busy": {"busy": 20, "idle": 500, "spells": busy},
        "calls": [
            {
                "kind": "session",
                "scheme": "wss",
                "own": [40, 50],
                "cells": [
                    {
                        "thread": "calling thread",
                        "package": "restsock.protocol",
                        "python": 40,
                        "c": 50,
                    },
                    {"thread": "server's worker", "package": "flask", "python": 7, "c": 8},
                ],
            }
        ],
    }


def test_a_ratio_is_taken_within_each_round(results: Results) -> None:
    assert rate_ratio(results, SESSION, "waitress", "small", 1) == Spread(3.0, 2.5, 4.0)


def test_messages_are_compared_within_each_round(results: Results) -> None:
    assert message_figures.message_ratio(results, IN_MEMORY, 100) == Spread(0.7, 0.6, 0.8)
    assert message_figures.message_rate(results, IN_MEMORY, 100) == Spread(960, 800, 1400)
    assert message_figures.message_ratio(results, message_ways.MANY_SENDERS, 100) is None
    assert message_figures.fan_ratio(results, FAN) == Spread(1.1, 1.1, 1.1)
    rows = message_figures.message_rows(results)
    assert [row[0] for row in rows] == ["websockets, echo, 100 B", "restsock, in memory, 100 B"]
    assert rows[1][1:3] == ["960", "0.70 (0.60-0.80)"]
    message, piece = message_figures.beside_rows(results)
    assert message[5] == "2.00 (2.00-2.00)"
    assert piece[1:] == ["0.10", "1.00", "0.10", "1.50", "1.50 (1.50-1.50)", "200", "200"]


def test_a_rate_is_held_when_all_comes_in_time(results: Results) -> None:
    spell = load_spell(100, 90.0)
    assert held(spell)
    assert not held({**spell, "messages": 1990})  # some were lost
    assert not held({**spell, "sent": 180, "messages": 1800})  # the sender was too slow
    assert not held({**spell, "p99_ms": 101.0})
    assert message_figures.load_rate(results) == Spread(150, 150, 150)
    (row,) = message_figures.load_rows(results)
    assert row[1:] == ["150 (150-150)", "1500", "1.00", "90.0", "16.7", "33.3"]


@pytest.mark.timeout(180)  # it starts twenty processes
def test_messages_are_acknowledged_on_each_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes in Python, for a moment: every spell has messages. The others are named."""
    monkeypatch.setattr(node, "MODULES", tmp_path)
    fans = ((4, 0.01),)
    found = messages.measure(tmp_path, rounds=1, seconds=0.05, fans=fans, rates=(20,), senders=2)
    foreign = ("socket.io", "nats", "mqtt", "jetstream")
    skipped = [
        kind
        for kind in dict.fromkeys(way.kind for way in message_ways.WAYS.values())
        if message_ways.skipped(kind) is not None
    ]
    assert {*foreign} <= {*skipped} <= {*foreign, "python-socketio"}
    assert [line.split(":")[0] for line in found["skipped"]] == [
        f"SKIP messages of {kind}" for kind in skipped
    ]
    assert capsys.readouterr().err.count("npm install") == len(foreign)
    (fan,) = found["fans"]
    assert {message_ways.WAYS[spell["way"]].kind for spell in found["spells"]}.isdisjoint(skipped)
    assert {spell["way"] for spell in fan["spells"]} == set(FAN_KINDS).difference(skipped)
    for spell in found["spells"] + fan["spells"] + found["loads"]:
        assert spell["messages"], spell
    assert {one["where"] for one in found["downloads"]} == {messages.ALONE, messages.BESIDE}


@pytest.mark.parametrize("kind", ["socket.io", "mqtt", "nats", "jetstream"])
def test_packages_from_npm_carry_messages(kind: str, tmp_path: Path) -> None:
    why = message_ways.skipped(kind)
    if why is not None:
        pytest.skip(why)
    order = message_ways.order
    with Ends(tmp_path) as ends:
        site = ends.serve(kind)
        caller = ends.call(kind, site.url)
        assert order(caller, pump=0.05, size=100, tasks=2)["messages"]
        assert order(caller, one=0.05, size=100)["p99_ms"] > 0
        if kind in FAN_KINDS:
            holder = ends.hold(kind, site.url, "well", 2)
            sent = order(site.process, fan=0.05, pause=0.01)
            found = order(holder, since=sent["since"], expect=2 * sent["sent"])
            assert found["messages"] == 2 * sent["sent"]


def test_npm_installs_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package.json").write_text('{"dependencies": {"made-up": "1.2.3"}}')
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho "$@" >> "$0.log"\necho it broke >&2\nexit 1\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(node, "FOLDER", tmp_path)
    monkeypatch.setattr(node, "MODULES", tmp_path / "node_modules")
    assert node.install() == "npm install failed: it broke"
    assert "--ignore-scripts" in (tmp_path / "npm.log").read_text()
    package = tmp_path / "node_modules" / "made-up"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "1.2.3"}')
    assert node.install() is None  # it is there
    assert node.versions() == {"made-up": "1.2.3"}
    assert (tmp_path / "npm.log").read_text().count("\n") == 1


def test_a_way_that_was_skipped_has_no_ratio(results: Results) -> None:
    assert rate_ratio(results, SESSION, "ssh -R", "small", 1) is None


def test_the_headline_says_what_was_met_and_what_was_not_measured(results: Results) -> None:
    verdicts = {row[0]: row[1:] for row in tables(results)[0].rows}
    assert verdicts["restsock.Session to waitress, 1 thread"] == [
        "3.00 (2.50-4.00)",
        "≥ 2 x",
        "met",
    ]
    assert verdicts["restsock.Session to ssh -R, small GET"][-1] == "not measured"
    assert not any("bulk" in title for title in verdicts)  # that section was not run
    assert verdicts["busy p99 beside 5,000 idle to alone"][0] == "1.50 (1.10-2.00)"
    assert verdicts["import restsock to import requests"][-1] == "met"
    ours = "our own Python calls for one restsock.Session GET, "
    assert verdicts[f"{ours}wss"] == ["40.0 (40.0-40.0)", "≤ 200 calls", "met"]
    assert verdicts[f"{ours}ws"][-1] == "not measured"


def test_calls_are_shown_by_thread_and_package_after_their_sums(results: Results) -> None:
    table = next(table for table in tables(results) if table.title.startswith("Function calls"))
    assert table.header == ["", "restsock.Session, wss"]
    assert table.rows == [
        ["restsock, all threads", "40 / 50"],
        ["all, all threads", "47 / 58"],
        ["calling thread: restsock.protocol", "40 / 50"],
        ["server's worker: flask", "7 / 8"],
    ]


def test_the_delay_of_events_is_compared_with_that_of_the_app_itself(results: Results) -> None:
    table = next(table for table in tables(results) if table.title.startswith("Delay"))
    assert table.rows == [
        ["waitress", "1.00", "3.00", "-"],
        [INGRESS, "2.00", "3.00", "3.00 (2.00-4.00)"],
    ]


def test_idle_clients_of_the_ingress_stand_beside_idle_connections(results: Results) -> None:
    held = {"listener_kib": 2.0, "dialer_kib": 3.0, "listener_core": 0.01, "dialer_core": 0.01}
    client = {"connections": 2000, "ingress_kib": 4.5, "connect_seconds": 2.5}
    rows = [{"connections": 2000, "connect_seconds": 1.5, **held}]
    idle = {"rows": rows, "clients": [client], "interval": 20}
    table = next(t for t in tables({**results, "idle": idle}) if t.title.startswith("Idle"))
    assert table.rows[-1] == ["2000, client of the ingress", "4.50", "-", "2.50"]


def test_tls_is_compared_with_tls_and_each_way_with_its_own_app() -> None:
    for name, way in WAYS.items():
        base = WAYS[reference(way)]
        assert (base.app, base.tls, base.caller) == (way.app, way.tls, "requests"), name


def test_tasks_are_compared_with_httpx_and_a_mounted_listener_with_a_native_one() -> None:
    for name, way in ASYNCIO_WAYS.items():
        assert reference(way) == (NATIVE if way.caller in ("session", "mounted") else HTTPX), name
        assert ASYNCIO_WAYS[reference(way)].app == way.app


def test_a_full_run_measures_every_target(results: Results) -> None:
    spells, tasks = (
        [
            {**spell(way, 0, 100), "workload": cell.workload, "threads": cell.threads}
            for cell in plan.cells
            for way in cell.ways
        ]
        for plan in (full_plan(1, 1), asyncio_plan(1, 1))
    )
    bulk = [
        {"way": way, "direction": direction, "round": 0, "mb_per_s": 100.0}
        for way in BULK_WAYS
        for direction in ("down", "up")
    ]
    latencies = {"idle": {"p99_ms": 1.0}, "beside": {"p99_ms": 2.0}}
    fairness = [{"way": way, "round": 0, **latencies} for way in FAIRNESS_WAYS]
    held = {"connections": MANY, "listener_kib": 2.0, "dialer_kib": 2.0, "listener_core": 0.01}
    calls = [{**results["calls"][0], "scheme": scheme} for scheme in SCHEMES]
    gateways = [
        {**cell, "messages": 100, "seconds": 0.5, "p99_ms": 2.0}
        for name in {**CALLS, **PASSES}
        for sessions, in_flight in GATEWAY_CELLS
        for cell in [
            {"gateway": name, "sessions": sessions, "in_flight": in_flight, "round": 0},
        ]
    ]
    pumped = [message_spell(way, 0, "pump", 100) for way in message_ways.WAYS]
    full = {
        **results,
        "messages": {**results["messages"], "spells": pumped},
        "rates": {"spells": spells},
        "asyncio": {"spells": tasks},
        "transfers": {"bulk": bulk, "fairness": fairness},
        "idle": {"rows": [held], "interval": 20},
        "calls": calls,
        "gateway": {
            "spells": gateways,
            "passes": gateways,
            "weights": [{"gateway": OURS, "kib": 20.0}],
            "hostile": [{"where": where, "round": 0, "p99_ms": 1.0} for where in GATEWAY_WHERE],
        },
    }
    assert [target.title for target in TARGETS if target.measure(full) is None] == []


def test_a_quick_run_asks_only_ways_that_are_there() -> None:
    cells = quick_plan(1, 1).cells
    assert {way for cell in cells for way in cell.ways} <= set(WAYS)


def test_code_belongs_to_restsock_by_where_it_lies_and_not_by_a_folder_of_that_name() -> None:
    flask = ROOT / ".venv" / "lib" / "site-packages" / "flask" / "app.py"
    for path, package in {
        ROOT / "restsock" / "protocol" / "_frames.py": "restsock.protocol",
        ROOT / "restsock" / "_options.py": "restsock._options",
        ROOT / "tests" / "bench" / "spells.py": "the benchmark",
        flask: "flask",
        Path(os.__file__): "standard library",
    }.items():
        assert package_of(str(path)) == package


def test_the_page_keeps_all_but_its_figures(results: Results, tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    text = page.PAGE.read_text()
    copy.write_text(text)
    page.write_page(results, copy)
    once = copy.read_text()
    page.write_page(results, copy)
    assert copy.read_text() == once
    assert once.startswith(text[: text.index("## Figures")])
    assert "SKIP nginx" in once
    assert "| restsock.Session, 1 | 600 | 3.00 (2.50-4.00) waitress | 0.75 |" in once


def test_the_page_keeps_the_sections_that_were_not_run(results: Results, tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text(page.PAGE.read_text())
    page.write_page({**results, "rates": {"spells": [spell(SESSION, 0, 300)]}}, copy)
    only = {"machine": {**results["machine"], "date": "2026-02-03"}, "skipped": []}
    page.write_page({**only, "messages": results["messages"]}, copy)
    text = copy.read_text()
    assert "| restsock.Session, 1 | 600 |" in text
    assert "| websockets, echo, 100 B | 1600 |" in text
    _, _, section = text.partition("<!-- section messages -->")
    assert section.strip().startswith("2026-02-03, Python 3.11")
    assert text.count("2026-02-03") == 1
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if "| met |" in line}
    assert "0.70 (0.60-0.80)" in rows["messages of 100 B in memory to an echo of websockets"]
    assert "1.50 (1.10-2.00)" in rows["busy p99 beside 5,000 idle to alone"]  # from before


_FAMILY = """
import json, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
for line in sys.stdin:
    print(json.dumps({"child": child.pid}), flush=True)
"""


def test_no_process_outlives_the_one_that_was_started() -> None:
    with running([sys.executable, "-c", _FAMILY]) as process:
        tell(process, {})
        child = hear(process)["child"]
        assert tree(process.pid) == [process.pid, child]
        handle = os.pidfd_open(child)
    try:
        # Readable once the process has ended.
        assert select.select([handle], [], [], 10)[0]
    finally:
        os.close(handle)


def test_an_idle_connection_stays_light() -> None:
    """Bytes do not depend on the machine, and little on the version of Python."""
    weights = weigh(200)
    ours = ("restsock.connection", "restsock.protocol", "restsock.server")
    # The task of a dialer waits in coroutines, whose frames are objects of their own before 3.11.
    bounds = {"listener": (3300, 34), "dialer": (3600, 45)}
    if sys.version_info < (3, 11):
        bounds = {"listener": (3400, 34), "dialer": (4400, 50)}
    for side, (most, objects) in bounds.items():
        found = weights[side]
        assert sum(found["bytes"].get(package, 0) for package in ours) <= most, weights
        assert found["objects"] <= objects, weights


def test_an_idle_client_of_the_ingress_stays_light() -> None:
    found = weigh_client(200)
    ours = ("restsock.connection", "restsock.http1", "restsock.http_server", "restsock.protocol")
    assert sum(found["bytes"].get(package, 0) for package in ours) <= 3550, found
    assert found["objects"] <= 38, found
