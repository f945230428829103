"""What ends a client that was connected, and what does not; how soon it is back after a restart."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

import restsock
from restsock import Backoff, ConnectionClosed, HandshakeError, Principal
from restsock.auth import Bearer, Upgrade
from restsock.client import Client, parse_url
from restsock.protocol import CloseCode, ServerUpgrade
from restsock.server import Server
from tests.client.scripted import client_of
from tests.memory_network import (
    Answer,
    Echo,
    MemoryListener,
    Script,
    chances,
    refuse_with,
    say_nothing,
)
from tests.waiting import until

REFUSED = ConnectionRefusedError("refused")


async def lose(client: Client, script: Script, *steps: Exception | Answer) -> None:
    """Breaks the wire; the next attempts go as the steps say."""
    await trio.testing.wait_all_tasks_blocked()
    script.steps = list(steps)
    await trio.aclose_forcefully(script.connection._stream)
    await trio.testing.wait_all_tasks_blocked()


def say(data: bytes) -> Answer:
    async def answer(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(data)
        await stream.aclose()

    return answer


async def speak_another_protocol(stream: trio.abc.Stream) -> None:
    upgrade = ServerUpgrade()
    while upgrade.receive_data(bytes(await stream.receive_some())) is None:
        pass
    await stream.send_all(upgrade.accept().replace(b"restsock.v1", b"chat"))
    await stream.aclose()


def close_with(code: int) -> Answer:
    """Lets a dialer through the upgrade, and closes its WebSocket in the handshake."""

    async def close(stream: trio.abc.Stream) -> None:
        upgrade = ServerUpgrade()
        while upgrade.receive_data(bytes(await stream.receive_some())) is None:
            pass
        await stream.send_all(upgrade.accept() + b"\x88\x02" + code.to_bytes(2, "big"))
        with trio.move_on_after(1):
            while await stream.receive_some():
                pass
        await stream.aclose()

    return close


async def speak_nonsense(stream: trio.abc.Stream) -> None:
    upgrade = ServerUpgrade()
    while upgrade.receive_data(bytes(await stream.receive_some())) is None:
        pass
    await stream.send_all(upgrade.accept() + b"\x81\x02{}")
    with trio.move_on_after(1):
        while await stream.receive_some():
            pass
    await stream.aclose()


# What may stand there while a listener is replaced, each with what the error says of it.
STRANGERS: list[tuple[Exception | Answer, str]] = [
    (refuse_with(200), "no restsock listener at this path"),
    (refuse_with(302), "no restsock listener at this path"),
    (refuse_with(400), "400"),
    (refuse_with(401), "401"),
    (refuse_with(403), "403"),
    (refuse_with(404), "no restsock listener at this path"),
    (refuse_with(410), "no restsock listener at this path"),
    (refuse_with(426), "426"),
    (refuse_with(530), "530"),
    (refuse_with(400, listener=True), "400"),
    (refuse_with(426, listener=True), "426"),
    (say(b"SSH-2.0-OpenSSH\r\n\r\n"), "not an HTTP answer"),
    (say(b"\x15\x03\x01\x00\x02\x02\x16"), "speaks TLS: use wss://"),
    (speak_another_protocol, "no restsock listener at this path"),
    (speak_nonsense, "handshake failed"),
    (close_with(4000), "4000"),
    (UnicodeError("label too long"), "not a valid one"),
]


@pytest.mark.parametrize(("step", "words"), STRANGERS)
async def test_who_was_connected_goes_on_whatever_answers(
    step: Exception | Answer,
    words: str,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script(nursery)
    async with client_of(script) as client:
        await lose(client, script, *[step] * 6)
        await trio.sleep(70)
        assert len(script.times) == 7
        health = client.health()
        assert not health.ok
        assert any(words in reason for reason in health.reasons)
        # Said once, not six times.
        told = [message for message in caplog.messages if words in message]
        assert len(told) == 1
        await client.wait_connected()
        assert client.health().ok
        assert client.statistics().failures == 6


@pytest.mark.parametrize(("step", "words"), [case for case in STRANGERS if "530" not in case[1]])
async def test_at_the_first_connect_it_is_raised(
    step: Exception | Answer, words: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, step)
    with pytest.raises(HandshakeError, match=words):
        async with client_of(script):
            pytest.fail("entered")
    assert len(script.times) == 1


@pytest.mark.parametrize(("step", "words"), STRANGERS)
async def test_unless_it_is_never_to_give_up(
    step: Exception | Answer, words: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery, step, step, refuse_with(401, listener=True))
    backoff = Backoff(jitter=False, give_up="never")
    async with client_of(script, backoff=backoff) as client:
        assert len(script.times) == 4
        await lose(client, script, refuse_with(401, listener=True), close_with(4005))
        await client.wait_connected()


@pytest.mark.parametrize(
    "step",
    [refuse_with(401, listener=True), refuse_with(403, listener=True), close_with(4005)],
)
@pytest.mark.parametrize("give_up", ["refused", "first"])
async def test_the_word_of_the_listener(
    step: Answer,
    give_up: str,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = Script(nursery)
    backoff = Backoff(jitter=False, give_up=give_up)
    async with client_of(script, backoff=backoff) as client:
        await lose(client, script, step)
        if give_up == "refused":
            await client.wait_closed()
            assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        else:
            await client.wait_connected()


async def test_what_cannot_be_sent_later_on_does_not_end_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    script = Script(nursery)
    async with client_of(script, metadata=[1]) as client:
        client.metadata = object()  # not JSON
        await lose(client, script, say_nothing, say_nothing)
        await trio.sleep(5)
        assert not client.closed
        client.metadata = [2]
        await client.wait_connected()
        await trio.testing.wait_all_tasks_blocked()
        assert script.connection.metadata == [2]


async def test_the_tries_still_count(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    script = Script(nursery)
    async with client_of(script, backoff=Backoff(jitter=False, tries=2)) as client:
        await lose(client, script, refuse_with(404), refuse_with(404))
        with pytest.raises(ConnectionClosed, match="404"):
            await client.request("GET", "/")


async def test_a_listener_says_who_it_is_that_refuses() -> None:
    """A wrong token, a name that is not allowed: the marks are those of a real listener."""
    known = {b"good"}

    async def auth(upgrade: Upgrade) -> Principal | None:
        found = upgrade.authorization
        if found is None or found.token not in known:
            return None
        return Principal("edge", may_register=("edge-*",))

    async with restsock.listen("127.0.0.1", 0, auth=auth) as server:
        for options in (
            {"auth": Bearer("bad"), "name": "edge-1"},
            {"auth": Bearer("good"), "name": "hub"},
        ):
            with pytest.raises(HandshakeError) as caught:
                async with restsock.connect(server.url, **options):  # type: ignore[arg-type]
                    pytest.fail("entered")
            assert caught.value.by_listener
            assert not caught.value.retryable
        async with restsock.connect(
            server.url,
            auth=Bearer("good"),
            name="edge-1",
            backoff=Backoff(initial=0.01, jitter=False),
        ) as client:
            await until(lambda: len(server.connections) > 0)
            known.clear()
            server.revoke("edge")
            with trio.fail_after(5):
                assert "401" in (await client.wait_closed()).reason


async def test_an_expired_certificate_does_not_end_it(tmp_path: Any) -> None:
    """Over real TLS: something with a certificate of its own stands there for a moment."""
    ca, other = trustme.CA(), trustme.CA()
    contexts = []
    for authority in (ca, other, ca):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        contexts.append(context)
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    quick = Backoff(initial=0.01, cap=0.01, jitter=False)
    async with restsock.listen("127.0.0.1", 0, tls=contexts[0]) as first:
        port = first.address[1]
        async with restsock.connect(first.url, tls=trust, backoff=quick) as client:
            await first.aclose()
            async with restsock.listen("127.0.0.1", port, tls=contexts[1]):
                with trio.fail_after(10):
                    await until(lambda: "is not accepted" in " ".join(client.health().reasons))
            async with restsock.listen("127.0.0.1", port, tls=contexts[2]):
                with trio.fail_after(10):
                    await client.wait_connected()


# --- restarts -----------------------------------------------------------------------------


class Site:
    """A listener that can be away; a client dials it whenever it likes."""

    def __init__(self, **options: Any) -> None:
        self.listener = MemoryListener()
        self.attempts: list[float] = []
        self._up = False
        self._options = options

    async def open_stream(self, address: Any) -> trio.abc.Stream:
        self.attempts.append(trio.current_time())
        if not self._up:
            await trio.lowlevel.checkpoint()
            raise REFUSED
        return await self.listener.open_stream(address)

    @asynccontextmanager
    async def up(self, app: Echo) -> AsyncIterator[Server]:
        self.listener = MemoryListener()
        server = Server("hub", 1, handler=app, open_listeners=self.listener.open, **self._options)
        async with server:
            self._up = True
            try:
                yield server
            finally:
                # Until its last connection is closed, newcomers get its 503.
                await server.aclose()
                self._up = False


@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART])
@pytest.mark.parametrize("away", [0.0, 2.0, 5.0, 8.0])
@pytest.mark.parametrize("lived", [0.0, 3.0, 300.0])
@pytest.mark.parametrize("luck", [0.999999, None])
async def test_a_restart_loses_nothing(
    code: int, away: float, lived: float, luck: float | None, autojump_clock: MockClock
) -> None:
    """At default settings, in both directions, with the worst jitter there is and with any."""
    hub, edge = Echo("hub"), Echo("edge")
    site = Site()
    chance = random.Random(7).random if luck is None else chances(luck)
    answered = 0

    async def ask(target: str) -> None:
        nonlocal answered
        response = await client.request("POST", target)
        assert response.text == f"hub: POST {target}"
        answered += 1

    client = Client(
        parse_url("ws://hub/"),
        open_stream=site.open_stream,
        chance=chance,
        handler=edge,
        name="edge",
    )
    asked = 0
    async with trio.open_nursery() as asking:
        async with site.up(hub) as server:
            await asking.start(entered, client)
            await trio.sleep(lived)
            await server.request("edge", "GET", "/before")
            await server.aclose(code)
        back = trio.current_time() + away
        while trio.current_time() < back:
            asking.start_soon(ask, f"/{asked}")
            asked += 1
            await trio.sleep(0.05)
        async with site.up(hub) as server:
            # The calls of the listener wait for the name, as ever.
            with pytest.raises(restsock.PeerNotFound):
                await server.request("edge", "GET", "/early", timeout=0.001)
            assert (await server.request("edge", "GET", "/after")).status == 200
            await until(lambda: answered == asked)
            asking.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await client.aclose()
    assert answered == asked
    pauses = [b - a for a, b in zip(site.attempts, site.attempts[1:], strict=False)][1:]
    assert all(pause <= 1.01 for pause in pauses)


async def entered(client: Client, task_status: trio.TaskStatus[None]) -> None:
    async with client:
        task_status.started()
        await trio.sleep_forever()
