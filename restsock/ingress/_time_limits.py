"""When requests are given up: those whose peer is away, and those that it does not answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

from restsock._exceptions import PeerUnavailable, RequestTimeout
from restsock.connection import Deadlines

if TYPE_CHECKING:
    import trio

    from ._request import Request

__all__ = ["TimeLimits"]


class TimeLimits:
    """See above. A request whose time is over is cancelled, and its client told so."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._clock: Callable[[], float] = float
        # By the seconds that there are.
        self._waits: dict[float, Deadlines[Request]] = {}
        self._timeouts: dict[float, Deadlines[Request]] = {}

    def begin(self, nursery: trio.Nursery, clock: Callable[[], float]) -> None:
        """From now on there is a loop."""
        self._nursery, self._clock = nursery, clock
        self._waits, self._timeouts = {}, {}

    def end(self) -> None:
        """No time is watched any more."""
        self._nursery = None

    def bound_wait(self, request: Request) -> None:
        """Its peer is away, or has no stream free: it waits for a while."""
        relay = request.relay
        assert relay is not None
        # However often a peer that is there refuses it: that is one wait.
        if relay.outbound is None or not relay.outbound.refusals:
            request.waits_until = self._clock() + request.rules.wait
            self._bound(request, request.rules.wait, self._waits, self._stop_waiting)
        else:
            self._stop_waiting(request)  # if its time is over

    def bound_answer(self, request: Request, seconds: float) -> None:
        """Its peer has so many seconds to begin with the response."""
        self._bound(request, seconds, self._timeouts, _time_out)

    def _bound(
        self,
        request: Request,
        seconds: float,
        all_bounds: dict[float, Deadlines[Request]],
        give_up: Callable[[Request], object],
    ) -> None:
        """Has a function called after so many seconds, unless the request is over by then."""
        if self._nursery is None or request.relay is None:
            return
        bounds = all_bounds.get(seconds)
        if bounds is None:
            bounds = all_bounds[seconds] = Deadlines(nullcontext(), give_up)
        request.bounds.append(bounds)
        if bounds.add(request, self._clock() + seconds):
            self._nursery.start_soon(bounds.watch)

    def _stop_waiting(self, request: Request) -> None:
        relay = request.relay
        if relay is None or relay.over or not relay.waiting:
            return
        if self._clock() >= request.waits_until:
            explain = None if relay.outbound is None else relay.outbound.explain
            relay.cancel(PeerUnavailable("the peer is away") if explain is None else explain())


def _time_out(request: Request) -> None:
    relay = request.relay
    if relay is not None and not (relay.answered or relay.over):
        relay.cancel(
            RequestTimeout("no response in time", phase="read", may_have_run=not relay.waiting)
        )
