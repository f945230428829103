"""One direction of a wire, and its faults.

A `Wire` moves no bytes itself: it decides how many bytes a `FaultyStream` (and through it a
`FaultyProxy`) may move now. It waits by trio's clock only, so a `trio.testing.MockClock` makes slow
wires fast to test.

=========  ===============================================================================
fault      effect
=========  ===============================================================================
delay      bytes are received, or sent, this much later
rate       at most this many bytes per second
chunk      at most this many bytes at a time (1: the parser's worst case)
stall      nothing moves and nothing is lost, until `resume`: backpressure
drop       bytes and ends of file are silently lost forever: a pulled cable
cut after  the wire ends after the n-th byte, with a reset or with an end of file
=========  ===============================================================================
"""

from __future__ import annotations

import math
from typing import Literal

import trio

CutKind = Literal["reset", "eof"]
"""How a wire ends: "reset", an error at both ends, or "eof", an end of file."""

# With a rate limit, bytes leave in portions of this many seconds: small enough to be smooth,
# large enough that a fast wire does not cost a wake-up for every few bytes.
_RATE_SLICE = 0.02


class Wire:
    """The faults of one direction. Every attribute may be changed while bytes flow.

    Args:
        delay: Seconds that each piece waits. When receiving, this is latency: pieces wait in
            parallel. When sending, `send_all` waits, so pieces are sent one after another.
        rate: Bytes per second; `None` is no limit.
        chunk: Bytes that pass at once; `None` is no limit.

    Attributes:
        passed: Bytes that have passed so far.
        lost: Bytes that were lost after `drop`.

    Raises:
        ValueError: The delay is negative, or the rate or the chunk is not positive.
    """

    def __init__(
        self, *, delay: float = 0.0, rate: float | None = None, chunk: int | None = None
    ) -> None:
        if delay < 0:
            raise ValueError(f"delay must be 0 or more seconds, not {delay!r}")
        if rate is not None and rate <= 0:
            raise ValueError(f"rate must be more than 0 bytes a second, not {rate!r}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk must be 1 byte or more, not {chunk!r}")
        self.delay = delay
        self.rate = rate
        self.chunk = chunk
        self.passed = 0
        self.lost = 0
        self._dropping = False
        self._running = trio.Event()
        self._running.set()
        self._free_at = -math.inf
        self._cut_in: int | None = None
        self._cut_kind: CutKind = "reset"

    @property
    def dropping(self) -> bool:
        """Whether bytes are lost."""
        return self._dropping

    @property
    def stalled(self) -> bool:
        """Whether nothing moves now."""
        return not self._running.is_set()

    def stall(self) -> None:
        """Let nothing pass until `resume`; senders wait."""
        if self._running.is_set():
            self._running = trio.Event()

    def resume(self) -> None:
        """End a `stall`."""
        self._running.set()

    def drop(self) -> None:
        """Silently lose every byte, and the end of file, from now on.

        This cannot be undone, since a byte stream with a gap is useless. For an outage that ends,
        use `stall` and `resume`.
        """
        self._dropping = True
        # A stalled sender must not wait for a resume, which no longer has an effect.
        self._running.set()

    def cut_after(self, nbytes: int, kind: CutKind = "reset") -> None:
        """End the wire right after the next `nbytes` bytes (1 or more).

        Args:
            nbytes: The number of bytes, counted from now.
            kind: "reset": both directions break, and both ends get an error. "eof": the receiver of
                this direction reads an end of file, and the rest that the sender sends is lost.

        Raises:
            ValueError: The number is less than 1.
        """
        if nbytes < 1:
            raise ValueError(f"a wire is cut after 1 byte or more, not {nbytes!r}")
        self._cut_in = nbytes
        self._cut_kind = kind

    async def admit(self, wanted: int) -> int:
        """Wait until bytes may pass; return how many of `wanted` (1 or more). A checkpoint.

        If cancelled, nothing has passed, but part of the rate may be used up. Raises nothing.
        """
        await trio.lowlevel.checkpoint()
        await self._running.wait()
        allowed = wanted
        if self.chunk is not None:
            allowed = min(allowed, self.chunk)
        if self._cut_in is not None:
            allowed = min(allowed, self._cut_in)
        if self.rate is not None:
            allowed = min(allowed, max(1, int(self.rate * _RATE_SLICE)))
            start = max(trio.current_time(), self._free_at)
            self._free_at = start + allowed / self.rate
            await trio.sleep_until(start)
            await self._running.wait()
        return allowed

    def count(self, nbytes: int) -> CutKind | None:
        """Note that `nbytes` have passed (or were lost); return the kind of cut due now, if any."""
        if self._dropping:
            self.lost += nbytes
            return None
        self.passed += nbytes
        if self._cut_in is None:
            return None
        self._cut_in -= nbytes
        if self._cut_in > 0:
            return None
        self._cut_in = None
        return self._cut_kind
