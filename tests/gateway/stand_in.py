"""A session that no client stands behind, and messages of it: for backends on their own."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from restsock import Principal
from restsock.connection import Peer, fields_of
from restsock.gateway import Backend, Delivery, Message, Session
from restsock.protocol import RequestHead
from restsock.websockets import Request

__all__ = ["Client", "client", "message", "running"]


class Client(Session):
    """A session.

    Attributes:
        sent: what it was sent without being asked for.
        closings: the codes and reasons that it was closed with.
        nursery: its tasks.
    """

    def __init__(
        self,
        id: str = "s1",
        *,
        principal: Principal | None = None,
        headers: Mapping[str, str] = {},  # it is not changed
        host: str = "192.0.2.7",
        nursery: trio.Nursery | None = None,
    ) -> None:
        head = RequestHead(b"GET", b"/ws?token=1", [])
        fields = [(b"Host", b"gw.example"), *fields_of(headers)]
        self.id = id
        self.request = Request(head, fields, Peer(host, 4711, tls=True))
        self.principal = principal
        self.connected_at = 0.0
        self.metadata = {"site": "ulm"}
        self.stash = {}
        self.sent: list[Any] = []
        self.names: set[str] = set()
        self.closings: list[tuple[int, str]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.nursery = nursery

    @property
    def groups(self) -> Any:
        return self.names

    @groups.setter
    def groups(self, names: Any) -> None:
        self.names = set(names)

    async def send(self, body: Any) -> Delivery:
        self.sent.append(body)
        return Delivery.SENT

    def send_nowait(self, body: Any) -> Delivery:
        self.sent.append(body)
        return Delivery.SENT

    @property
    def ended_with(self) -> tuple[int, str]:
        return self.close_code or 1006, self.close_reason

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        assert self.nursery is not None
        self.nursery.start_soon(function, *args)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closings.append((code, reason))
        self.end_with(code, reason)

    def end_with(self, code: int, reason: str = "") -> None:
        """It has ended, by whichever side."""
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            if self.nursery is not None:
                self.nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(id: str = "s1", **options: Any) -> AsyncIterator[Client]:
    """A session with tasks, which end with it."""
    async with trio.open_nursery() as outer:
        session = Client(id, **options)
        await outer.start(_live, session)
        yield session
        session.end_with(1000)


async def _live(
    session: Client, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    async with trio.open_nursery() as session.nursery:
        session.nursery.start_soon(trio.sleep_forever)
        task_status.started()


@asynccontextmanager
async def running(backend: Backend, peers: Any = None) -> AsyncIterator[None]:
    """Binds and runs a backend with all that it is made of, as a gateway does."""
    async with AsyncExitStack() as stack:
        for part in [*_parts(backend)]:
            part.bind(peers, None)
            await stack.enter_async_context(part.running())
        yield


def _parts(backend: Backend) -> Iterator[Backend]:
    for part in backend.parts():
        assert isinstance(part, Backend)
        yield from _parts(part)
    yield backend


def message(body: Any = None, key: str = "", **attributes: Any) -> Message:
    """A message of a client, of its own unless there is one given."""
    session = attributes.pop("session", None) or Client()
    deadline = attributes.pop("within", None)
    if deadline is not None:
        attributes["deadline"] = trio.current_time() + deadline
    assert attributes.get("deadline", math.inf) > 0
    return Message(session, key, body, **attributes)
