"""The benchmarks' own arithmetic and housekeeping, without measuring anything."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import page
from tests.bench.figures import Results, Spread, rate_ratio
from tests.bench.processes import hear, running, tell, tree
from tests.bench.tables import tables
from tests.bench.ways import SESSION

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


@pytest.fixture
def results() -> Results:
    pairs = [(100, 300), (200, 500), (50, 200)]
    spells = [
        spell(way, turn, requests)
        for turn, pair in enumerate(pairs)
        for way, requests in zip(("waitress", SESSION), pair, strict=True)
    ]
    machine = {"date": "2026-01-02", "python": "3.11", "system": "Linux", "cpus": 2, "cpu": "X"}
    return {
        "machine": {**machine, "versions": {"trio": "0.35"}},
        "skipped": ["SKIP nginx: no nginx: apt-get install nginx-light"],
        "rates": {"spells": spells},
        "import": {"ms": [90.0, 100.0, 130.0], "heavy": []},
    }


def test_a_ratio_is_taken_within_each_round(results: Results) -> None:
    assert rate_ratio(results, SESSION, "waitress", "small", 1) == Spread(3.0, 2.5, 4.0)


def test_a_way_that_was_skipped_has_no_ratio(results: Results) -> None:
    assert rate_ratio(results, SESSION, "ssh -R", "small", 1) is None


def test_the_headline_says_what_was_met_and_what_was_not_measured(results: Results) -> None:
    verdicts = {row[0]: row[1:] for row in tables(results)[0].rows}
    assert verdicts["restsock.Session to waitress, 1 thread"] == [
        "3.00 (2.50-4.00)",
        "≥ 2.3 x",
        "met",
    ]
    assert verdicts["restsock.Session to ssh -R, small GET"][-1] == "not measured"
    assert not any("bulk" in title for title in verdicts)  # that section was not run


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
