"""What peers may not do through a bridge, and subjects."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from restsock.messaging import InvalidMessage, Messaging, PublishFailed
from restsock.messaging.bridge import SubjectTemplate, publish_to
from tests.messaging.test_connections import joined

TEMPLATES = ["a.{peer}", "a.{peer}.{channel}", "a.{channel}.b.{peer}", "a.b"]


@given(st.sampled_from(TEMPLATES), st.text(min_size=1), st.text(min_size=1))
def test_a_subject_is_what_its_template_says_or_an_error(
    text: str, peer: str, channel: str
) -> None:
    template = SubjectTemplate(text)
    values = {"peer": peer, "channel": channel}
    try:
        subject = template.fill(values)
    except InvalidMessage:
        assert re.search(r"[\s.*>{}\x00-\x20\x7f]", peer + channel) or len(peer + channel) > 255
        return
    assert len(subject.split(".")) == len(text.split("."))
    assert not re.search(r"[\s*>]", subject)
    assert template.read(subject) == {name: values[name] for name in template.names}


@pytest.mark.parametrize("peer", ["", "a.b", "*", ">", "a b", "a\r\nPUB x 0", "\t", "a\x00", None])
def test_who_cannot_be_a_token_is_refused(peer: str | None) -> None:
    with pytest.raises(InvalidMessage, match="cannot be a token"):
        SubjectTemplate("readings.{peer}").fill({"peer": peer})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{peer}",
        "{peer}.a",
        "a..b",
        "a.*",
        "a.>",
        "a.x{peer}",
        "a.{x}",
        "a. b",
        "a.{peer}.{peer}",
    ],
)
def test_a_template_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"subject|placeholder"):
        SubjectTemplate(text)


class Broker:
    """One that has everything at once."""

    def __init__(self) -> None:
        self.published: list[Any] = []

    async def publish(self, subject: str, body: bytes, *, id: str, headers: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.published.append((subject, body, dict(headers)))


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Msg-Id": "another's"},
        {"nats-rollup": "all"},
        {"Restsock-Peer": "somebody"},
        {"content-type": "text/html"},
        {"a b": "c"},
        {"a": "b\r\nNats-Rollup: all"},
        {"a:b": ""},
    ],
)
async def test_headers_that_tell_the_broker_what_to_do_are_refused(headers: Any) -> None:
    edge, hub, broker = Messaging(), Messaging(), Broker()
    hub.on("readings")(publish_to(broker, "readings.{peer}"))
    async with joined(edge, hub):
        channel = edge.channel("readings", delivery="at_least_once")
        await channel.send(1, headers=headers)
        await channel.send(2, headers={"Unit": "°C"})
        with trio.fail_after(10):
            await channel.drain()
    assert [body for _, body, _ in broker.published] == [b"2"]
    assert broker.published[0][2]["Unit"] == "°C"
    (letter,) = edge.dead_letters
    assert "header" in letter.reason


@pytest.mark.parametrize("options", [{"patience": 10.0}, {"id_suffix": "a\n"}])
def test_options_of_a_handler_that_are_none(options: Any) -> None:
    with pytest.raises(ValueError, match=r"patience|suffix"):
        publish_to(Broker(), "readings.{peer}", **options)


async def test_a_name_with_a_dot_publishes_nowhere() -> None:
    edge, hub, broker = Messaging(), Messaging(), Broker()
    hub.on("*")(publish_to(broker, "readings.{channel}"))
    async with joined(edge, hub):
        channel = edge.channel("a.b", delivery="at_least_once")
        await channel.send(1)
        with trio.fail_after(10):
            await channel.drain()
    assert broker.published == []
    assert len(edge.dead_letters) == 1


async def test_what_a_broker_never_takes_is_not_sent_again() -> None:
    edge, hub, asked = Messaging(), Messaging(), []

    class Strict(Broker):
        async def publish(self, subject: str, body: bytes, *, id: str, headers: Any) -> None:
            await trio.lowlevel.checkpoint()
            asked.append(body)
            raise PublishFailed("too large", kind="invalid")

    hub.on("readings")(publish_to(Strict(), "readings.{peer}"))
    async with joined(edge, hub):
        channel = edge.channel("readings", delivery="at_least_once")
        await channel.send(1)
        with trio.fail_after(10):
            await channel.drain()
    [letter] = edge.dead_letters
    assert letter.reason == "too large"
    assert asked == [b"1"]
