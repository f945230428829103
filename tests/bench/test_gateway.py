"""The section of gateways: its arithmetic, and that each of them answers for a moment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import gateway, gateway_figures, gateway_ways, node
from tests.bench.figures import Results, Spread
from tests.bench.gateway_ways import CALLS, DIRECT, FASTAPI, NGINX, NODE, OURS, PASSES, PUSHPIN
from tests.bench.gateway_wire import accept_for, frame, frames, masked
from tests.bench.targets import TARGETS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

_CELL = (1, 1)


def spell(name: str, turn: int, count: int, p99: float = 2.0) -> dict[str, Any]:
    cpu = {"gateway_cpu": 0.1, "backend_cpu": 0.05, "load_cpu": 0.05}
    ends = {"errors": 0, "strange": 0, "unanswered": 0}
    latencies = {"p50_ms": 1.0, "p99_ms": p99}
    where = {"gateway": name, "sessions": 1, "in_flight": 1, "round": turn}
    return {**where, "messages": count, "seconds": 0.5, **latencies, **cpu, **ends}


@pytest.fixture
def results() -> Results:
    counts = [(100, 300), (200, 500), (50, 200)]
    spells = [
        spell(name, turn, count, p99)
        for turn, pair in enumerate(counts)
        for name, count, p99 in zip((FASTAPI, OURS), pair, (4.0, 1.0), strict=True)
    ]
    passes = [spell(NGINX, 0, 1000), spell(OURS, 0, 300)]
    fan = {"messages": 190, "expected": 200, "seconds": 0.5, "p50_ms": 1.0, "p99_ms": 2.0}
    fans = [{"gateway": name, "round": 0, **fan} for name in (FASTAPI, OURS)]
    weights = [
        {"gateway": name, "kib": kib, "opened_per_second": 500.0}
        for name, kib in ((FASTAPI, 20.0), (OURS, 30.0))
    ]
    hostile = [
        {**spell(OURS, 0, 50, p99), "where": where}
        for where, p99 in ((gateway.ALONE, 1.0), (gateway.STEADY, 2.0), (gateway.BESIDE, 1.1))
    ]
    found = {
        "hostile": hostile,
        "spells": spells,
        "passes": passes,
        "fans": fans,
        "weights": weights,
    }
    return {"gateway": {**found, "sessions": 100}}


def test_gateways_are_compared_within_each_round(results: Results) -> None:
    ratio = gateway_figures.gateway_ratio
    assert ratio(results, FASTAPI, _CELL) == Spread(3.0, 2.5, 4.0)
    assert gateway_figures.gateway_late(results, FASTAPI, _CELL) == Spread(0.25, 0.25, 0.25)
    assert ratio(results, NGINX, _CELL, section="passes") == Spread(0.3, 0.3, 0.3)
    assert ratio(results, PUSHPIN, _CELL) is None  # it was skipped
    assert gateway_figures.gateway_weight(results) == Spread(30.0, 30.0, 30.0)
    calls, passes, fans, hostile = gateway_figures.gateway_tables(results)
    assert [row[0] for row in calls.rows] == [f"1 session x 1: {one}" for one in (FASTAPI, OURS)]
    assert calls.rows[1][1:] == [
        *("600", "-", "-", "3.00 (2.50-4.00)", "1.00", "1.00", "300", "150", "150", "0"),
    ]
    assert [row[0] for row in passes.rows] == [f"1 session x 1: {one}" for one in (NGINX, OURS)]
    assert fans.rows[1] == [OURS, "380", "1.00", "2.00", "10", "30.0", "500"]
    assert hostile.rows[2] == [
        *(gateway.BESIDE, "100", "1.00", "1.10", "1.10 (1.10-1.10)", "20.0", "-"),
    ]
    assert gateway_figures.gateway_harm(results) == Spread(0.55, 0.55, 0.55)
    for table in (calls, passes, fans, hostile):
        assert {len(row) for row in table.rows} == {len(table.header)}


def test_a_target_of_gateways_without_a_peer_is_not_measured(results: Results) -> None:
    verdicts = {
        target.title: target.verdict(target.measure(results))
        for target in TARGETS
        if target.section == "gateway"
    }
    assert verdicts["gateway to FastAPI and httpx, calls/s, 1 session x 1"] == "met"
    assert verdicts["gateway to pushpin, calls/s, 1 session x 1"] == "not measured"
    assert verdicts["gateway: a quiet session of 1,000"] == "met"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_are_read_as_they_are_written(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    assert frames(frame(2, body)) == ([(2, body)], b"")
    sent = masked(1, body)
    assert frames(sent + sent[:-1] if size else sent) == ([(1, body)], sent[:-1] if size else b"")
    key = b"\1\2\3\4"
    hidden = bytes(byte ^ key[at % 4] for at, byte in enumerate(body))
    at = len(sent) - size - 4
    assert frames(sent[:at] + key + hidden) == ([(1, body)], b"")


def test_the_echo_accepts_a_handshake() -> None:
    """The example of RFC 6455, section 1.3."""
    head = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accept_for(head)


@pytest.mark.timeout(180)  # it starts twenty processes
def test_each_gateway_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that is here, for a moment, with few sessions. What is not is named."""
    monkeypatch.setattr(node, "MODULES", tmp_path)
    monkeypatch.setattr(gateway_ways, "which", lambda name: None)
    found = gateway.measure(tmp_path, rounds=1, seconds=0.1, sessions=4, pushes=2)
    names = dict.fromkeys((*CALLS, NGINX))
    skipped = [name for name in names if gateway_ways.skipped(name) is not None]
    assert {PUSHPIN, NODE, NGINX} <= {*skipped} <= {PUSHPIN, NODE, NGINX, FASTAPI}
    assert [line.split(":")[0] for line in found["skipped"]] == [
        f"SKIP gateway {name}" for name in skipped
    ]
    assert "npm install" in capsys.readouterr().err
    assert {one["gateway"] for one in found["spells"]} == set(CALLS).difference(skipped)
    assert {one["gateway"] for one in found["passes"]} == {DIRECT, OURS}
    for one in found["spells"] + found["passes"]:
        assert one["messages"], one
        assert one["errors"] == one["strange"] == one["lost"] == 0, one
    for fan in found["fans"]:
        assert fan["messages"] == fan["expected"] == 8, fan
    assert [one["where"] for one in found["hostile"]] == list(gateway.WHERE)
    assert all(one["messages"] for one in found["hostile"])


@pytest.mark.parametrize("name", [PUSHPIN, NODE, NGINX])
def test_gateways_that_are_no_packages_of_python_answer(name: str, tmp_path: Path) -> None:
    why = gateway_ways.skipped(name)
    if why is not None:
        pytest.skip(why)
    found = gateway.measure(tmp_path, rounds=1, seconds=0.1, sessions=4, pushes=2, only=(name,))
    for one in found["spells"] + found["passes"]:
        assert one["messages"], one
        assert one["errors"] == one["strange"] == one["lost"] == 0, one
    for fan in found["fans"]:
        assert fan["messages"] == fan["expected"], fan
    assert {one["gateway"] for one in found["spells"] + found["passes"]} == {name}
    assert (name in PASSES) == bool(found["passes"])
