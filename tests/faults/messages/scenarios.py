"""The faults of messages, one function each, on a `MessageField` with messages under way."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from restsock.testing import Link, Wire
from tests.faults.field import BACKOFF, HANDSHAKE, INTERVAL, TIMEOUT, Family
from tests.faults.messages.field import (
    Delivery,
    MessageField,
    MessageRow,
    Role,
    Side,
    message_field,
)
from tests.messaging.nats.server import BINARY
from tests.waiting import until

__all__ = ["LONG", "SHORT", "MessageScenario", "message_problems", "run_messages"]

_SILENCE = INTERVAL + TIMEOUT
_STEP = BACKOFF[1]
_BETWEEN = 0.2  # seconds between two cuts

# Until JetStream serves again, behind the server's first word; and a step of the bridge.
_JETSTREAM = 1.0 + _STEP
_PLACES = {"": "", "store": ", in a transaction", "nats": ", into JetStream"}

_BOTH: Sequence[Delivery] = ("at_least_once", "at_most_once")
_LEAST: Sequence[Delivery] = ("at_least_once",)


@dataclass(frozen=True)
class MessageScenario:
    """A fault to try.

    Attributes:
        name: for the table.
        break_: does it.
        limit: seconds in which a message of after it must be handled.
        deliveries: what is promised of the messages that it is tried with.
        sides: the ends that the sender is tried at.
        trouble: what SIGUSR2 does to the processes.
        place: where the receiver keeps messages: "" nowhere, "store" in a transaction of its store,
            "nats" in JetStream.
    """

    name: str
    break_: Callable[[MessageField], Awaitable[None]]
    limit: float = _STEP
    deliveries: Sequence[Delivery] = _LEAST
    sides: Sequence[Side] = ("dials", "listens")
    trouble: str = ""
    place: str = ""


async def run_messages(
    scenario: MessageScenario, delivery: Delivery, side: Side, family: Family
) -> MessageRow:
    """Tries it; the row has what came of it."""
    async with message_field(
        scenario.name, delivery, side, family, trouble=scenario.trouble, place=scenario.place
    ) as one:
        one.row.limit = scenario.limit
        await scenario.break_(one)
        await one.handled()
    return one.row


def message_problems(row: MessageRow, *, slack: float) -> list[str]:
    """What of the row is not as promised. `slack`: what a busy machine may add to each time."""
    found = list(row.counts.faults)
    if row.back is None:
        found.append("there was no fault")
    elif row.limit is not None and row.back > row.limit + slack:
        found.append(f"back behind {row.back:.2f} s, not {row.limit:.2f} s")
    return found


def _links(one: MessageField) -> list[Link]:
    return list(one.proxy.links)


def cuts(seconds: float) -> MessageScenario:
    """The connection is reset every 200 ms."""

    async def break_(one: MessageField) -> None:
        end = trio.current_time() + seconds
        while trio.current_time() < end:
            await one.proxy.cut()
            one.over()
            await trio.sleep(_BETWEEN)
        await one.resumed()

    return MessageScenario(f"cut every 200 ms for {seconds:g} s", break_, deliveries=_BOTH)


async def _blackhole(one: MessageField) -> None:
    """Nothing arrives any more, and nobody is told; later the network comes back."""
    one.proxy.stall()
    await trio.sleep(_SILENCE + 0.3)
    one.proxy.resume()
    await one.resumed()


async def _half(one: MessageField, wires: Sequence[Wire]) -> None:
    """What is sent on these wires vanishes, until the connection is given up for another."""
    accepted = one.proxy.accepted
    for wire in wires:
        wire.drop()
    await one.resumed()  # where messages go the other way, that is at once
    await until(lambda: one.proxy.accepted > accepted)
    await one.handled()


async def _deaf(one: MessageField) -> None:
    """What the dialer sends arrives, what the listener sends does not."""
    await _half(one, [link.stream.sending for link in _links(one)])


async def _dumb(one: MessageField) -> None:
    """The other way round."""
    await _half(one, [link.stream.receiving for link in _links(one)])


def kills(role: Role, times: int, *, place: str = "") -> MessageScenario:
    """A process is killed, and another takes its place and its store.

    Args:
        role: which one.
        times: how often.
        place: where the receiver keeps messages. Nothing may be twice there.
    """

    async def break_(one: MessageField) -> None:
        for number in range(times):
            await one.handled(number % 3 * 10)  # now in the middle of what has piled up, now not
            await one.kill(role)
            await one.start(role)
            await one.resumed()

    who = "sender" if role == "send" else "receiver"
    # The dialer may find nobody, and dials again a step later, behind a handshake that was begun.
    return MessageScenario(
        f"SIGKILL of the {who}, {times} times{_PLACES[place]}",
        break_,
        HANDSHAKE + _STEP,
        deliveries=_LEAST if place else _BOTH,
        place=place,
    )


def broker_kills(times: int) -> MessageScenario:
    """The NATS server is killed, and started again with what it has on its disk."""

    async def break_(one: MessageField) -> None:
        assert one.broker is not None
        for number in range(times):
            await one.handled(number % 3 * 10)
            await one.broker.kill()
            await trio.sleep(_BETWEEN)
            await one.broker.start()
            await one.resumed()

    return MessageScenario(
        f"SIGKILL of the NATS server, {times} times", break_, _JETSTREAM, place="nats"
    )


def restarts(times: int) -> MessageScenario:
    """The listener is closed in good order and started again."""

    async def break_(one: MessageField) -> None:
        role: Role = "keep" if one.row.sender == "dials" else "send"
        for _ in range(times):
            await one.close(role)
            await one.start(role)
            await one.resumed()

    return MessageScenario(
        f"listener closed and restarted, {times} times",
        break_,
        HANDSHAKE + _STEP,
        deliveries=_BOTH,
    )


async def _full_at_sender(one: MessageField) -> None:
    """`send` says so, and what it has promised is kept."""
    sender = one.children["send"]
    sender.send(signal.SIGUSR2)
    await one.refused(20)
    sender.send(signal.SIGUSR2)
    await one.resumed()


async def _full_at_receiver(one: MessageField) -> None:
    """What was handled cannot be noted: it is acknowledged later, and not handled again."""
    receiver = one.children["keep"]
    receiver.send(signal.SIGUSR2)
    await trio.sleep(1.0)
    receiver.send(signal.SIGUSR2)
    await one.resumed()


async def _clock(one: MessageField) -> None:
    """The wall clocks of both are set back by an hour; then the wire is cut."""
    for child in one.children.values():
        child.send(signal.SIGUSR2)
    await one.handled()
    accepted = one.proxy.accepted
    await one.proxy.cut()
    await one.resumed()
    await until(lambda: one.proxy.accepted > accepted)


def _all(*, seconds: float, times: int) -> tuple[MessageScenario, ...]:
    return (
        cuts(seconds),
        MessageScenario("blackhole, heals", _blackhole, HANDSHAKE + _STEP, _BOTH),
        MessageScenario("half open, one way", _deaf, _SILENCE + _STEP, _BOTH),
        MessageScenario("half open, other way", _dumb, _SILENCE + _STEP, _BOTH),
        kills("send", times),
        kills("keep", times),
        kills("keep", times, place="store"),
        *((kills("keep", times, place="nats"), broker_kills(times)) if BINARY else ()),
        restarts(times),
        # Work that was refused is tried again a second later.
        MessageScenario("disk of the sender full", _full_at_sender, 1.0, trouble="disk"),
        MessageScenario("disk of the receiver full", _full_at_receiver, 2.0, trouble="disk"),
        MessageScenario("clocks set back an hour", _clock, trouble="clock"),
    )


SHORT = _all(seconds=2, times=2)
"""For the suite."""

LONG = _all(seconds=60, times=20)
"""For `make faults`."""
