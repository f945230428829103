"""Who may publish, subscribe and ask at a hub that takes messages: over sockets."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from restsock.auth import Bearer
from restsock.hub import ConfigError, Hub, Tokens, check, parse
from restsock.messaging import AskFailed, Messaging, Session
from tests.hub.helpers import config_for, peer_of
from tests.messaging.test_connections import Kept


class Peer:
    """A peer with messages.

    Attributes:
        session: of the hub.
    """

    session: Session

    def __init__(self) -> None:
        self.messaging = Messaging()

    async def publishes(self, channel: str, body: Any = 1) -> bool:
        """Whether the hub takes a message."""
        to = self.messaging.channel(channel, delivery="at_least_once")
        before = len(self.messaging.dead_letters)
        await to.send(body)
        with trio.fail_after(20):
            await to.drain()
        letters = self.messaging.dead_letters[before:]
        assert {letter.reason for letter in letters} <= {"not allowed"}
        return not letters

    async def subscribes(self, channel: str) -> bool:
        """Whether the hub lets it subscribe."""
        return await _is_allowed(self.session.subscribe(channel))

    async def asks(self, method: str) -> bool:
        """Whether the hub answers."""
        return await _is_allowed(self.session.ask(method))


async def _is_allowed(asking: Awaitable[object]) -> bool:
    try:
        await asking
    except AskFailed as refused:
        if "not allowed" in str(refused):
            return False
        raise
    return True


@asynccontextmanager
async def peer(hub: Hub, name: str | None, token: str = "") -> AsyncIterator[Peer]:
    """A peer of this name that is connected."""
    found = Peer()
    more: dict[str, Any] = {"auth": Bearer(token)} if token else {}
    async with found.messaging, peer_of(hub, name, messaging=found.messaging, **more):  # type: ignore[arg-type]
        [found.session] = found.messaging.sessions
        yield found


ENABLED = "[messaging]\nenabled = true\n"


async def test_without_rights_everybody_may_everything(tmp_path: Path) -> None:
    async with Hub(config_for(tmp_path, ENABLED)) as hub, peer(hub, "edge-1") as one:
        assert await one.publishes("readings")
        assert await one.subscribes("commands")
        assert await one.asks("status")


async def test_with_an_empty_list_of_rights_nobody_may_anything(tmp_path: Path) -> None:
    toml = ENABLED + "rights = []"
    async with Hub(config_for(tmp_path, toml)) as hub, peer(hub, "edge-1") as one:
        assert not await one.publishes("readings")
        assert not await one.subscribes("commands")
        assert not await one.asks("status")


@pytest.mark.covers("messaging.rights.peers", "messaging.rights.publish")
@pytest.mark.covers("messaging.rights.subscribe", "messaging.rights.ask")
async def test_rights_by_the_name_of_a_peer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toml = ENABLED + (
        '[[messaging.rights]]\npeers = "edge-*"\npublish = ["readings.{peer}.*", "alarms"]\n'
        'subscribe = "commands.{peer}"\n'
        '[[messaging.rights]]\npeers = ["viewer"]\nsubscribe = "*"\nask = "stat*"\n'
    )
    async with (
        Hub(config_for(tmp_path, toml)) as hub,
        peer(hub, "edge-1") as edge,
        peer(hub, "viewer") as viewer,
        peer(hub, None) as nameless,
    ):
        with caplog.at_level(logging.INFO, "restsock.hub"):
            kept = Kept(viewer.messaging, "*")
            for channel in ("readings.edge-1.t", "alarms", "readings.edge-2.t"):
                assert await viewer.subscribes(channel)
                allowed = await edge.publishes(channel, channel)
                assert allowed is (channel != "readings.edge-2.t")
            assert await edge.subscribes("commands.edge-1")
            with pytest.raises(AskFailed, match=r"not allowed to subscribe to 'commands\.edge-2'"):
                await edge.session.subscribe("commands.edge-2")
            assert not await edge.subscribes("commands.*")  # a name, and no pattern
            assert not await edge.asks("status")
            assert await viewer.asks("status")
            assert not await viewer.asks("backpressure")
            assert not await viewer.publishes("alarms")
            assert not await nameless.publishes("alarms")
            assert not await nameless.subscribes("commands.{peer}")
            assert await kept.wait(2) == ["readings.edge-1.t", "alarms"]
    assert "the peer 'edge-1' (principal None) may not publish 'readings.edge-2.t'" in caplog.text


async def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    toml = ENABLED + '[[messaging.rights]]\nsubscribe = "commands.{peer}"'
    async with Hub(config_for(tmp_path, toml)) as hub:
        for name in ("*", "x*"):
            async with peer(hub, name) as one:
                assert await one.subscribes(f"commands.{name}")
                assert not await one.subscribes("commands.edge-1")
                assert not await one.subscribes("commands.xy")


@pytest.mark.covers("messaging.rights.principals")
async def test_rights_by_principal(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    values = {name: tokens.new(name)[1] for name in ("site-ulm", "office")}
    toml = '[peers]\ntokens = "tokens.json"\n' + ENABLED
    toml += '[[messaging.rights]]\nprincipals = "site-*"\npublish = "readings.{principal}"\n'
    toml += '[[messaging.rights]]\nprincipals = "office"\npeers = "desk"\nsubscribe = "readings.*"'
    async with Hub(config_for(tmp_path, toml)) as hub:
        async with peer(hub, None, values["site-ulm"]) as site:
            assert await site.publishes("readings.site-ulm")
            assert not await site.publishes("readings.office")
            assert not await site.subscribes("readings.site-ulm")
        async with peer(hub, None, values["office"]) as office:
            assert not await office.subscribes("readings.site-ulm")  # it has another name


async def test_a_reload_changes_rights_at_once(tmp_path: Path) -> None:
    def rights(line: str) -> str:
        return f"{ENABLED}[[messaging.rights]]\n{line}"

    config = config_for(tmp_path, rights('publish = "a"\nsubscribe = ["a", "b"]'))
    async with Hub(config) as hub, peer(hub, "edge-1") as one, peer(hub, "edge-2") as two:
        kept = Kept(two.messaging, "*")
        assert await two.subscribes("a")
        assert await two.subscribes("b")
        assert await one.publishes("a", 1)
        assert not await one.publishes("b")
        (tmp_path / "hub.toml").write_text(rights('publish = ["a", "b"]\nsubscribe = "b"'))
        assert await hub.reload() == []
        assert await one.publishes("a", 2)  # its subscription has ended
        assert await one.publishes("b", 3)
        assert await kept.wait(2) == [1, 3]
        assert not await two.subscribes("a")
        wrong = rights('publish = "{x}"')
        (tmp_path / "hub.toml").write_text(wrong)
        with pytest.raises(ConfigError, match=r"messaging\.rights\[0\]\.publish\[0\]"):
            await hub.reload()
        assert await one.publishes("b", 4)
        (tmp_path / "hub.toml").write_text(ENABLED)
        assert await hub.reload() == []
        assert await two.subscribes("a")
        (tmp_path / "hub.toml").write_text(ENABLED + "history = 3")
        assert await hub.reload() == ["messaging.history"]


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ('[[messaging.rights]]\npublish = "a"', "messaging.rights: there are no messages"),
        (ENABLED + "[[messaging.rights]]", r"messaging.rights\[0\]: it allows nothing"),
        (
            ENABLED + '[[messaging.rights]]\npeers = []\nask = "*"',
            r"messaging.rights\[0\].peers: it is for nobody",
        ),
        (
            ENABLED + '[[messaging.rights]]\npublish = ["a", ""]',
            r"messaging.rights\[0\].publish\[1\]: a pattern is 1 to 255",
        ),
        (
            ENABLED + '[[messaging.rights]]\nask = "a.{name}"',
            r"messaging.rights\[0\].ask\[0\]: {name} is neither",
        ),
        (
            ENABLED + '[[messaging.rights]]\nprincipals = "a"\nask = "*"',
            r"messaging.rights\[0\].principals: nobody has a principal without peers.tokens",
        ),
        (
            ENABLED + '[[messaging.rights]]\npublsh = "a"',
            r"messaging.rights\[0\].publsh: there is no such key; did you mean 'publish'",
        ),
    ],
)
def test_rights_that_are_wrong(tmp_path: Path, toml: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check(parse(toml, path=tmp_path / "hub.toml"))
