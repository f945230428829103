"""Health: whether something does its work, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass

from restsock._logging import escaped

__all__ = ["Health", "HealthReport", "Load", "load_of"]

# For how long, in seconds, a limit that was in the way is worth a word.
_RECENTLY = 60.0


@dataclass(frozen=True, slots=True)
class Health:
    """Whether something does its work now. `dataclasses.asdict` makes JSON of it.

    Attributes:
        ok: whether requests that are made, or that come, now have a fair chance.
        reasons: why not; and what is worth a look although it is `ok`. Each is one line for people,
            without header values, tokens or queries.
    """

    ok: bool
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True, slots=True)
class Load:
    """The queue in front of what serves requests.

    Attributes:
        waiting: requests that wait for somebody to serve them.
        full: whether the next one is refused.
    """

    waiting: int
    full: bool


def load_of(handler: object) -> Load | None:
    """The load of a `Handler` that has a queue and tells of it (`load()`); else `None`."""
    tell = getattr(handler, "load", None)
    load = None if tell is None else tell()
    return load if isinstance(load, Load) else None


class HealthReport:
    """Collects what a `Health` is made of."""

    def __init__(self) -> None:
        self._ok = True
        self._reasons: list[str] = []

    def error(self, reason: str) -> None:
        """Notes why it does not work."""
        self._ok = False
        self.warning(reason)

    def warning(self, reason: str) -> None:
        """Notes what is worth a look."""
        reason = escaped(reason)
        if reason not in self._reasons:
            self._reasons.append(reason)

    def include(self, other: Health) -> None:
        """Takes over what is wrong with a part of it."""
        self._ok = self._ok and other.ok
        for reason in other.reasons:
            self.warning(reason)

    def load(self, load: Load | None) -> None:
        """Looks at the queue of a handler."""
        if load is not None and load.full:
            self.error(f"the queue of the app is full: {load.waiting} requests wait")

    def limits(self, last: tuple[str, float] | None, now: float) -> None:
        """Mentions a limit that was hit a short time ago: its name, and when."""
        if last is not None and now - last[1] <= _RECENTLY:
            kind, at = last
            # No more than a warning: a peer that runs into a limit must not be able to have this
            # side taken out of service.
            self.warning(f"the limit {kind} was hit {max(0.0, now - at):.0f} s ago")

    def health(self) -> Health:
        """What it amounts to."""
        return Health(self._ok, tuple(self._reasons))
