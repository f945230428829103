"""Two engines under any schedule lose nothing, handle nothing twice, and keep the order.

Messages are sent, passed on, handled, refused; connections are cut, with what is under way on them,
or replaced while the old one still delivers; either side crashes and comes back from its store. In
the end everything is let run, and the ledger has to balance.
"""

from __future__ import annotations

from collections.abc import Sized

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from restsock._options import Backoff
from restsock.messaging import MessagingOptions
from restsock.messaging.engine import Delivery, Peer, Refusal
from tests.messaging.engine.node import Node, Wire, pass_on

CHANNELS = ["a", "b"]


class Old:
    """A connection that one side has left, and that the other side still knows."""

    def __init__(self, peer: Peer, wire: Wire) -> None:
        self.peer = peer
        self.wire = wire


class Schedule(RuleBasedStateMachine):
    """The dialer `left` sends to the listener `right`."""

    ordered = True
    window = 1

    @initialize(credit=st.sampled_from([1, 2, 5, 64]), tries=st.sampled_from([0, 3]))
    def begin(self, credit: int, tries: int) -> None:
        self.options = MessagingOptions(
            credit_messages=credit,
            redelivery=Backoff(initial=1, factor=2, cap=8, tries=tries),
            ack_timeout=5.0,
        )
        self.sent: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.sent_once: list[int] = []
        # What was handled and stored, in that order: with a crash in between it may come again.
        self.ledger: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.unstored: list[tuple[str, int]] = []
        self.once: list[int] = []
        self.dead: list[int] = []
        self.numbers = 0
        self.epochs = 0
        self.connections = 0
        self.left = Node(self.options, epoch="left-0")
        self.right = Node(self.options, epoch="right-0")
        self.out: Wire | None = None
        self.back: Wire
        self.left_peer: Peer
        self.right_peer: Peer
        self.old: list[Old] = []
        self.connect()

    # --- the connection ---

    def connect(self) -> None:
        self.connections += 1
        id = f"c-{self.connections}"
        credit = self.options.credit_messages, self.options.credit_bytes
        self.out = Wire(id, dialed=True, credit=credit)
        self.back = Wire(id, name="edge", credit=credit)
        self.left_peer = self.left.attach(self.out)
        self.right_peer = self.right.attach(self.back)

    @rule()
    def cut(self) -> None:
        """What is under way is lost."""
        if self.out is not None:
            self.left.engine.detach(self.left_peer, self.left.now)
            self.right.engine.detach(self.right_peer, self.right.now)
            self.out = None

    @rule()
    def reconnect(self) -> None:
        if self.out is None:
            self.connect()

    @rule()
    def replace_connection(self) -> None:
        """The dialer has come back, and the listener has not noticed that it was gone."""
        if self.out is not None:
            self.left.engine.detach(self.left_peer, self.left.now)
            self.old.append(Old(self.right_peer, self.out))
            self.connect()

    @rule(count=st.integers(1, 5))
    def pass_on_old(self, count: int) -> None:
        for old in self.old:
            pass_on(old.wire, self.right, old.peer, count)

    @rule()
    def end_old(self) -> None:
        for old in self.old:
            self.right.engine.detach(old.peer, self.right.now)
        self.old.clear()

    @rule(count=st.integers(1, 20))
    def pass_on(self, count: int) -> None:
        if self.out is not None:
            pass_on(self.out, self.right, self.right_peer, count)

    @rule(count=st.integers(1, 20))
    def pass_back(self, count: int) -> None:
        if self.out is not None:
            pass_on(self.back, self.left, self.left_peer, count)

    @rule()
    def repeat(self) -> None:
        """An envelope comes twice. Not one that gives credit, which both sides count."""
        if self.out is not None:
            for wire in (self.back,):
                if wire.sent and '"type":"credit"' not in wire.sent[0]:
                    wire.sent.appendleft(wire.sent[0])

    # --- sending ---

    @rule(channel=st.sampled_from(CHANNELS), count=st.integers(1, 8))
    def send(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.numbers += 1
            self.left.send(channel, self.numbers)
            self.sent[channel].append(self.numbers)

    @rule()
    def send_once(self) -> None:
        self.numbers += 1
        self.left.send_once("once", self.numbers)
        self.sent_once.append(self.numbers)

    # --- handling ---

    @rule()
    def start(self) -> None:
        self.right.begin(self.window, ordered=self.ordered)

    @rule(data=st.data(), how=st.sampled_from(["handled"] * 4 + ["later", "busy", "never"]))
    def finish(self, data: st.DataObject, how: str) -> None:
        if self.right.started:
            started = self.right.started
            at = data.draw(st.integers(0, len(started) - 1)) if self.window > 1 else 0
            self.end(started[at], how)

    def end(self, delivery: Delivery, how: str) -> None:
        refusals = {
            "later": Refusal("failed"),
            "busy": Refusal("overflow", retry_after=0.5),
            "never": Refusal("no", final=True),
        }
        channel, body = delivery.data.channel, delivery.data.body
        if how == "handled":
            if channel == "once":
                self.once.append(body)
            else:
                self.unstored.append((channel, body))
        self.right.finish(delivery, refusals.get(how))

    @rule()
    def settle_left(self) -> None:
        self.left.settle()

    @rule()
    def settle_right(self) -> None:
        self.right.settle()
        for channel, body in self.unstored:
            self.ledger[channel].append(body)
        self.unstored.clear()

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.left.tick(seconds)
        self.right.tick(seconds)

    # --- crashes ---

    @rule()
    def crash_left(self) -> None:
        self.epochs += 1
        self.note_letters()
        self.cut()
        self.left = Node(self.options, epoch=f"left-{self.epochs}", kept=self.left.kept)

    @rule()
    def crash_right(self) -> None:
        self.epochs += 1
        self.cut()
        self.old.clear()
        self.unstored.clear()
        self.right = Node(self.options, epoch=f"right-{self.epochs}", kept=self.right.kept)

    def note_letters(self) -> None:
        """A letter that was not stored is none: its message is sent again."""
        for letter in self.left.kept.dead.values():
            body = int(letter.record.content.partition(":")[2])
            if body not in self.dead:
                self.dead.append(body)

    # --- what holds ---

    @invariant()
    def no_credit_is_overrun(self) -> None:
        if hasattr(self, "right"):
            assert "credit" not in self.right.engine.counters.errors
            for node in (self.left, self.right):
                assert "credit_grant" not in node.engine.counters.errors
                assert not [one for one in node.engine.counters.errors if "malformed" in one]

    @invariant()
    def what_waits_is_within_the_credit(self) -> None:
        if self.__dict__.get("out") is not None:
            assert len(self.right_peer.waiting) <= self.options.credit_messages
            grants = self.right_peer.grants
            assert grants is not None
            assert 0 <= grants.held <= self.options.credit_messages

    def teardown(self) -> None:
        if not hasattr(self, "right"):
            return
        self.end_old()
        self.settle_right()
        self.reconnect()
        for _ in range(5 * self.numbers + 100):
            assert self.out is not None
            self.left.settle()
            self.settle_right()
            pass_on(self.out, self.right, self.right_peer)
            pass_on(self.back, self.left, self.left_peer)
            self.right.begin(self.window, ordered=self.ordered)
            for delivery in [*self.right.started]:
                self.end(delivery, "handled")
            self.settle_right()
            pass_on(self.back, self.left, self.left_peer)
            self.left.settle()
            here: tuple[Sized, ...] = (
                self.left_peer.destination.queue,
                self.right_peer.waiting,
                self.out.sent,
            )
            if not self.left.engine.outgoing()[0] and not any(len(one) for one in here):
                break
            self.wait(1.0)
        self.note_letters()
        assert self.left.engine.outgoing() == (0, 0)
        assert self.left.kept.records == {}
        for channel in CHANNELS:
            handled = self.ledger[channel]
            assert len({*handled}) == len(handled), "handled twice"
            assert {*handled} | {*self.dead} >= {*self.sent[channel]}, "lost"
            if self.ordered and self.window == 1:
                assert handled == sorted(handled), "out of order"
        assert len({*self.once}) == len(self.once)
        if self.window == 1:
            assert self.once == sorted(self.once)
        assert {*self.once} <= {*self.sent_once}
        grants = self.right_peer.grants
        assert grants is not None
        assert grants.held == 0


class Unordered(Schedule):
    """Any number of handlers at once."""

    ordered = False
    window = 64


class Overlapping(Schedule):
    """Several at once, begun in order."""

    window = 3


SETTINGS = settings(stateful_step_count=60)
TestSchedule = Schedule.TestCase
TestSchedule.settings = SETTINGS
TestUnordered = Unordered.TestCase
TestUnordered.settings = SETTINGS
TestOverlapping = Overlapping.TestCase
TestOverlapping.settings = SETTINGS
