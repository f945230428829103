"""The parts alone: frames and heads on the short cut, against wsproto and h11; and the import."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import h11
from wsproto.frame_protocol import FrameProtocol

from restsock.protocol import RequestHead
from restsock.protocol._heads_fast import decode_request_fast, encode_request_fast
from restsock.protocol._websocket import WebSocket
from tests.bench.processes import ROOT, environment

_KEY = b"\x12\x34\x56\x78"
_SIZES = (205, 16 * 1024)
_HEAD = RequestHead(
    b"GET",
    b"/pets/7?full=yes",
    [
        (b"Host", b"edge-1"),
        (b"User-Agent", b"python-requests/2.34.0"),
        (b"Accept-Encoding", b"gzip, deflate"),
        (b"Accept", b"*/*"),
        (b"Authorization", b"Bearer 0123456789abcdef0123456789abcdef"),
        (b"X-Request-Id", b"5f0c6c1e-6f4e-4a34-8f8c-3d7b2f0f0c11"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"0"),
        (b"Cache-Control", b"no-cache"),
        (b"Accept-Language", b"en"),
    ],
)


def microseconds(call: Callable[[], object], seconds: float) -> float:
    """The median time of one call, from spells of about a millisecond."""
    call()
    begin = time.perf_counter()
    call()
    count = max(1, int(0.001 / max(time.perf_counter() - begin, 1e-7)))
    spells = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        spells.append((time.perf_counter() - begin) / count)
    return statistics.median(spells) * 1e6


def _frames(size: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    payload = bytes(size)
    dialer = WebSocket(client=True, max_message=1 << 20, mask_key=lambda: _KEY)
    listener = WebSocket(client=False, max_message=1 << 20)
    dialer_w = FrameProtocol(client=True, extensions=[])
    listener_w = FrameProtocol(client=False, extensions=[])

    def send(websocket: WebSocket) -> bytes:
        websocket.send_binary(payload)
        return websocket.data_to_send()

    def receive(websocket: WebSocket, data: bytes) -> object:
        websocket.receive_data(data)
        return websocket.next_event()

    def receive_w(protocol: FrameProtocol, data: bytes) -> object:
        protocol.receive_bytes(data)
        return list(protocol.received_frames())

    masked, unmasked = send(dialer), send(listener)
    return {
        f"frame of {size} B, masked, send": (
            lambda: send(dialer),
            lambda: dialer_w.send_data(payload),
        ),
        f"frame of {size} B, masked, receive": (
            lambda: receive(listener, masked),
            lambda: receive_w(listener_w, masked),
        ),
        f"frame of {size} B, unmasked, send": (
            lambda: send(listener),
            lambda: listener_w.send_data(payload),
        ),
        f"frame of {size} B, unmasked, receive": (
            lambda: receive(dialer, unmasked),
            lambda: receive_w(dialer_w, unmasked),
        ),
    }


def _heads() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    plain = encode_request_fast(_HEAD)
    assert plain is not None
    data = plain[0]

    def serialize() -> object:
        connection = h11.Connection(h11.CLIENT)
        headers = list(_HEAD.headers)
        return connection.send(
            h11.Request(method=_HEAD.method, target=_HEAD.target, headers=headers)
        )

    def parse() -> object:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(data)
        return connection.next_event()

    return {
        "request head of 10 fields, serialize": (lambda: encode_request_fast(_HEAD), serialize),
        "request head of 10 fields, parse": (lambda: decode_request_fast(data), parse),
    }


def measure(seconds: float) -> list[dict[str, Any]]:
    """Microseconds of each codec and of the library that it stands in for."""
    pairs = _heads()
    for size in _SIZES:
        pairs.update(_frames(size))
    return [
        {
            "what": what,
            "restsock_us": microseconds(ours, seconds),
            "library_us": microseconds(theirs, seconds),
        }
        for what, (ours, theirs) in pairs.items()
    ]


# --- the import -------------------------------------------------------------------------------

_HEAVY = ("requests", "jsonschema", "click")
_IMPORT = f"""
import importlib, json, sys, time
begin = time.process_time()
importlib.import_module(sys.argv[1])
took = time.process_time() - begin
print(json.dumps({{"ms": took * 1e3, "heavy": [m for m in {_HEAVY!r} if m in sys.modules]}}))
"""


def measure_import(times: int) -> dict[str, Any]:
    """CPU milliseconds of our two imports and, in turns, of `import requests`; what ours load.

    Each in a fresh interpreter, and all of them from bytecode, as it is from the second run of a
    program on. What they load is only what they should not.
    """
    modules = ("restsock", "restsock.sync", "requests")
    with tempfile.TemporaryDirectory() as bytecode:
        env = {**environment(), "PYTHONPYCACHEPREFIX": bytecode}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        heavy = [m for module in modules[:2] for m in _import(module, env)["heavy"]]
        _import("requests", env)
        runs = [{module: _import(module, env)["ms"] for module in modules} for _ in range(times)]
    return {"heavy": heavy} | {module: [run[module] for run in runs] for module in modules}


def _import(module: str, env: dict[str, str]) -> dict[str, Any]:
    out = subprocess.run(
        [sys.executable, "-c", _IMPORT, module],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    ).stdout
    found: dict[str, Any] = json.loads(out)
    return found
