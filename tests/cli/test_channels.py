"""`restsock tail` and `restsock publish`, with a hub that passes messages on."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .command import Process, Run
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
