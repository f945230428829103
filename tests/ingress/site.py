"""A server with an ingress and a peer `edge-1`, in memory, and clients of plain HTTP beside it.

Everything waits by trio's clock alone: with `autojump_clock` five seconds of waiting take no time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import trio
from trio.testing import memory_stream_pair

from restsock import Client, Request, Response, Server
from restsock.ingress import Ingress, Passed
from restsock.testing import Network, trio_pair

HOST = "edge-1.localhost"


@dataclass
class Answer:
    """What a client has got.

    Attributes:
        whole: Whether it came to its end.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool = True
    early: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection of a client."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def send(
        self,
        target: str = "/",
        *,
        method: str = "GET",
        host: str = HOST,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        end: bool = True,
    ) -> None:
        listed = list(headers.items() if isinstance(headers, Mapping) else headers)
        if body and not any(name.lower() == "transfer-encoding" for name, _ in listed):
            listed.append(("Content-Length", str(len(body))))
        request = h11.Request(method=method, target=target, headers=[("Host", host), *listed])
        data = self.http.send(request) or b""
        if body:
            data += self.http.send(h11.Data(data=body)) or b""
        if end:
            data += self.http.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def receive(self) -> Answer:
        early: list[int] = []
        answer: Answer | None = None
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self.http.receive_data(bytes(await self.stream.receive_some()))
                except trio.BrokenResourceError:
                    self.http.receive_data(b"")
            elif isinstance(event, h11.InformationalResponse):
                early.append(event.status_code)
            elif isinstance(event, h11.Response):
                fields = [(n.decode(), v.decode("latin-1")) for n, v in event.headers.raw_items()]
                answer = Answer(event.status_code, fields, b"", False, early)
            elif isinstance(event, h11.Data):
                assert answer is not None
                answer.body += event.data
            else:
                assert answer is not None
                answer.whole = isinstance(event, h11.EndOfMessage)
                return answer


@dataclass
class Site:
    """What a test works with."""

    ingress: Ingress
    server: Server
    client: Client
    network: Network
    passed: list[Passed]

    async def dial(self) -> Caller:
        """A client whose connection does not share the faults of the network."""
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self.network._send.send_nowait(theirs)
        return Caller(ours)

    async def ask(self, target: str = "/", **arguments: Any) -> Answer:
        caller = await self.dial()
        await caller.send(target, **arguments)
        answer = await caller.receive()
        await caller.stream.aclose()
        return answer

    async def lose_peer(self) -> None:
        """The peer is away until `network.accept_again()`."""
        self.network.refuse()
        await self.network.cut()


async def echo(request: Request) -> Response:
    """Tells what has arrived."""
    told = {
        "method": request.method,
        "target": request.target,
        "headers": [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers],
        "body": (await request.read()).decode("latin-1"),
    }
    return Response(200, [("Content-Type", "application/json")], json.dumps(told).encode())


@asynccontextmanager
async def site(
    app: Any = echo,
    *,
    server: Mapping[str, Any] | None = None,
    client: Mapping[str, Any] | None = None,
    options: Any = None,
    **arguments: Any,
) -> AsyncIterator[Site]:
    passed: list[Passed] = []
    given = {"domains": ["localhost"], "public": True, "on_passed": passed.append, **arguments}
    ingress = Ingress(**given)
    listening = {"ingress": ingress, **(server or {})}
    async with trio_pair(
        app, name="edge-1", server=listening, client=client, options=options
    ) as pair:
        yield Site(ingress, pair.server, pair.client, pair.network, passed)
