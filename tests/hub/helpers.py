"""A hub on free ports of loopback, its admin client, and a peer."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

import restsock
from restsock.hub import ADMIN_TOKEN, Config, Hub, load
from restsock.hub.admin import DOCUMENT
from restsock.openapi import Operation
from restsock.openapi import load as load_document

SPEC = load_document(DOCUMENT)
OPEN = {"getLiveness", "getReadiness"}


def request_of(operation: Operation, **fields: str) -> dict[str, Any]:
    """A request that keeps to the document."""
    path = operation.path.replace("{id}", "none").replace("{name}", "edge-9")
    request: dict[str, Any] = {"method": operation.method, "url": path, "headers": fields}
    bodies = {
        "explainRoute": {"url": "http://edge-1.localhost/"},
        "createToken": {"kind": "peer", "name": "x"},
    }
    if operation.method == "POST":
        request["json"] = bodies.get(operation.id or "", {})
    return request


FREE = {"peers.listen": "localhost:0", "admin.listen": "127.0.0.1:0", "ingress.wait": "100ms"}


def config_for(folder: Path, toml: str = "", **more: Any) -> Config:
    """A configuration whose file and state are in this folder."""
    path = folder / "hub.toml"
    path.write_text(toml, "utf-8")
    overrides = {**FREE, "hub.state": str(folder / "state")}
    return load(path, {**overrides, **{key.replace("__", "."): v for key, v in more.items()}})


def admin_token_of(hub: Hub) -> str:
    assert hub.config.hub.state is not None
    return (Path(hub.config.hub.state) / ADMIN_TOKEN).read_text("ascii").strip()


@asynccontextmanager
async def admin_of(hub: Hub, token: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the admin API with its token, or another one."""
    headers = {"Authorization": f"Bearer {token or admin_token_of(hub)}"}
    async with httpx.AsyncClient(base_url=hub.admin_url, headers=headers) as client:
        yield client


@asynccontextmanager
async def events_of(
    hub: Hub, target: str, last_event_id: str | None = None, token: str | None = None
) -> AsyncIterator[AsyncIterator[Any]]:
    """The data of server-sent events of the admin API, as they come."""
    host, _, port = hub.admin_url.removeprefix("http://").strip("/").rpartition(":")
    head = [f"GET {target} HTTP/1.1", f"Host: {host}:{port}", "Accept: text/event-stream"]
    head.append(f"Authorization: Bearer {token or admin_token_of(hub)}")
    if last_event_id is not None:
        head.append(f"Last-Event-ID: {last_event_id}")

    async def data(stream: trio.SocketStream, unread: bytes) -> AsyncGenerator[Any, None]:
        while True:
            *lines, unread = unread.split(b"\n")
            for line in lines:
                if line == b"0\r":
                    return  # the last chunk
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
            received = await stream.receive_some()
            if not received:
                return
            unread += received

    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all("\r\n".join([*head, "\r\n"]).encode())
        begun = await stream.receive_some()  # from here on it misses nothing
        async with aclosing(data(stream, begun)) as found:
            yield found


async def echo(request: restsock.Request) -> restsock.Response:
    """An app that answers with what it was asked."""
    return restsock.Response(200, body=f"{request.method} {request.target}")


class Load:
    """Requests one after another, over several connections, as long as its block runs.

    Attributes:
        statuses: of the answers.
    """

    def __init__(self, url: str, **fields: str) -> None:
        self.statuses: list[int] = []
        self._url = url
        self._fields = {"Restsock-Peer": "edge-1", **fields}
        self._done = False
        self._progress = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(self._send)
            try:
                yield self
            finally:
                self._done = True

    async def _send(self) -> None:
        async with httpx.AsyncClient(headers=self._fields, timeout=20) as web:
            while not self._done:
                self.statuses.append((await web.get(self._url)).status_code)
                self._progress.unpark_all()

    async def more(self, number: int) -> None:
        """Waits until so many more have been answered."""
        wanted = len(self.statuses) + number
        while len(self.statuses) < wanted:
            await self._progress.park()


@asynccontextmanager
async def peer_of(hub: Hub, name: str = "edge-1", **options: Any) -> AsyncIterator[restsock.Client]:
    """A peer of this name."""
    options.setdefault("app", echo)
    async with restsock.connect(hub.peers_url, name=name, **options) as client:
        await client.wait_connected()
        yield client


async def said_to(url: str, data: bytes) -> bytes:
    """All that a listener says to these bytes, until it ends the connection."""
    where = httpx.URL(url)
    assert where.port is not None
    answer = b""
    with trio.fail_after(20):
        async with await trio.open_tcp_stream(where.host, where.port) as stream:
            try:
                await stream.send_all(data)
                while piece := await stream.receive_some():
                    answer += piece
            except trio.BrokenResourceError:
                pass  # it has reset the connection
    return answer


class Inside:
    """A server that nobody is to visit.

    Attributes:
        port: of loopback.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.port: int = sock.getsockname()[1]

    def visited(self) -> bool:
        """Whether somebody has connected."""
        try:
            self._sock.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@contextmanager
def listening() -> Iterator[Inside]:
    """Such a server."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield Inside(sock)
