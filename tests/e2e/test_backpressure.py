"""Large bodies both ways at once: memory stays bounded, and small requests keep flowing.

The full size, 1 GiB each way, is `tests/bench/bench_bulk.py`; this runs the same script with less.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from restsock.testing import connected_pair

SCRIPT = Path(__file__).parent.parent / "bench" / "bench_bulk.py"
MIB = 1024 * 1024
OPTIONS = restsock.Options(
    heartbeat=restsock.Heartbeat(interval=None), timeouts=restsock.Timeouts(disconnect=0.05)
)


@pytest.mark.timeout(120)  # on a slow machine; here it takes some seconds
def test_64_mib_both_ways_at_once(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        # Each body is larger than what memory may grow by: whoever held one whole would be caught.
        [sys.executable, SCRIPT, "--mib", "64", "--limit", "48", "--json", figures],
        capture_output=True,
        text=True,
        check=False,
        # So that it finds the package whether or not that is installed.
        env={**os.environ, "PYTHONPATH": str(Path(restsock.__file__).parent.parent)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())
    if sys.platform == "linux":
        assert set(report["rss_growth"]) == {"caller", "server"}
    assert report["small_meanwhile"]["count"] >= 5, "small requests went on during the transfers"


class Producer:
    """An ASGI app whose /endless never stops by itself, and which counts what it got rid of."""

    def __init__(self) -> None:
        self.produced = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while scope["path"] == "/endless":
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            self.produced += 65536
        await send({"type": "http.response.body", "body": b"small"})


async def test_a_reader_that_stalls_stops_the_app_and_nobody_else() -> None:
    app = Producer()
    async with connected_pair(app_b=app, loop_b="trio", options=OPTIONS) as (dialer, _):
        async with dialer.stream("GET", "/endless") as response:
            assert response.status == 200
            with trio.fail_after(60):
                # Nothing is read: in the end everybody waits, and it takes no time to see it.
                await trio.testing.wait_all_tasks_blocked(0.05)
                stalled_at = app.produced
                assert 0 < stalled_at < OPTIONS.limits.max_window + MIB
                for _ in range(20):
                    assert (await dialer.request("GET", "/small")).body == b"small"
                assert app.produced == stalled_at
                # Reading again lets it go on.
                received = 0
                async for data in response:
                    received += len(data)
                    if received > 8 * MIB:
                        break
            assert app.produced > stalled_at


async def test_an_upload_that_nobody_reads_stops_its_sender() -> None:
    sent = 0

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        if scope["path"] == "/never-reads":
            await trio.sleep_forever()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"small"})

    async def body() -> Any:
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    async with connected_pair(app_b=app, loop_b="trio", options=OPTIONS) as (dialer, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: dialer.request("POST", "/never-reads", body=body()))
            await trio.testing.wait_all_tasks_blocked(0.05)
            stalled_at = sent
            assert 0 < stalled_at < MIB
            for _ in range(20):
                assert (await dialer.request("GET", "/small")).body == b"small"
            assert sent == stalled_at
            nursery.cancel_scope.cancel()
