"""What a person reads of a client: lines in the log, errors, and how much of a traceback."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import requests
import trio
import trio.testing
from trio.testing import MockClock

import restsock
import restsock.sync
from restsock import Backoff, HandshakeError, RequestTimeout
from restsock.client import Client
from restsock.protocol import CloseCode
from tests.client.scripted import client_of
from tests.memory_network import Echo, Script, refuse_with, say_nothing

REFUSED = ConnectionRefusedError("refused")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines of the client, with their levels and without the ids of connections."""
    caplog.set_level(logging.INFO, "restsock.client")

    def read() -> list[str]:
        found = []
        for record in caplog.records:
            id = getattr(record, "connection_id", None)
            words = record.getMessage()
            found.append(f"{record.levelname} {words.replace(id, 'ID') if id else words}")
        caplog.clear()
        return found

    return read


async def lose(client: Client, script: Script, *steps: Any) -> None:
    await trio.testing.wait_all_tasks_blocked()
    script.steps = list(steps)
    await trio.aclose_forcefully(script.connection._stream)
    await trio.testing.wait_all_tasks_blocked()


async def test_connected_and_serving(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    async with client_of(Script(nursery), name="edge-1", handler=Echo()):
        assert lines() == ["INFO connected to ws://hub/ as ID (name 'edge-1'), serving an app"]
    async with client_of(Script(nursery)):
        assert "INFO connected to ws://hub/ as ID (name None), serving no app" in lines()


async def test_a_recovery_is_as_loud_as_the_failure_and_says_how_long(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    script = Script(nursery)
    async with client_of(script) as client:
        lines()
        await lose(client, script, REFUSED, REFUSED, REFUSED)
        await client.wait_connected()
        why = "the last connection has ended: 1006 the socket ended without a close"
        assert lines() == [
            f"WARNING no connection to ws://hub/: {why}; dialing again in 1.00 s",
            (
                "WARNING no connection to ws://hub/: cannot reach hub: refused;"
                " dialing again in 2.00 s"
            ),
            (
                "WARNING connected to ws://hub/ as ID (name None), serving no app,"
                " after 15.0 s without a connection"
            ),
        ]
        # What was told of one outage is news in the next.
        await lose(client, script, REFUSED)
        await client.wait_connected()
        assert len(lines()) == 3


async def test_so_is_the_first_connection_if_it_took_attempts(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    async with client_of(Script(nursery, REFUSED)):
        assert lines() == [
            (
                "WARNING no connection to ws://hub/: cannot reach hub: refused;"
                " dialing again in 1.00 s"
            ),
            (
                "WARNING connected to ws://hub/ as ID (name None), serving no app,"
                " after 1.0 s without a connection"
            ),
        ]


async def test_a_move_in_good_order_alarms_nobody(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    script = Script(nursery)
    async with client_of(script) as client:
        await trio.testing.wait_all_tasks_blocked()
        await script.connection.drain(0, CloseCode.GOING_AWAY)
        await trio.testing.wait_all_tasks_blocked()
        await client.wait_connected()
        assert {line.split()[0] for line in lines()} == {"INFO"}


async def test_a_failure_that_stays_is_told_again_after_a_while(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    script = Script(nursery)
    async with client_of(script, backoff=Backoff(cap=1, jitter=False)) as client:
        await lose(client, script, *[REFUSED] * 2000)
        await trio.sleep(1500)
        assert len([line for line in lines() if "refused" in line]) == 3


async def test_a_listener_that_makes_up_reasons_floods_nobody(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    """Its clock is the real one: all of this takes a moment."""
    script = Script(nursery)
    async with client_of(script, backoff=Backoff(initial=0.001, cap=0.001)) as client:
        lines()
        await lose(client, script, *[ConnectionRefusedError(str(n)) for n in range(1000)])
        await client.wait_connected()
        assert client.statistics().failures == 1000
        assert len(lines()) < 30


@pytest.mark.parametrize("code", [1000, 4004])
async def test_an_end_that_nobody_here_asked_for_is_a_warning(
    code: int, nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    script = Script(nursery)
    async with client_of(script) as client:
        await trio.testing.wait_all_tasks_blocked()
        lines()
        await script.connection.aclose(code, "enough")
        await client.wait_closed()
        assert lines() == [f"WARNING the client of ws://hub/ has ended: {code} enough"]


async def test_a_refusal_is_one_line(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    script = Script(nursery)
    async with client_of(script) as client:
        await lose(client, script, refuse_with(401, listener=True))
        await client.wait_closed()
        assert len([line for line in lines() if "401" in line]) == 1


async def test_missing_credentials_are_one_line_with_the_place(
    nursery: trio.Nursery, autojump_clock: MockClock, lines: Callable[[], list[str]]
) -> None:
    async def auth() -> dict[str, str]:
        if not fail:
            return {}
        fail.pop()
        raise KeyError("sesame")

    fail = [1]
    async with client_of(Script(nursery), auth=auth):
        (line, _) = lines()
        assert line.startswith("WARNING no connection to ws://hub/: no credentials to dial with: K")
        assert "test_lines.py" in line
        assert "sesame" not in line


# --- forgotten `async with` ---------------------------------------------------------------


async def test_a_client_that_was_not_entered_says_so_at_once(autojump_clock: MockClock) -> None:
    client = restsock.connect("ws://hub/")
    session = requests.Session()
    session.mount("http://hub/", client.adapter())
    for use in (
        lambda: client.request("GET", "/"),
        client.wait_connected,
        client.wait_closed,
        lambda: client.stream("GET", "/").__aenter__(),
        lambda: trio.to_thread.run_sync(session.get, "http://hub/"),
    ):
        with pytest.raises(RuntimeError, match=r'use "async with restsock\.connect\(\.\.\.\)'):
            await use()
    assert trio.current_time() == 0
    await client.aclose()


# --- tracebacks ---------------------------------------------------------------------------


def frames_of_ours(error: BaseException) -> int:
    """How many frames of this package a traceback shows, with those of the causes."""
    text = "".join(traceback.format_exception(error))
    return text.count("restsock/")


async def test_few_frames_around_one_line(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    for step, once in ((REFUSED, Backoff(tries=1)), (say_nothing, Backoff(tries=1))):
        with pytest.raises(HandshakeError) as caught:
            async with client_of(Script(nursery, step), backoff=once):
                pytest.fail("entered")
        assert frames_of_ours(caught.value) <= 2
    script = Script(nursery)
    async with client_of(script) as client:
        await lose(client, script, *[REFUSED] * 100)
        with pytest.raises(RequestTimeout) as late:
            await client.request("GET", "/")
        cause = late.value.__cause__
        assert isinstance(cause, HandshakeError)
        assert frames_of_ours(cause) == 0


def test_few_frames_in_a_thread() -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        url = server.url
    with pytest.raises(HandshakeError, match="Connection refused") as caught:
        restsock.sync.connect(url, backoff=Backoff(tries=1))
    assert frames_of_ours(caught.value) <= 6
