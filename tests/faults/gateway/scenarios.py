"""The faults of gateways, one function each, on a `GatewayField` whose clients call."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from tests.faults.field import BACKOFF, Family
from tests.faults.gateway.field import PAUSE, GatewayField, OwnProcess, gateway_field
from tests.faults.gateway.rows import GatewayRow, percentile
from tests.waiting import until

__all__ = ["LONG", "SHORT", "GatewayScenario", "gateway_problems", "run_gateway"]

_STEP = BACKOFF[1]
# Five failures in a row open the circuit breaker, and they come at once.
_OPENED = 0.5
_REFUSED = 0.005


@dataclass(frozen=True)
class GatewayScenario:
    """A fault to try.

    Attributes:
        name: for the table.
        break_: does it.
        backend: what answers is a server of HTTP with such parts of errors and stalls; `None` is
            two peers.
        limit: seconds from the end of the fault until there must be an answer.
        may_fail: whether calls may be answered with a failure.
        opens: whether the circuit breaker has to open.
        own_process: whether the gateway has one, apart from its clients.
    """

    name: str
    break_: Callable[[GatewayField], Awaitable[None]]
    backend: tuple[float, float] | None = None
    limit: float | None = None
    may_fail: bool = True
    opens: bool = False
    own_process: bool = False


async def run_gateway(scenario: GatewayScenario, family: Family) -> GatewayRow:
    """Tries it; the row has what came of it."""
    row = GatewayRow(
        scenario.name, limit=scenario.limit, may_fail=scenario.may_fail, opens=scenario.opens
    )
    async with gateway_field(
        row, family, backend=scenario.backend, own_process=scenario.own_process
    ) as one:
        await scenario.break_(one)
        await one.answered()
    return row


def gateway_problems(row: GatewayRow, *, slack: float) -> list[str]:
    """What of the row is not as promised. `slack`: what a busy machine may add to each time."""
    found = row.counts.faults()
    if not row.may_fail and row.counts.failed:
        found.append(f"{row.counts.failed} failed")
    if row.limit is not None and (row.back is None or row.back > row.limit + slack):
        found.append(f"back behind {row.back} s, not {row.limit:.2f} s")
    if row.opens and (row.opened is None or row.opened > _OPENED + slack):
        found.append(f"the circuit breaker opened behind {row.opened} s, not {_OPENED:.2f} s")
    late = percentile(row.refused, 0.99)
    if late is not None and late > _REFUSED + slack:
        found.append(f"refused within {late * 1e3:.1f} ms, not {_REFUSED * 1e3:.0f} ms")
    return found


def failing(seconds: float) -> GatewayScenario:
    """The server fails now and then, or takes its time."""

    async def break_(one: GatewayField) -> None:
        await trio.sleep(seconds)

    return GatewayScenario("backend: 5 % errors, 1 % stalls", break_, (0.05, 0.01))


def killed(times: int) -> GatewayScenario:
    """The server of HTTP is killed; behind a second, another takes its place."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await one.kill_backend()
            await until(lambda: one.open)
            await trio.sleep(1)
            await one.start_backend()
            await one.back()
            await until(lambda: not one.open)
            await one.answered()

    name = f"backend killed, {times} times"
    return GatewayScenario(name, break_, (0.0, 0.0), limit=PAUSE, opens=True, own_process=True)


def backend_restarts(times: int) -> GatewayScenario:
    """The server of HTTP ends in good order, with another one on its port by then."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await one.restart_backend()
            await one.answered()

    name = f"backend restarted, {times} times"
    return GatewayScenario(name, break_, (0.0, 0.0), may_fail=False, own_process=True)


def peers_killed(times: int) -> GatewayScenario:
    """One of two peers is killed, with calls under way; another takes its place."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await one.end_peer(next(iter(one.peers)), signal.SIGKILL)
            await one.back()
            await one.start_peer()
            await one.answered()

    return GatewayScenario(f"peer of two killed, {times} times", break_, limit=_STEP)


def rolling(times: int) -> GatewayScenario:
    """One peer after the other is closed in good order, with another one beside it by then."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await one.end_peer(next(iter(one.peers)), signal.SIGTERM)
            await one.answered()
            await one.start_peer()
            await one.answered()

    name = f"rolling restart of the peers, {times} times"
    return GatewayScenario(name, break_, may_fail=False)


def reloads(times: int, pause: float) -> GatewayScenario:
    """Other backends and middleware have the place of those that serve, in `Gateway.swap`."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await trio.sleep(pause)
            await one.reload()
            await one.answered()

    name = f"reload every {pause:g} s, {times} times"
    return GatewayScenario(name, break_, (0.0, 0.0), may_fail=False)


def signals(times: int, pause: float) -> GatewayScenario:
    """The file of a gateway names other backends, and it has SIGHUP."""

    async def break_(one: GatewayField) -> None:
        for _ in range(times):
            await trio.sleep(pause)
            await one.reload()
            await one.answered()

    name = f"SIGHUP every {pause:g} s, {times} times"
    return GatewayScenario(name, break_, (0.0, 0.0), may_fail=False, own_process=True)


def gateway_restarts(times: int) -> GatewayScenario:
    """A gateway has SIGTERM, with another one on its port by then."""

    async def break_(one: GatewayField) -> None:
        assert isinstance(one, OwnProcess)
        for _ in range(times):
            await one.restart()
            await one.back()
            await one.answered()

    name = f"gateway restarted, {times} times"
    return GatewayScenario(name, break_, (0.0, 0.0), limit=_STEP, own_process=True)


def _all(*, seconds: float, times: int, reload: float) -> tuple[GatewayScenario, ...]:
    return (
        failing(seconds),
        killed(times),
        peers_killed(times),
        rolling(times),
        backend_restarts(times),
        reloads(int(seconds / reload), reload),
        signals(int(seconds / reload), reload),
        gateway_restarts(times),
    )


SHORT = _all(seconds=2, times=2, reload=0.5)
"""For the suite."""

LONG = _all(seconds=60, times=10, reload=4)
"""For `make faults`."""
