"""How many function calls one call of a client costs, from its message to its answer: a budget.

A message of JSON becomes a request of HTTP, with a `Timeout` before it. The client and the server
are threads of their own; what is counted is the loop.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
import trio

from restsock.gateway import HTTP, Action, Channel, Gateway, Router, Timeout
from tests.gateway.site import served

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="without epoll each connection has a task that reads"
)

_CALLS = 100

# In Python, of restsock's own functions. They must only ever go down: what a change saves is taken
# off here with it. The few to spare are for versions of Python to come.
_OWN = 219
# What of trio costs most: tasks that are woken, scopes that are entered, and system calls that
# change what is waited for.
_TRIO = {"Runner.reschedule": 4, "CancelScope.__enter__": 1, "EpollIOManager.wait_readable": 4}

_MASK = bytes(4)
_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_BODY = b'{"text":"cat"}'
_MESSAGE = json.dumps({"action": "echo", "id": 1, "text": "cat"}).encode()
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def echo(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        received = b""
        while data := connection.recv(65536):
            received += data
            if received.endswith(_BODY):
                received = b""
                connection.sendall(_ANSWER % (len(_BODY), _BODY))


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(_HANDSHAKE)
    assert b" 101 " in client.recv(65536)
    return client


def ask(client: socket.socket, count: int) -> None:
    for _ in range(count):
        client.sendall(bytes([0x81, 0x80 + len(_MESSAGE)]) + _MASK + _MESSAGE)
        assert b'"status":200' in client.recv(65536)


class Count:
    """Counts the functions that this thread calls."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.trio: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)  # 3.11 and later
        if "/restsock/" in code.co_filename and "/tests/" not in code.co_filename:
            self.own[f"{code.co_filename.rpartition('/restsock/')[2]} {name}"] += 1
        elif "/trio/_core/" in code.co_filename:
            self.trio[name] += 1

    async def over(self, function: Callable[[], object]) -> None:
        await trio.to_thread.run_sync(function)  # a thread of trio's is there from now on
        sys.setprofile(self)
        try:
            await trio.to_thread.run_sync(function)
        finally:
            sys.setprofile(None)


async def test_one_call_stays_within_its_budget_of_function_calls() -> None:
    before = sys.getprofile()
    with socket.create_server(("127.0.0.1", 0)) as behind:
        threading.Thread(target=echo, args=(behind,), daemon=True).start()
        backend = HTTP(f"http://127.0.0.1:{behind.getsockname()[1]}/call")
        router = Router({"echo": backend})
        gateway = Gateway([Channel("/ws", Action(), router, middleware=[Timeout(10)])])
        async with served(gateway) as server:
            port = server.address[1]
            with await trio.to_thread.run_sync(connected, port) as client:
                count = Count()
                try:
                    await count.over(partial(ask, client, _CALLS))
                finally:
                    sys.setprofile(before)
    each = {name: n / _CALLS for name, n in count.own.items()}
    most = sorted(each.items(), key=lambda item: -item[1])
    assert sum(each.values()) <= _OWN, most
    answers = "gateway/_conversation.py Conversation._answer"
    if sys.version_info < (3, 11):  # it has no qualified names
        answers = answers.replace("Conversation.", "")
    assert each[answers] >= 1  # it was counted
    if sys.version_info >= (3, 11):
        for name, budget in _TRIO.items():
            assert count.trio[name] / _CALLS <= budget + 0.2, name
