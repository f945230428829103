"""Messages over connections of restsock, beside the HTTP on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio import Event, fail_after

import restsock
from restsock.messaging import (
    AskFailed,
    Message,
    Messaging,
    MessagingUnavailable,
    SQLiteStore,
    UnknownSession,
)
from tests.ports import free_port
from tests.waiting import until

QUICK = restsock.Backoff(initial=0.02, cap=0.1)


class Kept:
    """A handler that keeps the bodies of what it gets."""

    def __init__(self, messaging: Messaging, channel: str) -> None:
        self.bodies: list[Any] = []
        self._changed = Event()
        messaging.on(channel)(self.keep)

    async def keep(self, message: Message) -> None:
        self.bodies.append(message.body)
        self._changed.set()
        self._changed = Event()

    async def wait(self, count: int) -> list[Any]:
        with fail_after(20):
            while len(self.bodies) < count:
                await self._changed.wait()
        return self.bodies


@asynccontextmanager
async def joined(
    dialer: Messaging, listener: Messaging, **options: Any
) -> AsyncGenerator[tuple[restsock.client.Client, restsock.server.Server], None]:
    async with (
        listener,
        dialer,
        restsock.listen("127.0.0.1", 0, messaging=listener) as server,
        restsock.connect(
            server.url, name="edge-1", messaging=dialer, backoff=QUICK, **options
        ) as client,
    ):
        yield client, server


async def hello(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, body="hello")


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
async def test_messages_to_the_listener_and_back(delivery: Any) -> None:
    dialer, listener = Messaging(), Messaging()
    readings, commands = Kept(listener, "readings"), Kept(dialer, "commands")
    async with joined(dialer, listener, app=hello) as (_, server):
        channel = dialer.channel("readings", delivery=delivery)
        for number in range(200):
            await channel.send({"t": number})
        assert await readings.wait(200) == [{"t": number} for number in range(200)]
        down = listener.channel("commands", delivery=delivery, to="edge-1")
        await down.send(["restart", 7])
        assert await commands.wait(1) == [["restart", 7]]
        # Beside HTTP, which is as it was.
        assert (await server.request("edge-1", "GET", "/")).text == "hello"


async def test_requests_and_their_answers() -> None:
    dialer, listener = Messaging(), Messaging()

    @dialer.method("status")
    async def status(request: Any) -> Any:
        return {"uptime": 5, "asked": request.params}

    async with joined(dialer, listener):
        await until(lambda: list(listener.sessions))
        (session,) = listener.sessions
        assert session.name == "edge-1"
        assert session.metadata["peer"]["host"] == "127.0.0.1"
        assert session.metadata["tls"] is False
        assert await session.ask("status", [1]) == {"uptime": 5, "asked": [1]}
        with pytest.raises(AskFailed):
            await session.ask("nothing")
        with pytest.raises(UnknownSession):
            await listener.sessions.send("unknown", 1)


async def test_a_peer_without_messaging() -> None:
    dialer = Messaging()
    async with dialer, restsock.listen("127.0.0.1", 0) as server:
        async with restsock.connect(server.url, name="edge-1", messaging=dialer):
            with pytest.raises(MessagingUnavailable):
                await dialer.channel("readings").send(1)


async def test_it_has_to_be_open_first() -> None:
    messaging = Messaging()
    with pytest.raises(RuntimeError, match="not open here"):
        async with restsock.listen("127.0.0.1", 0, messaging=messaging):
            pass
    with pytest.raises(RuntimeError, match="not open here"):
        async with restsock.connect("ws://127.0.0.1:1", messaging=messaging):
            pass


async def test_what_was_sent_before_there_is_a_connection_arrives(tmp_path: Path) -> None:
    """And what was sent in another run, too."""
    async with Messaging(SQLiteStore(tmp_path / "out.db")) as first:
        channel = first.channel("readings", delivery="at_least_once")
        for number in range(10):
            await channel.send(number)
    dialer, listener = Messaging(SQLiteStore(tmp_path / "out.db")), Messaging()
    readings = Kept(listener, "readings")
    async with joined(dialer, listener):
        await dialer.channel("readings", delivery="at_least_once").send(10)
        assert await readings.wait(11) == list(range(11))


async def test_a_store_forgets_what_was_handled_together(tmp_path: Path) -> None:
    """It is not in the way of what is sent meanwhile, and gone when the messaging has ended."""
    store = SQLiteStore(tmp_path / "out.db")
    dialer, listener = Messaging(store), Messaging()
    readings = Kept(listener, "readings")
    async with joined(dialer, listener):
        channel = dialer.channel("readings", delivery="at_least_once")
        before = store.commits
        begin = trio.current_time()
        for number in range(40):
            await channel.send(number)
            await channel.drain()
        forgotten = 2 + (trio.current_time() - begin) / 0.05  # how often, at most
        assert store.commits - before <= 40 + forgotten
        assert await readings.wait(40) == list(range(40))
    async with Messaging(store) as after:
        assert after.statistics().outbox_messages == 0


async def test_an_outage_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """The listener goes and comes back again and again, while the dialer sends."""
    store = SQLiteStore(tmp_path / "in.db")
    dialer = Messaging(SQLiteStore(tmp_path / "out.db"))
    bodies: list[int] = []
    enough = Event()
    port = free_port()

    async def serve(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        while not enough.is_set():
            listener = Messaging(store)

            @listener.on("readings")
            async def keep(message: Message) -> None:
                bodies.append(message.body)
                if len(bodies) == 300:
                    enough.set()

            async with listener:
                server = restsock.listen("127.0.0.1", port, messaging=listener)
                async with server:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    with trio.move_on_after(0.15):
                        await enough.wait()
                    await server.aclose(grace=0)

    with fail_after(40):
        async with trio.open_nursery() as nursery, dialer:
            await nursery.start(serve)
            url = f"ws://127.0.0.1:{port}/"
            async with restsock.connect(url, name="edge-1", messaging=dialer, backoff=QUICK):
                channel = dialer.channel("readings", delivery="at_least_once")
                for number in range(300):
                    await channel.send(number)
                    await trio.sleep(0.003)
                await enough.wait()
    assert bodies == list(range(300))
