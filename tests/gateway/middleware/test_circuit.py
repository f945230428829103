"""The states of a circuit, compared with a model that keeps everything and counts it anew."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from restsock.gateway.middleware._circuit import Circuit, CircuitRules, Ticket

SLOTS = 10


class Model:
    """A circuit as its rules say it, without thought for the work."""

    def __init__(self, rules: CircuitRules) -> None:
        self.rules = rules
        self.state = "closed"
        self.since = 0.0
        self.ended: list[tuple[float, bool]] = []  # in this state
        self.open_calls: dict[int, float] = {}  # number -> when it began

    def enter(self, state: str, now: float) -> None:
        self.state, self.since, self.ended, self.open_calls = state, now, [], {}

    def patience(self) -> float:
        if self.rules.slow is not None:
            return self.rules.slow
        return self.rules.pause if self.state == "half-open" else math.inf

    def look(self, now: float) -> None:
        if self.state == "open" and now >= self.since + self.rules.pause:
            self.enter("half-open", now)
        for number, began in sorted(self.open_calls.items()):
            if now - began >= self.patience() and number in self.open_calls:
                del self.open_calls[number]
                self.judge(False, now)

    def judge(self, good: bool, now: float) -> None:
        self.ended.append((now, good))
        if self.state == "half-open":
            if not good:
                self.enter("open", now)
            elif len(self.ended) >= self.rules.probes:
                self.enter("closed", now)
            return
        width = self.rules.window / SLOTS
        recent = [ok for at, ok in self.ended if at // width > now // width - SLOTS]
        in_a_row = 0
        for _, ok in self.ended:
            in_a_row = 0 if ok else in_a_row + 1
        many = self.rules.failures is not None and in_a_row >= self.rules.failures
        ratio = self.rules.ratio
        enough = len(recent) >= self.rules.minimum
        if not good and (
            many or (ratio is not None and enough and recent.count(False) >= ratio * len(recent))
        ):
            self.enter("open", now)

    def admit(self, number: int, now: float) -> bool:
        self.look(now)
        if self.state == "open":
            return False
        if self.state == "half-open":
            passed = len(self.ended)
            if passed + len(self.open_calls) >= self.rules.probes:
                return False
        self.open_calls[number] = now
        return True

    def end(self, number: int, good: bool | None, now: float) -> None:
        self.look(now)
        if self.open_calls.pop(number, None) is not None and good is not None:
            self.judge(good, now)


RULES = st.builds(
    CircuitRules,
    failures=st.one_of(st.none(), st.integers(1, 4)),
    ratio=st.sampled_from([None, 0.3, 0.5, 1.0]),
    window=st.sampled_from([5.0, 10.0]),
    minimum=st.integers(1, 5),
    slow=st.sampled_from([None, 2.0, 8.0]),
    pause=st.sampled_from([1.0, 4.0]),
    probes=st.integers(1, 3),
)
STEPS = st.lists(
    st.one_of(
        st.just(("call", None, None)),
        st.tuples(st.just("end"), st.integers(0, 5), st.sampled_from([True, False, False, None])),
        st.tuples(st.just("sleep"), st.sampled_from([0.25, 1.0, 3.0]), st.none()),
    ),
    max_size=120,
)


@given(RULES, STEPS)
def test_it_does_what_its_rules_say(rules: CircuitRules, steps: list[Any]) -> None:
    told: list[str] = []
    circuit, model = Circuit(rules, told.append), Model(rules)
    now = 0.0
    calls: list[tuple[int, Ticket]] = []
    for number, (step, what, good) in enumerate(steps):
        if step == "sleep":
            now += what
        elif step == "call":
            ticket = circuit.admit(now)
            assert isinstance(ticket, Ticket) is model.admit(number, now)
            if isinstance(ticket, Ticket):
                calls.append((number, ticket))
            else:
                assert 0 <= ticket < math.inf
        elif calls:
            which, ticket = calls.pop(what % len(calls))
            circuit.end(ticket, good, now)
            model.end(which, good, now)
        circuit.look(now)
        model.look(now)
        assert circuit.state == model.state
    assert told[-1:] in ([], [circuit.state])
    allowed = {("closed", "open"), ("open", "half-open"), ("half-open", "closed")}
    for change in zip(["closed", *told], told, strict=False):
        assert change in {*allowed, ("half-open", "open")}


def test_a_failure_after_the_success_counts_while_nothing_has_changed() -> None:
    rules = CircuitRules(2, None, 10, 1, None, 5, 1)
    told: list[str] = []
    circuit = Circuit(rules, told.append)
    tickets: list[Any] = [circuit.admit(0) for _ in range(3)]
    for ticket in tickets:
        circuit.end(ticket, True, 1)
    circuit.fail_later(tickets[0], 2)
    circuit.fail_later(tickets[1], 2)
    assert told == ["open"]
    circuit.look(7)
    circuit.fail_later(tickets[2], 7)
    assert told == ["open", "half-open"]
