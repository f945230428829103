"""Messaging for asyncio: what is its alone."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
import restsock.aio
from restsock.auth import BearerTokens
from restsock.messaging import Messaging as TrioMessaging
from restsock.messaging import MessagingClosed, MessagingError, MessagingOptions, Raw, sync
from restsock.messaging.aio import Message, Messaging, Request

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 20.0


def on_asyncio(test: Callable[..., Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), PATIENCE))

    del run.__wrapped__  # pytest would see that it is async
    return run


@asynccontextmanager
async def joined(dialer: Messaging, listener: Messaging) -> AsyncIterator[None]:
    async with (
        listener,
        dialer,
        restsock.aio.listen("127.0.0.1", 0, messaging=listener) as server,
        restsock.aio.connect(server.url, name="edge-1", messaging=dialer),
    ):
        yield


class Fatal(MessagingError):
    kind = "fatal"


@on_asyncio
async def test_functions_run_on_the_callers_loop_and_plain_ones_in_threads() -> None:
    dialer, listener = Messaging(), Messaging()
    loop, here = asyncio.get_running_loop(), threading.get_ident()
    seen: dict[str, Any] = {}

    @listener.on("c", required=False)
    async def handle(message: Message) -> None:
        assert asyncio.get_running_loop() is loop
        seen["handler"] = type(message)
        await message.reply("handled", channel="answers")

    @listener.on("c")
    def in_thread(message: sync.Message) -> None:
        assert threading.get_ident() != here
        seen["thread"] = type(message)
        message.reply("handled", channel="answers", timeout=PATIENCE)

    @listener.method("m")
    async def method(request: Request) -> Any:
        assert asyncio.get_running_loop() is loop
        return await request.session.ask("back")

    @dialer.method("back")
    def back(request: sync.Request) -> str:
        assert threading.get_ident() != here
        return type(request).__qualname__

    @dialer.on_dead_letter
    async def on_dead_letter(letter: Any) -> None:
        assert asyncio.get_running_loop() is loop
        seen["letter"] = letter
        told.set()

    @listener.on("refused")
    async def refuse(message: Message) -> None:
        message.nack(final=True)

    told = asyncio.Event()
    async with joined(dialer, listener), dialer.messages("answers", window=2) as answers:
        await dialer.channel("c").send(1)
        assert [(await answers.receive()).body for _ in range(2)] == ["handled"] * 2
        assert seen == {"handler": Message, "thread": sync.Message}
        [session] = dialer.sessions
        assert await session.ask("m") == sync.Request.__qualname__
        await dialer.channel("refused", delivery="at_least_once").send(2)
        await told.wait()
        assert seen["letter"] in dialer.dead_letters


@on_asyncio
async def test_who_it_is_for_a_foreign_peer_is_found_on_the_callers_loop() -> None:
    messaging, listener = Messaging(), Messaging()
    loop = asyncio.get_running_loop()
    kept, asked = asyncio.Event(), asyncio.Event()

    async def credentials() -> dict[str, str]:
        assert asyncio.get_running_loop() is loop
        asked.set()
        return {"Authorization": "Bearer secret"}

    @listener.on("feed")
    async def keep(message: Message) -> None:
        assert message.session.principal is not None
        assert message.session.principal.name == "edge-1"
        kept.set()

    tokens = BearerTokens({"secret": restsock.Principal("edge-1")})
    endpoint = listener.endpoint(Raw(channel="feed"), auth=tokens)
    async with messaging, listener:
        async with restsock.aio.listen("127.0.0.1", 0, endpoints={"/feed": endpoint}) as server:
            url = server.url.replace("http", "ws", 1) + "feed"
            dialing = asyncio.create_task(
                messaging.dial(url, Raw(channel="feed"), auth=credentials)
            )
            await messaging.channel("feed").send(1)
            await kept.wait()
            assert asked.is_set()
            dialing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialing


# --- cancellation ----------------------------------------------------------------------------


@on_asyncio
async def test_a_cancelled_wait_takes_nothing() -> None:
    dialer, listener = Messaging(), Messaging()
    begun, cancelled = asyncio.Event(), asyncio.Event()

    @dialer.method("slow")
    async def slow(request: Request) -> None:
        begun.set()
        await cancelled.wait()

    async with joined(dialer, listener), listener.messages("c") as stream:
        receiving = asyncio.create_task(stream.receive())
        await asyncio.sleep(0)  # it has begun to wait
        receiving.cancel()
        await asyncio.wait([receiving])
        assert receiving.cancelled()
        channel = dialer.channel("c", delivery="at_least_once")
        await channel.send(1)
        draining = asyncio.create_task(channel.drain())
        message = await stream.receive()
        assert message.body == 1
        draining.cancel()
        await asyncio.wait([draining])
        assert draining.cancelled()
        await message.ack()
        await channel.drain()
        session = listener.sessions.named("edge-1")
        assert session is not None
        asking = asyncio.create_task(session.ask("slow", timeout=PATIENCE))
        await begun.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        cancelled.set()
        assert await session.ask("status") is not None


@on_asyncio
async def test_a_cancelled_block_drops_its_handlers() -> None:
    dialer, listener = Messaging(), Messaging()
    begun, ended = asyncio.Event(), asyncio.Event()

    @listener.on("c")
    async def handle(message: Message) -> None:
        begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            ended.set()

    async def stay() -> None:
        async with joined(dialer, listener):
            await dialer.channel("c").send(1)
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ended.wait()
    with pytest.raises(MessagingClosed):
        await listener.channel("c").send(1)


@on_asyncio
async def test_a_close_ends_what_waits_in_other_tasks() -> None:
    dialer, listener = Messaging(), Messaging(options=MessagingOptions(grace=0.05))

    @listener.on("busy")
    async def keep_busy(message: Message) -> None:
        await asyncio.sleep(PATIENCE)

    async with joined(dialer, listener):
        stream = listener.messages("c")
        receiving = asyncio.create_task(stream.receive())
        channel = dialer.channel("busy", delivery="at_least_once")
        await channel.send(1)
        draining = asyncio.create_task(channel.drain())
        await asyncio.sleep(0)  # both have begun to wait
        await listener.aclose()
        with pytest.raises(EOFError):
            await receiving
        await dialer.aclose()
        with pytest.raises(MessagingClosed):
            await draining


@on_asyncio
async def test_a_fatal_error_of_a_handler_ends_it() -> None:
    dialer, listener = Messaging(), Messaging()

    @listener.on("c")
    async def fail(message: Message) -> None:
        raise Fatal("the disk is gone")

    with pytest.raises(Fatal, match="the disk is gone"):
        async with joined(dialer, listener):
            await dialer.channel("c").send(1)
            async for _ in listener.messages("other"):
                pass


# --- loops -----------------------------------------------------------------------------------


@on_asyncio
async def test_another_loop_may_send() -> None:
    async with Messaging() as messaging:
        channel = messaging.channel("c", delivery="at_least_once")
        await asyncio.to_thread(asyncio.run, _send(channel))
        assert messaging.statistics().outbox_messages == 1


async def _send(channel: Any) -> None:
    await channel.send(1)


def test_each_api_says_which_one_to_use() -> None:
    async def entering(manager: Any) -> None:
        async with manager:
            pass

    with pytest.raises(restsock.RestsockError, match=r"asyncio: use restsock\.messaging\.aio"):
        asyncio.run(entering(TrioMessaging()))
    with pytest.raises(restsock.RestsockError, match=r"trio: use restsock\.messaging\.Messaging"):
        trio.run(entering, Messaging())


def test_a_loop_that_is_closed_while_it_is_open() -> None:
    loop = asyncio.new_event_loop()
    messaging = loop.run_until_complete(Messaging().__aenter__())
    loop.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del messaging
        gc.collect()
    assert [warning.category for warning in caught] == [ResourceWarning]


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a process are POSIX")
def test_ctrl_c_ends_a_program_in_good_order() -> None:
    program = """
import asyncio
from restsock.messaging.aio import Messaging

async def main():
    async with Messaging() as messaging:
        stream = messaging.messages("c")
        # Once it waits: Python 3.10 leaves a file open where it is interrupted in a traceback.
        asyncio.get_running_loop().call_later(0.1, lambda: print("there", flush=True))
        await stream.receive()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"there\n"
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
    assert (out, child.returncode) == (b"interrupted\n", 0)
    assert err == b""
