"""Faults of a real network: two hosts (network namespaces) with a wire of packets in between.

    python -m tests.faults.network      internal: runs in a namespace of its own; rows as JSON

Nothing of it touches the network of this machine: the interfaces are in namespaces without a name,
which end with their processes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.faults.field import HANDSHAKE, ROOT, Family, Field, Row, Side, field
from tests.faults.ledger import Counts
from tests.faults.scenarios import SILENCE, STEP, problems
from tests.waiting import until

__all__ = ["measure", "why_not"]

HERE, THERE = "10.77.0.1", "10.77.0.2"
_CALLER, _PEER = "caller0", "peer0"
_WIRE = ("wire0", "wire1")

# A line with 600 ms for a lost packet and its repetition needs more patience than the others.
_PATIENT = (1.0, 4.0)


def _unshare() -> list[str] | None:
    """The command in front of another that gives it a network of its own; None: there is none."""
    if not shutil.which("unshare") or not shutil.which("ip") or not shutil.which("nsenter"):
        return None
    for words in (["unshare", "-n"], ["unshare", "-rn"]):
        probe = [*words, "ip", "link", "add", "name", "probe0", "type", "veth"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return words
    return None


def why_not() -> str:
    """Why there is no network to be had; "" when there is."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    return "" if _unshare() else "no network namespace: needs root or user namespaces, and iproute2"


class Network:
    """The two hosts. The caller's is that of this process."""

    def __init__(self, family: Family, wire: trio.Process) -> None:
        self.family = family
        self._wire = wire

    async def be(self, **command: Any) -> None:
        """How the wire is from now on: see `tests.faults.wire`. Nothing: faultless."""
        assert self._wire.stdin is not None
        assert self._wire.stdout is not None
        await self._wire.stdin.send_all(json.dumps(command).encode() + b"\n")
        await self._wire.stdout.receive_some()

    async def link(self, state: str) -> None:
        """ "up" or "down": the caller's cable."""
        await _run("ip", "link", "set", _CALLER, state)


async def _run(*words: str) -> None:
    await trio.run_process(list(words))


@contextlib.asynccontextmanager
async def network() -> AsyncIterator[Network]:
    """Makes it, from within a namespace of its own."""
    python = [sys.executable, "-m", "tests.faults.wire"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    await _run("ip", "link", "set", "lo", "up")
    async with Family(["unshare", "-n"], {"RESTSOCK_FAULTS_HOST": THERE}) as family:
        there = ["nsenter", "-t", str(family.pid), "-n"]
        await _namespace_of(family.pid)
        await _run("ip", "link", "add", "name", _CALLER, "type", "veth", "peer", "name", _WIRE[0])
        await _run("ip", "link", "add", "name", _PEER, "type", "veth", "peer", "name", _WIRE[1])
        for name in _WIRE:
            await _run("ip", "link", "set", name, "up")
            await _run(*python, "plain", name)
        await _run("ip", "link", "set", _PEER, "netns", str(family.pid))
        await _run(*there, "ip", "link", "set", "lo", "up")
        for prefix, name, address in (([], _CALLER, HERE), (there, _PEER, THERE)):
            await _run(*prefix, "ip", "addr", "add", f"{address}/24", "dev", name)
            await _run(*prefix, "ip", "link", "set", name, "up")
            await _run(*prefix, *python, "plain", name)
        wire = await trio.lowlevel.open_process(
            [*python, "forward", *_WIRE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        try:
            assert wire.stdout is not None
            await wire.stdout.receive_some()
            yield Network(family, wire)
        finally:
            wire.kill()
            with trio.CancelScope(shield=True):
                await wire.wait()


async def _namespace_of(pid: int) -> None:
    """Waits until the process has a network of its own: `unshare` is a step behind its start."""
    own, its = Path("/proc/self/ns/net"), Path(f"/proc/{pid}/ns/net")
    await until(lambda: own.readlink() != its.readlink(), 10)


@dataclass(frozen=True)
class _Fault:
    """How the wire is while it lasts. `lost`: whether connections are to end of it."""

    name: str
    wire: dict[str, Any] | None
    lost: bool
    detect: float = SILENCE
    recover: float = HANDSHAKE + STEP
    kinds: tuple[str, ...] = ("small", "both", "upload", "stream", "impatient")
    seconds: float = 3.0


_FAULTS = (
    _Fault("packets: link down, then up", None, True),
    _Fault("packets: all lost, then none", {"lost": ["A", "B"]}, True),
    # Only the peer can notice. What it says of that arrives; what is left to say to it does not
    # leave, and is given up behind a second.
    _Fault("packets: those to the peer lost", {"lost": ["A"]}, True, SILENCE + 1.0),
    _Fault("packets: those from the peer lost", {"lost": ["B"]}, True),
    _Fault("packets: 5 % lost", {"loss": 0.05}, False, kinds=("small", "both")),
    _Fault("packets: 300 ms", {"delay": 0.15}, False, kinds=("small", "both")),
    _Fault(
        "packets: 300 ms and 5 % lost",
        {"delay": 0.15, "loss": 0.05},
        False,
        kinds=("small", "both"),
        seconds=6.0,
    ),
)


async def _try(fault: _Fault, side: Side, net: Network) -> Row:
    through = (HERE, THERE)
    heartbeat = None if fault.lost else _PATIENT
    async with field(fault.name, side, net.family, through=through, heartbeat=heartbeat) as one:
        one.row.lost = fault.lost
        if fault.lost:
            one.row.detect_limit, one.row.recover_limit = fault.detect, fault.recover
        async with one.load(*fault.kinds):
            await one.answered(10)
            if fault.lost:
                await _lose(fault, one, net)
            else:
                await net.be(**(fault.wire or {}))
                await trio.sleep(fault.seconds)
                await net.be()
            await one.answered(10)
    return one.row


async def _lose(fault: _Fault, one: Field, net: Network) -> None:
    async def break_() -> None:
        if fault.wire is None:
            await net.link("down")
        else:
            await net.be(**fault.wire)

    async def mend() -> None:
        if fault.wire is None:
            await net.link("up")
        else:
            await net.be()

    await one.suffer(break_, mend, linger=0.3)


async def _all(only: str, slack: float) -> dict[str, Any]:
    rows, found = [], []
    sides: tuple[Side, ...] = ("dials", "listens")
    async with network() as net:
        for fault in _FAULTS:
            if only.lower() in fault.name.lower():
                for side in sides:
                    row = await _try(fault, side, net)
                    rows.append(row.as_json())
                    found += [
                        f"{row.fault}, caller {row.caller}: {what}"
                        for what in problems(row, slack=slack, no_failures=not fault.lost)
                    ]
    return {"rows": rows, "problems": found}


def measure(only: str = "", *, slack: float = 1.0) -> tuple[list[Row], list[str]]:
    """All faults whose name has `only` in it, in a network of its own; rows, and what is wrong."""
    if not any(only.lower() in fault.name.lower() for fault in _FAULTS):
        return [], []
    reason = why_not()
    if reason:
        return [Row("packets", "both", Counts(), skipped=reason)], []
    words = _unshare()
    assert words is not None
    done = subprocess.run(
        [*words, sys.executable, "-m", "tests.faults.network", only, str(slack)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    if done.returncode:
        return [], [f"the faults of the network ended with {done.returncode}"]
    document = json.loads(done.stdout)
    rows = []
    for fields in document["rows"]:
        counts = Counts()
        for name, value in fields.pop("counts").items():
            if name not in ("clean", "errors"):
                setattr(counts, name, value)
        rows.append(Row(**{**fields, "counts": counts}))
    return rows, document["problems"]


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(trio.run(_all, sys.argv[1], float(sys.argv[2]))))
