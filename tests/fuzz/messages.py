"""Messaging: what a peer sends after the handshake, to an engine that has messages for it.

An input is a byte of flags and items, parted by RS. The first byte of an item says what it is: a
type of envelope, whose payload is the rest (JSON), or one of the things that happen here. With
WRAPPED a payload of `data` is put into one that is complete, so that the fuzzer need not find it.
"""

from __future__ import annotations

import json
from typing import Any

from restsock.messaging import MessagingOptions
from restsock.messaging.engine import Refusal, decode_payload
from restsock.protocol import Envelope
from tests.messaging.engine.node import Node, Wire

MAX_LEN = 2048
TYPES = (
    *("data", "ack", "nack", "working", "credit", "resume", "resumed", "request", "reply"),
    *("slow", "other"),
)
_ACTS = ("send", "handle", "refuse", "tick", "reconnect", "crash")
DICTIONARY = (
    *(b'{"channel":"c","body":1}', b'"delivery":"at_least_once"', b'"epoch":"e"', b'"seq":1'),
    *(b'"attempt":1', b'"low":1', b'"encoding":"base64"', b'"headers":{"a":"b"}', b'"upto":true'),
    *(b'"reply_to":"evil"', b'"reason":"overflow"', b'"retry_after":1', b'"final":true'),
    *(b'"seconds":1', b'"messages":1', b'"bytes":1', b'"channels":{"c":{', b'"next":2'),
    *(b'"recovered":true', b'"missed":0', b'"method":"m"', b'"params":1', b'"status":"ok"'),
    *(
        b'"utilization":0.9',
        b"\x1e",
        b"9007199254740991",
        b"1e999",
        b"null",
        b"\\ud800",
        b"\xc2\x85",
    ),
)

FOREIGN = 1
DEAF = 2
WRAPPED = 4
RS = b"\x1e"

_OPTIONS = MessagingOptions(credit_messages=4, max_channels=4, max_epochs=2, max_inboxes=8)
_WHOLE = {
    "channel": "c",
    "delivery": "at_least_once",
    "epoch": "e",
    "seq": 1,
    "attempt": 1,
    "body": 1,
}


def test_one(data: bytes) -> None:
    flags, items = data[:1], data[1:].split(RS)
    game = _Game(flags[0] if flags else 0)
    for item in items:
        if item:
            game.play(item[0], item[1:])
            game.check()
    game.end()


class _Game:
    """An engine and its peer."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.foreign = bool(flags & FOREIGN)
        self.connections = 0
        self.runs = 0
        self.node = Node(_OPTIONS, epoch="run-0")
        self.ids: list[str] = []
        self.connect()

    def connect(self) -> None:
        self.connections += 1
        self.wire = Wire(
            f"c-{self.connections}",
            name="evil",
            foreign=self.foreign,
            credit=(4, 200_000),
            room=0 if self.flags & DEAF else 1_000_000,
        )
        self.peer = self.node.attach(self.wire)

    def play(self, kind: int, rest: bytes) -> None:
        kind %= len(TYPES) + len(_ACTS)
        if kind < len(TYPES):
            self.receive(TYPES[kind], rest)
        else:
            self.act(_ACTS[kind - len(TYPES)])

    def receive(self, type: str, rest: bytes) -> None:
        try:
            payload: Any = json.loads(rest.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        if self.flags & WRAPPED and type == "data" and isinstance(payload, dict):
            payload = _WHOLE | payload
        id = self.ids[-1] if self.ids and type in ("ack", "nack", "working", "reply") else "1"
        envelope = Envelope(type, id, 0, payload)
        self.node.engine.receive(self.peer, envelope, len(rest) + 80, self.node.now)
        for delivery in self.node.begin():
            data = delivery.data
            assert _is_name(data.channel)
            assert data.reply_to is None or data.reply_to in ("evil", self.wire.id)
            assert all(isinstance(value, str) for value in data.headers.values())
            assert data.seq == 0 or (1 <= data.seq < 2**53 and data.low <= data.seq)

    def act(self, act: str) -> None:
        node = self.node
        if act == "send":
            self.ids.append(node.send("c", len(self.ids), to="evil").id)
            node.send_once("o", 1, to="evil")
            if not self.peer.requests.full:
                outgoing = node.engine.ask(self.peer, "m", "null", "waiter", node.now)
                self.ids.append(outgoing.id)
        elif act == "handle":
            for delivery in [*node.started]:
                node.finish(delivery)
            node.handle()
        elif act == "refuse":
            for delivery in [*node.started]:
                node.finish(delivery, Refusal("no"))
        elif act == "tick":
            node.tick(31.0)
        elif act == "reconnect":
            node.engine.detach(self.peer, node.now)
            self.connect()
        else:
            self.runs += 1
            self.node = Node(_OPTIONS, epoch=f"run-{self.runs}", kept=node.kept)
            self.connect()
        node.settle()

    def check(self) -> None:
        """What is sent is as the spec says, and what is kept is bounded."""
        for text in self.wire.sent:
            said = json.loads(text)
            assert sorted(said) == ["id", "payload", "timestamp", "type"]
            if str(said["payload"].get("reason")).startswith("malformed"):
                continue  # it repeats what could be read
            decode_payload(said["type"], said["id"], 0, said["payload"], foreign=self.foreign)
        self.wire.sent.clear()
        grants = self.peer.grants
        if grants is not None:
            assert 0 <= grants.held <= 4
            assert grants.held_bytes >= 0
            assert len(self.peer.waiting) <= 4
        sender = self.peer.sender
        assert len(sender.inboxes) <= 4
        assert len(sender.lines) <= 4
        for inbox in sender.inboxes.values():
            assert inbox.active >= 0
            assert 1 <= len(inbox.epochs) <= 3

    def end(self) -> None:
        """All that was begun comes to its end, and the peer goes."""
        self.act("handle")
        self.check()
        self.node.engine.detach(self.peer, self.node.now)
        messages, bytes = self.node.engine.outgoing()
        assert messages >= 0
        assert bytes >= 0


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) < 256 and value.isprintable()
