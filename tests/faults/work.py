"""The app of the runs: it notes in the ledger what it is called with, and answers so that it shows.

`/work?reply=N&pause=S` reads the whole body and answers with a line `id bytes crc32` and N bytes
that depend on the id, in blocks with pauses of S seconds in between. `/echo` is a WebSocket that
sends back what comes. So a caller can tell an answer of its own from any other, to the byte.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from tests.faults.ledger import Ledger

__all__ = ["BLOCK", "asgi_work", "expected", "wsgi_work"]

BLOCK = 8192

_ID = b"x-request-id"


def blocks(id_: str, nbytes: int) -> Iterator[bytes]:
    """The bytes behind the first line."""
    block = hashlib.sha256(id_.encode()).digest() * (BLOCK // 32)
    for at in range(0, nbytes, BLOCK):
        yield block[: nbytes - at]


def first_line(id_: str, nbytes: int, crc: int) -> bytes:
    return f"{id_} {nbytes} {crc:08x}\n".encode()


def expected(id_: str, sent: bytes, reply: int) -> bytes:
    """The one right answer."""
    return first_line(id_, len(sent), zlib.crc32(sent)) + b"".join(blocks(id_, reply))


def _wishes(query: str) -> tuple[int, float]:
    wishes = parse_qs(query)
    return int(wishes.get("reply", ["0"])[0]), float(wishes.get("pause", ["0"])[0])


class _Leak:
    """Keeps so many bytes of each request."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._kept: list[bytes] = []

    def request(self) -> None:
        if self._nbytes:
            self._kept.append(bytes(self._nbytes))


def asgi_work(ledger: Ledger, leak: int = 0) -> Callable[..., Any]:
    """The app for the loop. With the WebSocket."""
    leaking = _Leak(leak)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await _echo(ledger, scope, receive, send)
            return
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        id_ = dict(scope["headers"])[_ID].decode()
        ledger.note("R", id_)
        leaking.request()
        nbytes = crc = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            nbytes += len(message.get("body", b""))
            crc = zlib.crc32(message.get("body", b""), crc)
            more = message.get("more_body", False)
        reply, pause = _wishes(scope["query_string"].decode())
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(_ID, id_.encode())],
            }
        )
        head = first_line(id_, nbytes, crc)
        await send({"type": "http.response.body", "body": head, "more_body": reply > 0})
        left = reply
        for block in blocks(id_, reply):
            if pause:
                await asyncio.sleep(pause)
            left -= len(block)
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})

    return app


async def _echo(ledger: Ledger, scope: dict[str, Any], receive: Any, send: Any) -> None:
    ledger.note("R", dict(scope["headers"])[_ID].decode())
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def wsgi_work(ledger: Ledger, leak: int = 0) -> Callable[..., Iterable[bytes]]:
    """The app for threads."""
    leaking = _Leak(leak)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        id_ = environ["HTTP_X_REQUEST_ID"]
        ledger.note("R", id_)
        leaking.request()
        nbytes = crc = 0
        while data := environ["wsgi.input"].read(65536):
            nbytes += len(data)
            crc = zlib.crc32(data, crc)
        reply, pause = _wishes(environ["QUERY_STRING"])
        start_response("200 OK", [("X-Request-Id", id_)])
        yield first_line(id_, nbytes, crc)
        for block in blocks(id_, reply):
            if pause:
                time.sleep(pause)
            yield block

    return app
