"""What the ends of messages have in common: how they are told what to do, and what they answer.

An end is a process with a role, a kind, and orders: each a line of JSON on its standard input,
answered by a line of JSON. The first line that it prints says that it is ready.

    serve KIND FILE              prints its port
    call KIND FILE URL NAME
    hold KIND NAME URL COUNT     so many readers

KIND names what carries the messages. FILE is that of a store, or "-" for memory. A server
acknowledges what it gets: see `message_ways`. Orders are, for a caller,

    {"pump": seconds, "size": bytes, "tasks": n}         as many as fit
    {"one": seconds, "size": bytes, "download": bool}    one at a time, also beside a download
    {"load": seconds}                                    a download alone

and {"fan": seconds, "pause": seconds} for a server, {"since": time, "expect": n} for a holder. The
body of a message of a fan-out is the time at which it was made, on the clock that all processes of
a machine have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.bench.spells import percentiles

__all__ = ["CHANNEL", "WINDOW", "Delays", "Order", "body", "fan", "figures", "obey", "one", "say"]

CHANNEL = "bench"

WINDOW = 64
"""Messages under way at once: what a peer of restsock is given credit for."""

_PATIENCE = 1.0  # seconds for what is still under way at the end of a spell

Order = dict[str, Any]


def say(message: Order) -> None:
    """One line of JSON to who has started this process."""
    print(json.dumps(message), flush=True)


async def obey(read: Callable[[], Awaitable[str]], do: Callable[[Order], Awaitable[Order]]) -> None:
    """Answers orders until there are no more."""
    while line := await read():
        say(await do(json.loads(line)))


def figures(begin: float, count: int, seconds: list[float]) -> Order:
    """Of a spell of messages one to one."""
    found: Order = {"messages": count, "seconds": time.perf_counter() - begin}
    return found | (percentiles(seconds) if seconds else {})


async def one(order: Order, exchange: Callable[[str], Awaitable[object]]) -> Order:
    """Messages one at a time; the call returns when one is acknowledged."""
    text, seconds = "x" * order["size"], []
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + order["one"]:
        await exchange(text)
        seconds.append(time.perf_counter() - now)
    return figures(begin, len(seconds), seconds)


# --- one to many ------------------------------------------------------------------------------


def body() -> str:
    """100 B that say when they were made."""
    return str(time.monotonic()).ljust(100)


async def fan(
    order: Order,
    send: Callable[[str], Awaitable[object]],
    sleep: Callable[[float], Awaitable[object]],
) -> Order:
    """Sends a message every so often. One that is late is made up for."""
    begin, sent = time.monotonic(), 0
    while time.monotonic() < begin + order["fan"]:
        await send(body())
        sent += 1
        await sleep(max(0, begin + sent * order["pause"] - time.monotonic()))
    return {"sent": sent, "since": begin, "seconds": time.monotonic() - begin}


class Delays:
    """How long messages were under way, until now."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float]] = []

    def note(self, text: str) -> None:
        """A message has come."""
        made = float(text)
        self._found.append((made, time.monotonic() - made))

    async def answer(self, order: Order, sleep: Callable[[float], Awaitable[object]]) -> Order:
        """Those of the last spell, once all of them are here or no more come."""
        end = time.monotonic() + _PATIENCE
        while len(self._found) < order["expect"] and time.monotonic() < end:
            await sleep(0.01)
        delays = [delay for made, delay in self._found if made >= order["since"]]
        self._found.clear()
        return {"messages": len(delays), **(percentiles(delays) if delays else {})}
