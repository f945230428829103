"""The methods that every messaging has, unless a program replaces them (spec, "Messages")."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ._errors import InvalidMessage
from ._methods import Request
from ._statistics import MessagingHealth

if TYPE_CHECKING:
    from ._driver import Driver

__all__ = ["built_in_methods"]

Method = Callable[[Request], Awaitable[Any]]


def built_in_methods(driver: Driver, health: Callable[[], MessagingHealth]) -> dict[str, Method]:
    """The methods, by name.

    Args:
        driver: has the engine.
        health: tells how it is.
    """

    async def backpressure(request: Request) -> Any:
        queue = request.session.state.waiting
        return {
            "queue_depth": len(queue),
            "queue_capacity": queue.capacity,
            "utilization": round(queue.level, 4),
        }

    async def status(request: Request) -> Any:
        return health().to_json()

    async def subscribe(request: Request) -> Any:
        return _subscribe(driver, request, keep=True)

    async def replay(request: Request) -> Any:
        return _subscribe(driver, request, keep=False)

    async def unsubscribe(request: Request) -> Any:
        driver.engine.unsubscribe(request.session.state, request.text("channel"))

    methods = (backpressure, status, subscribe, replay, unsubscribe)
    return {method.__name__: method for method in methods}


def _subscribe(driver: Driver, request: Request, *, keep: bool) -> Any:
    """Begins a subscription, or with `keep=False` only sends again what there is.

    Raises:
        InvalidMessage: the parameters are wrong, there are too many, or it is not allowed.
    """
    channel = request.text("channel")
    epoch, seq = request.text("epoch", ""), request.number("seq", 0)
    peer = request.session.state
    if not driver.may(peer, "subscribe", channel):
        raise InvalidMessage(f"not allowed to subscribe to {channel!r}")
    found = driver.engine.subscribe(peer, channel, epoch, seq, driver.now(), keep=keep)
    if found is None:
        raise InvalidMessage("too many subscriptions")
    return {
        "epoch": found.epoch,
        "seq": found.seq,
        "missed": found.missed,
        "replayed": found.replayed,
    }
