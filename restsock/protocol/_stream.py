"""One stream: one HTTP exchange, as two halves that open and close on their own (spec, "Streams").

The rules are the table `_NEXT`: what a half may carry next, in each of its states. The same table
serves both ends: the half that one side sends is the half that the other receives.

::

    request   HEAD ──head──> BODY ──end──> DONE          (data; trailers are a head with END)
    response  HEAD ──1xx──> HEAD ──head──> BODY ──end──> DONE
              HEAD ──101──> RAW  ──end──> DONE           (and the request half becomes RAW too)
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from ._events import Headers
from ._flow import ReceiveWindow, SendWindow
from ._heads import content_length

__all__ = ["Half", "HalfState", "Part", "Stream"]


class HalfState(str, Enum):  # str: its hash is quick
    """How far one direction of a stream has come."""

    HEAD = "head"
    BODY = "body"
    RAW = "raw"
    DONE = "done"


class Part(str, Enum):
    """What one direction of a stream may carry."""

    INTERIM_HEAD = "informational head"
    SWITCH_HEAD = "101 head"
    HEAD = "head"
    DATA = "data"
    TRAILERS = "trailers"
    END = "end"


_NEXT: dict[tuple[HalfState, Part], HalfState] = {
    (HalfState.HEAD, Part.INTERIM_HEAD): HalfState.HEAD,
    (HalfState.HEAD, Part.SWITCH_HEAD): HalfState.RAW,
    (HalfState.HEAD, Part.HEAD): HalfState.BODY,
    (HalfState.BODY, Part.DATA): HalfState.BODY,
    (HalfState.BODY, Part.TRAILERS): HalfState.BODY,  # an END always comes with it
    (HalfState.BODY, Part.END): HalfState.DONE,
    (HalfState.RAW, Part.DATA): HalfState.RAW,
    (HalfState.RAW, Part.END): HalfState.DONE,
}


class Half:
    """One direction: its state, and its body counted against Content-Length.

    Attributes:
        state: see the table.
        head_bytes: the size of all heads so far.
        head_fields: the number of their fields.
        named: fields of this hop, by the Connection field that its final head had before it was
            sent: they are left out of the trailers, too.
    """

    __slots__ = ("_count", "_expected", "head_bytes", "head_fields", "named", "state")

    def __init__(self) -> None:
        self.state = HalfState.HEAD
        self.head_bytes = 0
        self.head_fields = 0
        self.named: frozenset[bytes] = frozenset()
        self._expected: int | None = None
        self._count = 0

    def advance(self, part: Part) -> str | None:
        """Moves on by one part; returns what is wrong with it here, if something is."""
        state = _NEXT.get((self.state, part))
        if state is None:
            return f"{part.value} where the {self.state.value} is due"
        self.state = state
        return None

    def expect(self, headers: Headers, *, bodiless: bool = False) -> None:
        """Notes what the final head says about the length of the body."""
        self._expected = 0 if bodiless else content_length(headers)

    def count(self, nbytes: int) -> str | None:
        """Counts body bytes, or returns what is wrong with them and counts none."""
        if self._expected is not None and self._count + nbytes > self._expected:
            return "a body longer than its Content-Length or than its status allows"
        self._count += nbytes
        return None

    def complete(self) -> str | None:
        """Returns what is wrong with an end at this place, if something is."""
        if self._expected is not None and self._count != self._expected:
            return f"a body of {self._count} bytes with a Content-Length of {self._expected}"
        return None

    @property
    def expected(self) -> int:
        """The length of the body, as far as it is known: announced, or else what has come."""
        return self._count if self._expected is None else self._expected

    @property
    def full(self) -> bool:
        """Whether all of the body that was announced has come."""
        return self._expected is not None and self._count == self._expected

    def switch(self) -> None:
        """Becomes raw bytes, behind a 101."""
        self._expected = None
        self.state = HalfState.RAW


class Stream:
    """Both halves of a stream, its windows, and what waits to be sent.

    Attributes:
        id: its number.
        local: whether this side opened it: then it sends the request half.
        method: of the request.
        upgrade: whether the request asks for another protocol.
        opening: flags that the first frame of a request has besides END.
        out: heads (a bool says so) and body bytes, in order.
        out_bytes: body bytes in `out`.
        out_end: whether END follows behind them.
        out_reset: code and reason of the RESET that follows behind all that.
        queued: whether it stands in the ring of streams that can send.
        announced: whether a frame of it has left.
    """

    __slots__ = (
        "announced",
        "id",
        "local",
        "method",
        "opening",
        "out",
        "out_bytes",
        "out_end",
        "out_reset",
        "queued",
        "receive_window",
        "receiving",
        "send_window",
        "sending",
        "upgrade",
    )

    def __init__(
        self,
        id: int,
        *,
        local: bool,
        method: bytes,
        upgrade: bool,
        send_window: SendWindow,
        receive_window: ReceiveWindow,
    ) -> None:
        self.id = id
        self.local = local
        self.method = method
        self.upgrade = upgrade
        self.opening = 0
        self.send_window = send_window
        self.receive_window = receive_window
        self.sending = Half()
        self.receiving = Half()
        self.out: deque[tuple[bool, bytes | memoryview]] = deque()
        self.out_bytes = 0
        self.out_end = False
        self.out_reset: tuple[int, str] | None = None
        self.queued = False
        self.announced = False

    @property
    def held(self) -> bool:
        """Whether the request asks for an upgrade that has no answer yet: nothing may follow it."""
        answer = self.receiving if self.local else self.sending
        return self.upgrade and answer.state is HalfState.HEAD

    @property
    def sent(self) -> bool:
        """Whether this side's half has left completely."""
        return self.sending.state is HalfState.DONE and not self.out and not self.out_end

    @property
    def done(self) -> bool:
        """Whether nothing more is to come either way."""
        return self.receiving.state is HalfState.DONE and self.sent

    def bodiless(self, status: int) -> bool:
        """Whether a final response of this status has no body here (RFC 9110, section 6.4.1)."""
        return self.method == b"HEAD" or status in (204, 304)

    def take(self, max_frame: int) -> tuple[bool, bytes, bool] | None:
        """Takes what the next frame carries, as far as the credit goes.

        That is a head with the body bytes that fit behind it, or body bytes alone.

        Args:
            max_frame: the size of a payload, in bytes; a longer head goes alone.

        Returns:
            Whether it begins with a head, the payload, whether this side's half ends with it;
            `None` when only credit would help.
        """
        out = self.out
        room = max_frame
        parts: list[bytes | memoryview] = []
        is_head = bool(out) and out[0][0]
        if is_head:
            parts.append(out.popleft()[1])
            room -= len(parts[0])
        room = min(room, self.send_window.credit)
        taken = 0
        while out and not out[0][0] and taken < room:
            data = out[0][1]
            if len(data) <= room - taken:
                out.popleft()
            else:
                # A view, so that a long body is not copied again for each of its frames.
                view = memoryview(data)
                data = view[: room - taken]
                out[0] = (False, view[room - taken :])
            parts.append(data)
            taken += len(data)
        end = self.out_end and not out
        if not (parts or end):
            return None
        self.send_window.credit -= taken
        self.out_bytes -= taken
        self.out_end = self.out_end and not end
        self.announced = True
        return is_head, b"".join(parts), end
