"""The faults, one function each, on a `Field` that has its callers at work."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from restsock.testing import Link
from tests.faults.field import (
    BACKOFF,
    HANDSHAKE,
    INTERVAL,
    TIMEOUT,
    Family,
    Field,
    Row,
    Side,
    field,
)
from tests.waiting import until

__all__ = ["IN_UVICORN", "SCENARIOS", "Scenario", "run"]

SILENCE = INTERVAL + TIMEOUT
STEP = BACKOFF[1]

IN_UVICORN: Sequence[Side] = ("dials", "listens", "dials uvicorn", "in uvicorn")
_EVERYWHERE: Sequence[Side] = (*IN_UVICORN, "dials hypercorn")

# What a caller sends while the wire is broken.
_MIXED = ("small", "large", "both", "upload", "stream", "impatient")
_QUICK = ("small", "small", "both", "impatient")


@dataclass(frozen=True)
class Scenario:
    """A fault to try.

    Attributes:
        name: for the table.
        break_: does it, with the callers at work.
        sides: the ends that the caller is tried at.
        kinds: what the callers send.
        detect: seconds in which it must be noticed; None: it is not to be noticed at all.
        recover: seconds in which there must be an answer behind its end.
        app: "asgi" or "wsgi".
        tasks: callers on the loop.
        threads: callers in threads.
        no_failures: whether no request may fail.
        patient: whether the heartbeat is too slow to have a word in it.
    """

    name: str
    break_: Callable[[Field], Awaitable[None]]
    sides: Sequence[Side] = ("dials", "listens")
    kinds: Sequence[str] = _MIXED
    detect: float | None = SILENCE
    recover: float = STEP
    app: str = "asgi"
    tasks: int = 4
    threads: int = 2
    no_failures: bool = False
    patient: bool = False


async def run(scenario: Scenario, side: Side, family: Family) -> Row:
    """Tries it; the row has what came of it."""
    heartbeat = (1.0, 4.0) if scenario.patient else None
    async with field(scenario.name, side, family, app=scenario.app, heartbeat=heartbeat) as one:
        one.row.lost = scenario.detect is not None
        one.row.detect_limit = scenario.detect
        one.row.recover_limit = scenario.recover if one.row.lost else None
        async with one.load(*scenario.kinds, tasks=scenario.tasks, threads=scenario.threads):
            await one.answered(10)
            await scenario.break_(one)
            await one.answered(10)
    return one.row


def problems(row: Row, *, slack: float, no_failures: bool = False) -> list[str]:
    """What of the row is not as promised. `slack`: what a busy machine may add to each time."""
    found = list(row.counts.faults)
    if not row.counts.clean:
        found.append("the ledger is not clean")
    for what, took, limit in (
        ("noticed", row.detect, row.detect_limit),
        ("back", row.recover, row.recover_limit),
    ):
        if took is not None and limit is not None and took > limit + slack:
            found.append(f"{what} behind {took:.2f} s, not {limit:.2f} s")
    if not row.lost and row.connections != 1:
        found.append(f"{row.connections} connections instead of one")
    if row.lost and row.connections < 2:
        found.append("the connection was not lost")
    failed = row.counts.not_started + row.counts.may_have_run
    if no_failures and failed:
        found.append(f"{failed} requests failed: {dict(row.counts.errors)}")
    return found


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


def _each_link(one: Field) -> list[Link]:
    return list(one.proxy.links)


# --- a wire that breaks -----------------------------------------------------------------------


async def blackhole(one: Field) -> None:
    """Nothing arrives any more, and nobody is told; later the network comes back."""

    async def fault() -> None:
        one.proxy.stall()

    async def mend() -> None:
        one.proxy.resume()

    await one.suffer(fault, mend, linger=0.8)


async def forgotten(one: Field) -> None:
    """A NAT has forgotten the connection: what is sent on it vanishes, a new one gets through."""

    async def fault() -> None:
        for link in _each_link(one):
            link.stream.drop()

    await one.suffer(fault, nothing)


async def deaf(one: Field) -> None:
    """Half open: what the dialer sends arrives, what the listener sends does not."""

    async def fault() -> None:
        for link in _each_link(one):
            link.stream.sending.drop()

    await one.suffer(fault, nothing)


async def dumb(one: Field) -> None:
    """Half open, the other way round."""

    async def fault() -> None:
        for link in _each_link(one):
            link.stream.receiving.drop()

    await one.suffer(fault, nothing)


async def reset(one: Field) -> None:
    """Connections are reset, five times."""
    for _ in range(5):
        await one.suffer(one.proxy.cut, nothing)
        await one.answered(5)


async def end_of_file(one: Field) -> None:
    """Connections end, five times."""

    async def fault() -> None:
        await one.proxy.cut("eof")

    for _ in range(5):
        await one.suffer(fault, nothing)
        await one.answered(5)


def random_cuts(number_of_cuts: int) -> Callable[[Field], Awaitable[None]]:
    """Connections break after any byte: in a frame, a head, a handshake."""

    async def cut(one: Field) -> None:
        await _cut_at_random(one, number_of_cuts)

    return cut


async def _cut_at_random(one: Field, number_of_cuts: int) -> None:
    dice = random.Random(5)
    for number in range(number_of_cuts):
        connection = await one.wait_connected()
        for link in _each_link(one):
            wire = dice.choice([link.stream.sending, link.stream.receiving])
            wire.cut_after(dice.randrange(1, 30_000), dice.choice(["reset", "eof"]))
        with trio.fail_after(20):
            await connection.wait_closed()
        if number % 4 == 0:
            await one.answered()
        else:
            # The next one is cut within its handshake.
            await until(lambda: bool(one.proxy.links))
            for link in _each_link(one):
                link.stream.receiving.cut_after(dice.randrange(1, 600))
    one.row.detect = 0.0


async def late(one: Field) -> None:
    """300 ms for each round trip."""
    for link in _each_link(one):
        link.stream.sending.delay = link.stream.receiving.delay = 0.15
    await trio.sleep(2)
    for link in _each_link(one):
        link.stream.sending.delay = link.stream.receiving.delay = 0.0


async def bursts(one: Field) -> None:
    """300 ms, and pauses of a retransmission (200 ms) at random: what loss looks like above TCP."""
    dice = random.Random(7)
    for link in _each_link(one):
        link.stream.sending.delay = link.stream.receiving.delay = 0.05
    for _ in range(5):
        for link in _each_link(one):
            wire = dice.choice([link.stream.sending, link.stream.receiving])
            wire.stall()
            await trio.sleep(0.2)
            wire.resume()
        await trio.sleep(0.2 * dice.random())
    for link in _each_link(one):
        link.stream.sending.delay = link.stream.receiving.delay = 0.0


async def bytewise(one: Field) -> None:
    """One byte at a time, both ways."""
    for link in _each_link(one):
        link.stream.sending.chunk = link.stream.receiving.chunk = 1
    await trio.sleep(1.5)
    for link in _each_link(one):
        link.stream.sending.chunk = link.stream.receiving.chunk = None


async def short_stall(one: Field) -> None:
    """Nothing moves for half of the time that is allowed: nobody may give up."""
    one.proxy.stall()
    await trio.sleep(SILENCE / 2)
    one.proxy.resume()


# --- a process that stops or dies ---------------------------------------------------------------


async def stopped(one: Field) -> None:
    """SIGSTOP; behind the silence, SIGCONT."""

    async def fault() -> None:
        one.child.send(signal.SIGSTOP)

    async def mend() -> None:
        one.child.send(signal.SIGCONT)

    await one.suffer(fault, mend, linger=0.2)


async def killed(one: Field) -> None:
    """SIGKILL in the middle of what the callers do; another takes the place."""

    async def fault() -> None:
        one.child.kill()

    await one.suffer(fault, one.restart, linger=0.1)


async def killed_in_handshake(one: Field) -> None:
    """The peer takes the socket and dies before it has said a word."""
    one.child.send(signal.SIGSTOP)
    accepted = one.proxy.accepted

    async def fault() -> None:
        await one.proxy.cut()

    async def mend() -> None:
        await one.restart()

    async def with_handshake() -> None:
        await fault()
        await until(lambda: one.proxy.accepted > accepted and bool(one.proxy.links))
        await trio.sleep(0.05)  # the hello is on its way, to nobody
        one.child.kill()

    await one.suffer(with_handshake, mend)


def restarts(number: int, how: int) -> Callable[[Field], Awaitable[None]]:
    """The peer ends and comes back, so many times."""

    async def restart(one: Field) -> None:
        async def fault() -> None:
            one.child.send(how)

        for _ in range(number):
            await one.suffer(fault, one.restart)
            await one.answered(3)

    return restart


def killed_and_restarted(number: int) -> Scenario:
    return Scenario(
        f"killed and restarted, {number} times", restarts(number, signal.SIGKILL), _EVERYWHERE
    )


def closed_and_restarted(number: int) -> Scenario:
    """It drains: no request may fail. "Noticed" is how long the last one in flight takes."""
    return Scenario(
        f"closed and restarted, {number} times",
        restarts(number, signal.SIGTERM),
        _EVERYWHERE,
        kinds=("small", "large", "both", "upload", "stream"),
        detect=5.0,
        no_failures=True,
        patient=True,
    )


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("blackhole, heals", blackhole, _EVERYWHERE, recover=HANDSHAKE + STEP),
    Scenario("forgotten by a NAT", forgotten),
    Scenario("half open, one way", deaf, IN_UVICORN),
    Scenario("half open, other way", dumb, IN_UVICORN),
    Scenario("reset, 5 times", reset, IN_UVICORN),
    Scenario("end of file, 5 times", end_of_file),
    # Patient, since a busy machine adds its own pauses to those of the wire.
    Scenario("300 ms", late, kinds=("small", "both"), detect=None, no_failures=True, patient=True),
    Scenario(
        "pauses of 200 ms at random",
        bursts,
        kinds=("small", "both"),
        detect=None,
        no_failures=True,
        patient=True,
    ),
    Scenario("1 byte at a time", bytewise, kinds=("small",), detect=None, no_failures=True),
    Scenario(
        "stall shorter than the time-out",
        short_stall,
        kinds=("small", "both"),
        detect=None,
        no_failures=True,
    ),
    Scenario("SIGSTOP", stopped, IN_UVICORN, recover=HANDSHAKE + STEP),
    Scenario("SIGKILL during uploads", killed, _EVERYWHERE, kinds=("long upload", "small")),
    Scenario("SIGKILL during downloads", killed, _EVERYWHERE, kinds=("long stream", "small")),
    Scenario("SIGKILL, WSGI", killed, app="wsgi"),
    Scenario(
        "SIGKILL in the handshake", killed_in_handshake, sides=("dials",), recover=HANDSHAKE + STEP
    ),
)

LONG: tuple[Scenario, ...] = (
    Scenario("cut after any byte, 20 times", random_cuts(20), IN_UVICORN, kinds=_QUICK),
    killed_and_restarted(20),
    closed_and_restarted(20),
)
