"""`restsock tail` and `restsock publish`, with a hub that passes messages on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import restsock.messaging.sync
import restsock.sync
from restsock.hub import Tokens
from tests.waiting import until_blocking

from .command import Process, Run, environment
from .conftest import Hub

Start = Callable[..., Process]


@pytest.fixture
def relay(start: Start, tmp_path: Path) -> str:
    """The URL of a hub with messages."""
    (tmp_path / "hub.toml").write_text(
        f'[hub]\nstate = "{tmp_path}/state"\n[peers]\nlisten = "127.0.0.1:0"\n'
        '[admin]\nlisten = "127.0.0.1:0"\n[messaging]\nenabled = true\nhistory = 5\n'
    )
    hub = start("hub", "-c", "hub.toml", "--json", cwd=tmp_path)
    return str(json.loads(hub.out.next())["peers"])


@pytest.mark.covers("tail --count", "tail --timeout", "publish --timeout", "publish --json")
@pytest.mark.covers("messaging.enabled", "messaging.history")
def test_what_is_published_is_seen_by_all(start: Start, run: Run, relay: str) -> None:
    two = start("tail", "readings", "--count", "2", "--timeout", "20", "--hub", relay)
    all = start("tail", "readings", "--hub", relay)
    for one in (two, all):
        one.err.until("subscribed to readings")
    sent = run("publish", "readings", '{"t": 21.5}', "--hub", relay, "--timeout", "20", "--json")
    assert sent.code == 0
    told = json.loads(sent.out)
    assert (told["event"], told["channel"]) == ("published", "readings")
    assert run("publish", "other", "1", "--hub", relay).code == 0
    from_stdin = start("publish", "readings", "--hub", relay, stdin="plain text \u2603\n")
    assert from_stdin.wait() == 0
    for one in (two, all):
        lines = [json.loads(one.out.next()) for _ in range(2)]
        assert [line["body"] for line in lines] == [{"t": 21.5}, "plain text \u2603"]
        assert {line["channel"] for line in lines} == {"readings"}
    assert two.wait() == 0
    all.signal(signal.SIGINT)
    assert all.wait() == 130
    assert all.out.rest() == []


def test_a_hub_without_messages(run: Run, hub: Hub) -> None:
    for args in (("tail", "readings"), ("publish", "readings", "1")):
        done = run(*args, "--hub", hub.url)
        assert (done.code, done.out) == (1, "")
        assert "takes no messages; set enabled = true in [messaging]" in done.err


def test_nobody_is_there(run: Run, guarded: Hub) -> None:
    gone = run("publish", "readings", "1", "--hub", "ws://127.0.0.1:1", "--timeout", "0.2")
    assert gone.code == 5
    assert "no connection to ws://127.0.0.1:1/ within 0.2 s" in gone.err
    refused = run("tail", "readings", "--hub", guarded.url)
    assert refused.code == 4
    assert "token" in refused.err


def test_a_channel_that_is_none(run: Run, hub: Hub) -> None:
    assert run("tail", "", "--hub", hub.url).code == 2
    assert run("publish", "x" * 256, "1", "--hub", hub.url).code == 2


def test_a_body_that_is_too_large(run: Run, relay: str) -> None:
    done = run("publish", "readings", "x" * 70_000, "--hub", relay)
    assert (done.code, done.out) == (1, "")


@pytest.mark.covers("tail --json")
def test_events_as_json(start: Start, run: Run, relay: str) -> None:
    tail = start("tail", "readings", "-n", "1", "--json", "--hub", relay)
    told = json.loads(tail.out.next())
    assert (told["event"], told["channel"], told["hub"]) == ("subscribed", "readings", relay)
    assert run("publish", "readings", "[1]", "--hub", relay).code == 0
    told = json.loads(tail.out.next())
    assert (told["event"], told["channel"], told["body"]) == ("message", "readings", [1])
    assert tail.wait() == 0
    assert tail.out.rest() == []


@pytest.fixture
def direct() -> Iterator[tuple[str, restsock.messaging.sync.Messaging]]:
    """The URL of a listener with messages, which is no hub."""
    with restsock.messaging.sync.Messaging() as messaging:
        with restsock.sync.listen("127.0.0.1", 0, messaging=messaging) as server:
            yield server.url, messaging


def test_a_listener_that_is_no_hub(
    start: Start, run: Run, direct: tuple[str, restsock.messaging.sync.Messaging]
) -> None:
    url, messaging = direct
    tail = start("tail", "prices", "-n", "2", "--hub", url)
    tail.err.until("subscribed to prices")
    assert messaging.publish("prices", {"a": 1}) == 1
    assert messaging.publish("prices", b"\x00") == 1
    lines = [json.loads(tail.out.next()) for _ in range(2)]
    assert lines[0]["body"] == {"a": 1}
    assert (lines[1]["body"], lines[1]["encoding"]) == ("AA==", "base64")
    assert tail.wait() == 0

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(start, "publish", "readings", "21.5", "--hub", url)
        for message in messaging.messages("readings"):
            assert message.body == 21.5
            message.ack()
            break
        assert sent.result().wait() == 0


def test_nobody_handles_it(
    start: Start, run: Run, direct: tuple[str, restsock.messaging.sync.Messaging]
) -> None:
    url, _ = direct
    done = run("publish", "readings", "1", "--hub", url, "--timeout", "0.3")
    assert (done.code, done.out) == (5, "")
    assert "has not acknowledged it within 0.3 s" in done.err
    until_blocking(lambda: not direct[1].sessions)  # that of the first one
    process = start("publish", "readings", "1", "--hub", url, "--timeout", "60")
    until_blocking(lambda: direct[1].sessions)
    process.signal(signal.SIGINT)
    assert process.wait() == 130, "\n".join(process.err.rest())
    assert process.out.rest() == []
    assert "Traceback" not in "".join(process.err.rest())


def test_what_the_hub_does_not_allow(start: Start, run: Run, tmp_path: Path) -> None:
    _, value = Tokens(tmp_path / "tokens.json").new("office")
    (tmp_path / "token").write_text(value)
    (tmp_path / "hub.toml").write_text(
        f'[hub]\nstate = "{tmp_path}/state"\n[peers]\nlisten = "127.0.0.1:0"\n'
        'tokens = "tokens.json"\n[admin]\nlisten = "127.0.0.1:0"\n'
        "[messaging]\nenabled = true\n[[messaging.rights]]\n"
        'principals = "office"\npublish = "a"\nsubscribe = "b"\n'
    )
    hub = start("hub", "-c", "hub.toml", "--json", cwd=tmp_path)
    to = ("--hub", json.loads(hub.out.next())["peers"], "--token-file", str(tmp_path / "token"))
    assert run("publish", "a", "1", *to).code == 0
    refused = run("publish", "b", "1", *to)
    assert (refused.code, refused.out) == (4, "")
    assert "the hub refuses the message: not allowed" in refused.err
    refused = run("tail", "a", *to)
    assert (refused.code, refused.out) == (4, "")
    assert "not allowed to subscribe to 'a'" in refused.err
    assert "[[messaging.rights]]" in refused.err


def test_who_reads_the_lines_may_leave(start: Start, run: Run, relay: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "restsock", "tail", "readings", "--hub", relay]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as tail:
        try:
            assert tail.stdout is not None
            assert tail.stderr is not None
            while "subscribed" not in tail.stderr.readline():
                pass
            tail.stdout.close()
            for _ in range(2):
                assert run("publish", "readings", "1", "--hub", relay).code == 0
            assert tail.wait(20) == 1
            assert "Traceback" not in tail.stderr.read()
        finally:
            tail.kill()
