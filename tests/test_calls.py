"""How many function calls one small request costs: a budget, and nothing here is timed.

`tests.bench.calls` counts them at both ends and in all threads. `python -m tests.bench.calls
session ws --functions` says where they are made.
"""

from __future__ import annotations

import sys

import pytest

from tests.bench.calls import measure_one

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="without epoll a waiting thread does not read for itself"
)

# Calls of restsock's own functions, and of functions in C by them, for one GET of
# `restsock.Session`, of `restsock.aio` from a task whose loop reads the socket, and of plain HTTP
# (and HTTPS) to a WSGI endpoint of a listener; and of plain HTTP to a peer by way of the ingress,
# in the process of the ingress alone.
# These must only ever go down: what a change saves is taken off here with it, and a change that
# costs more saves it elsewhere. The few to spare are for versions of Python to come; from 3.10 to
# 3.13 they differ by three.
BUDGETS = {
    ("session", "ws"): (247, 377),
    ("session", "wss"): (259, 381),
    ("aio", "ws"): (283, 326),
    ("aio", "wss"): (295, 330),
    ("plain", "ws"): (118, 163),
    ("plain", "wss"): (124, 165),
    ("ingress", "ws"): (175, 197),
    ("ingress", "wss"): (187, 201),
}


@pytest.mark.parametrize(("kind", "scheme"), BUDGETS)
def test_one_get_stays_within_its_budget_of_calls(kind: str, scheme: str) -> None:
    figures = measure_one(kind, scheme)
    python, c = figures["own"]
    most_python, most_c = BUDGETS[kind, scheme]
    assert python <= most_python, figures["cells"]
    assert c <= most_c, figures["cells"]
    # Both ends were counted, and our parts at either: nothing is cheap because it was not seen.
    parts = {(cell["thread"], cell["package"]) for cell in figures["cells"]}
    if kind == "ingress":
        for package in ("connection", "http1", "ingress", "protocol", "server"):
            assert ("server's loop", f"restsock.{package}") in parts
        return
    calling = () if kind == "plain" else ("calling thread",)
    for thread in (*calling, "server's loop", "server's worker"):
        assert (thread, "restsock.protocol") in parts
    assert ("server's worker", "flask") in parts
    if kind == "aio":
        assert ("caller's loop", "restsock.protocol") not in parts  # the task's loop has read
