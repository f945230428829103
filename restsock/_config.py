"""Options, as frozen objects that check themselves.

Each is made once by the user and handed down whole, so that no function repeats seven keyword
arguments. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Backoff", "Heartbeat", "Limits", "Options", "Timeouts"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of everything this side accepts. Each peer learns those that concern it.

    The bytes that a connection holds are at most `initial_window + 2 * max_head` for each stream
    that is open (the peer's `max_streams` and this side's, together), `receive_budget`, and one
    message under way for what comes in; `send_buffer` plus one chunk of the app for each stream
    for what goes out. Small pieces of a body cost more than their bytes while nobody reads them.
    """

    max_frame: int = 16 * 1024
    """Body bytes of one frame: small, so that a short answer never waits behind a long one."""

    max_head: int = 64 * 1024
    """A request or response head; a longer request head is answered with 431."""

    max_streams: int = 128
    """Requests of the peer that are open at once; those above are refused before they start."""

    initial_window: int = 64 * 1024
    """Body bytes that a stream may hold unread, to begin with."""

    max_window: int = 4 * 1024 * 1024
    """How far the window of a stream that is read quickly may grow."""

    receive_budget: int = 16 * 1024 * 1024
    """What the windows of all streams together may have grown by."""

    send_buffer: int = 64 * 1024
    """Body bytes that a stream may have waiting to be sent before its sender has to wait."""

    max_metadata: int = 64 * 1024
    """A handshake message, metadata included."""

    max_handshakes: int = 256
    """Newcomers of a listener that have not finished their handshake yet."""

    def __post_init__(self) -> None:
        _between(self, "max_frame", 1024, 64 * 1024)
        _between(self, "max_head", 1024, 64 * 1024)
        _between(self, "max_streams", 0, 2**31 - 1)
        _between(self, "initial_window", 16 * 1024, 2**31 - 1)
        _between(self, "max_window", self.initial_window, 2**31 - 1)
        _between(self, "receive_budget", 0, 2**63)
        _between(self, "send_buffer", 1024, 2**63)
        _between(self, "max_metadata", 256, 128 * 1024)
        _between(self, "max_handshakes", 1, 2**31)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each phase may take, in seconds."""

    handshake: float = 10.0
    """From the first byte of a new socket (TLS included) to the last step of the handshake."""

    connect: float = 10.0
    """How long a request waits for a connection and a free stream, unless it says otherwise."""

    close: float = 5.0
    """How long a closing connection waits for the peer's half of the closing handshake."""

    disconnect: float = 1.0
    """How long an ASGI app may go on after `http.disconnect` before it is cancelled."""

    idle: float = 60.0
    """How long a WSGI worker waits for the next bytes of a peer, or for it to take some."""

    def __post_init__(self) -> None:
        for name in ("handshake", "connect", "close", "disconnect", "idle"):
            _positive(self, name)


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """When to ask the peer for a sign of life.

    A ping leaves `interval` seconds after the last one; a connection that has brought no byte of
    any kind for `interval + timeout` seconds is dead.
    """

    interval: float | None = 15.0
    """Seconds between pings; `None` sends none and never gives up on a silent peer."""

    timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.interval is not None:
            _positive(self, "interval")
        _positive(self, "timeout")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """How long to wait between attempts to connect: exponential, with full jitter."""

    initial: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    tries: int = 0
    """Attempts before giving up; 0 never gives up."""

    jitter: bool = True
    """Whether each wait is drawn evenly from zero up to its length, so that peers cut off
    together do not come back together."""

    def __post_init__(self) -> None:
        _positive(self, "initial")
        _positive(self, "cap")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise ValueError(f"Backoff.factor must be at least 1, not {self.factor!r}")
        _between(self, "tries", 0, 2**31)

    def delay(self, attempt: int, chance: float) -> float:
        """How long to wait behind a failed attempt.

        Args:
            attempt: how many attempts have failed in a row, from 1.
            chance: a random number in [0, 1), handed in so that this stays a function.

        Returns:
            Seconds.
        """
        # The exponent is bounded because a float overflows long before patience does.
        longest = min(self.cap, self.initial * self.factor ** min(attempt - 1, 64))
        return longest * chance if self.jitter else longest


@dataclass(frozen=True, kw_only=True)
class Options:
    """All that a connection needs to know, as one object."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)


def _between(options: object, name: str, low: int, high: int) -> None:
    value = getattr(options, name)
    # bool is an int to Python, not to a reader of options.
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        kind = type(options).__name__
        raise ValueError(f"{kind}.{name} must be a whole number in {low}..{high}, not {value!r}")


def _positive(options: object, name: str) -> None:
    value = getattr(options, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        kind = type(options).__name__
        raise ValueError(f"{kind}.{name} must be a number of seconds above 0, not {value!r}")
