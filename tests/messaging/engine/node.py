"""Engines with a host, a store and links of their own, all in memory and without time."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from restsock._principal import Principal
from restsock.messaging import MessagingOptions
from restsock.messaging.engine import (
    DeadLetter,
    Delivery,
    Destination,
    Effects,
    Engine,
    Entry,
    Inbox,
    InboxKey,
    Line,
    Mark,
    Outbox,
    Outgoing,
    OutRecord,
    Peer,
    RecordKey,
    Refusal,
    content_size,
    encode_content,
    utf8_length,
)
from restsock.protocol import decode_envelope

_ids = itertools.count(1)


def new_id() -> str:
    return f"00000000-0000-4000-8000-{next(_ids):012x}"


class Wire:
    """A link whose envelopes wait in `sent` until somebody takes them."""

    def __init__(
        self,
        id: str = "c-1",
        *,
        name: str | None = None,
        dialed: bool = False,
        foreign: bool = False,
        credit: tuple[int, int] | None = (64, 1024 * 1024),
        max_message: int = 64 * 1024,
        principal: Principal | None = None,
        metadata: Mapping[str, Any] | None = None,
        room: int = 1_000_000,
    ) -> None:
        self.id = id
        self.name = name
        self.dialed = dialed
        self.foreign = foreign
        self.credit = None if foreign else credit
        self.max_message = max_message
        self.principal = principal
        self.metadata = metadata or {}
        self.connected_at = 0.0
        self.room = room
        self.sent: deque[str] = deque()
        self.closed: tuple[int, str] | None = None
        self.refused = False

    def send(self, outgoing: Outgoing) -> bool:
        if len(self.sent) >= self.room:
            self.refused = True
            return False
        assert utf8_length(outgoing.text) == outgoing.size <= self.max_message
        self.sent.append(outgoing.text)
        return True

    def close_soon(self, code: int, reason: str) -> None:
        self.closed = code, reason

    def take(self) -> list[dict[str, Any]]:
        """All that was sent, read."""
        found = [json.loads(text) for text in self.sent]
        self.sent.clear()
        return found


class Kept:
    """What a store keeps, and what a crash leaves."""

    def __init__(self) -> None:
        self.records: dict[RecordKey, OutRecord] = {}
        self.marks: dict[InboxKey, tuple[int, set[int]]] = {}
        self.dead: dict[RecordKey, DeadLetter] = {}

    def apply(self, effects: Effects) -> None:
        for mark in effects.marks.values():
            seqs = self.marks.get(mark.key, (0, set()))[1] | {*mark.seqs}
            self.marks[mark.key] = mark.upto, {seq for seq in seqs if seq > mark.upto}
        for key in effects.done:
            self.records.pop(key, None)
        for key, attempts in effects.attempts.items():
            if key in self.records:
                self.records[key] = replace(self.records[key], attempts=attempts)
        for letter in effects.dead:
            self.records.pop(letter.record.key, None)
            self.dead[letter.record.key] = letter
        for inbox in effects.forget:
            self.marks.pop(inbox, None)

    def load(self, engine: Engine) -> None:
        for record in self.records.values():
            engine.restore(record)
        for key, (upto, seqs) in self.marks.items():
            engine.restore_mark(Mark(*key, upto, tuple(sorted(seqs))))


class Node:
    """An engine and its host."""

    def __init__(
        self,
        options: MessagingOptions | None = None,
        *,
        epoch: str = "e1",
        kept: Kept | None = None,
        remembers: bool = True,
    ) -> None:
        self.options = options or MessagingOptions()
        self.kept = kept or Kept()
        self.now = 0.0
        self.chance = 0.5
        self.is_dirty = False
        self.lines: dict[Inbox | Line, None] = {}
        self.questions: list[tuple[Peer, Any]] = []
        self.answers: list[tuple[Any, Any]] = []
        self.letters: list[DeadLetter] = []
        self.recoveries: list[tuple[str, int | None]] = []
        self.alarms: list[float] = []
        self.allowed = True
        self.started: list[Delivery] = []
        self.engine = Engine(
            self.options,
            epoch=epoch,
            host=self,
            new_id=new_id,
            chance=lambda: self.chance,
            remembers=remembers,
        )
        self.kept.load(self.engine)

    # --- the host ---

    def work(self, line: Inbox | Line) -> None:
        self.lines[line] = None

    def dirty(self) -> None:
        self.is_dirty = True

    def asked(self, peer: Peer, request: Any) -> None:
        self.questions.append((peer, request))

    def answered(self, waiter: Any, reply: Any) -> None:
        self.answers.append((waiter, reply))

    def dead(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def room(self, destination: Destination) -> None:
        pass

    def recovered(self, peer: Peer, channel: str, missed: int | None) -> None:
        self.recoveries.append((channel, missed))

    def may(self, peer: Peer, action: str, name: str) -> bool:
        return self.allowed

    def alarm(self, due: float) -> None:
        self.alarms.append(due)

    def drained(self, peer: Peer) -> None:
        pass

    # --- what a driver does ---

    def attach(self, link: Wire) -> Peer:
        return self.engine.attach(link, self.now)

    def receive(self, peer: Peer, text: str) -> None:
        self.engine.receive(peer, decode_envelope(text), utf8_length(text), self.now)

    def send(self, channel: str, body: Any, *, to: str = "", save: bool = True) -> Entry:
        """Sends at least once."""
        content = encode_content(body, None, None)
        destination = self.engine.destination(to)
        outbox, entry = self.engine.send_reliable(
            destination, channel, content, content_size(channel, content), self.now
        )
        if save:
            self.save(outbox, entry)
        return entry

    def save(self, outbox: Outbox, entry: Entry) -> None:
        if not entry.settled:
            record = outbox.record(entry)
            self.kept.records[record.key] = record
        self.engine.saved(outbox, entry, self.now)

    def send_once(self, channel: str, body: Any, *, to: str = "") -> Outgoing | None:
        destination = self.engine.destination(to)
        return self.engine.send(destination, channel, encode_content(body, None, None), self.now)

    def begin(self, window: int = 1, *, ordered: bool = True) -> list[Delivery]:
        """Begins what may be begun."""
        begun: list[Delivery] = []
        for line in [*self.lines]:
            while (delivery := self.engine.next(line, window, ordered=ordered)) is not None:
                begun.append(delivery)
        self.started += begun
        return begun

    def finish(self, delivery: Delivery, refusal: Refusal | None = None) -> None:
        self.started.remove(delivery)
        self.engine.finish(delivery, refusal, self.now)

    def settle(self) -> None:
        """Does with the store what there is to do, and tells the peers."""
        if self.is_dirty:
            self.is_dirty = False
            effects = self.engine.take()
            self.kept.apply(effects)
            self.engine.stored(effects)
            self.engine.flush(self.now)

    def handle(self, window: int = 1, *, ordered: bool = True) -> list[Any]:
        """Handles all that has come; returns the bodies."""
        bodies = []
        while begun := self.begin(window, ordered=ordered):
            for delivery in begun:
                bodies.append(delivery.data.body)
                self.finish(delivery)
        self.settle()
        return bodies

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.engine.tick(self.now)


def pass_on(source: Wire, node: Node, peer: Peer, count: int | None = None) -> int:
    """Hands what was sent on a wire to the other end."""
    passed = 0
    while source.sent and (count is None or passed < count):
        node.receive(peer, source.sent.popleft())
        passed += 1
    return passed


class Pair:
    """A dialer and its listener, connected by two wires."""

    def __init__(
        self,
        left: MessagingOptions | None = None,
        right: MessagingOptions | None = None,
        *,
        name: str | None = "edge-1",
    ) -> None:
        self.left = Node(left, epoch="left")
        self.right = Node(right, epoch="right")
        self.name = name
        self.connections = 0
        self.connect()

    def connect(self) -> None:
        self.connections += 1
        id = f"c-{self.connections}"
        left, right = self.left.options, self.right.options
        self.out = Wire(id, dialed=True, credit=(right.credit_messages, right.credit_bytes))
        self.back = Wire(id, name=self.name, credit=(left.credit_messages, left.credit_bytes))
        self.left_peer = self.left.attach(self.out)
        self.right_peer = self.right.attach(self.back)

    def disconnect(self) -> None:
        """Cuts the connection; what is under way is lost."""
        self.left.engine.detach(self.left_peer, self.left.now)
        self.right.engine.detach(self.right_peer, self.right.now)

    def exchange(self) -> None:
        """Passes on what there is, both ways, until there is nothing more."""
        self.left.settle()
        self.right.settle()
        while self.out.sent or self.back.sent:
            pass_on(self.out, self.right, self.right_peer)
            pass_on(self.back, self.left, self.left_peer)
            self.left.settle()
            self.right.settle()

    def deliver(self, window: int = 1, *, ordered: bool = True) -> list[Any]:
        """Has the listener handle all that the dialer has for it."""
        bodies: list[Any] = []
        while True:
            self.exchange()
            found = self.right.handle(window, ordered=ordered)
            bodies += found
            if not found and not self.out.sent and not self.back.sent:
                return bodies


def payloads(envelopes: Sequence[Mapping[str, Any]], type: str) -> list[Any]:
    return [one["payload"] for one in envelopes if one["type"] == type]
