"""One stream: one HTTP exchange, as two halves that open and close on their own (spec, "Streams").

The rules are the table `_NEXT`, which is that of the spec: what a half may carry next, in each of
its states. The same table serves both ends: the half that one side sends is the half that the other
receives.

::

    request   HEAD ──head──> BODY ──end──> DONE          (data; trailers are an end, too)
              HEAD ──head of an upgrade──> HELD ──101──> RAW ──end──> DONE
                                           HELD ──any other answer──> EMPTY ──end──> DONE
    response  HEAD ──1xx──> HEAD ──head──> BODY ──end──> DONE
              HEAD ──101──> RAW  ──end──> DONE
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from ._flow import ReceiveWindow
from ._frames import MAX_CREDIT

__all__ = ["Half", "HalfState", "Part", "Stream"]


class HalfState(str, Enum):  # str: its hash is quick
    """How far one direction of a stream has come; its value says what is due."""

    HEAD = "the head"
    HELD = "the answer to the upgrade"
    EMPTY = "the end"
    BODY = "the body"
    RAW = "raw bytes"
    DONE = "nothing more"


class Part(str, Enum):
    """What moves one direction of a stream on: what it carries, or the answer to an upgrade."""

    INTERIM_HEAD = "an informational head"
    SWITCH_HEAD = "a 101 head"
    HEAD = "a head"
    UPGRADE_HEAD = "the head of an upgrade"
    SWITCHED = "a 101 in answer"
    DECLINED = "another answer"
    DATA = "bytes"
    TRAILERS = "trailers"
    END = "an end"


_NEXT: dict[tuple[HalfState, Part], HalfState] = {
    (HalfState.HEAD, Part.HEAD): HalfState.BODY,
    (HalfState.BODY, Part.DATA): HalfState.BODY,
    (HalfState.BODY, Part.TRAILERS): HalfState.DONE,
    (HalfState.BODY, Part.END): HalfState.DONE,
    (HalfState.RAW, Part.DATA): HalfState.RAW,
    (HalfState.RAW, Part.END): HalfState.DONE,
    # the request of an upgrade
    (HalfState.HEAD, Part.UPGRADE_HEAD): HalfState.HELD,
    (HalfState.HELD, Part.SWITCHED): HalfState.RAW,
    (HalfState.HELD, Part.DECLINED): HalfState.EMPTY,
    (HalfState.EMPTY, Part.END): HalfState.DONE,
    # the response
    (HalfState.HEAD, Part.INTERIM_HEAD): HalfState.HEAD,
    (HalfState.HEAD, Part.SWITCH_HEAD): HalfState.RAW,
}


class Half:
    """One direction: its state, and its body counted against Content-Length.

    Attributes:
        state: see the table.
        length: of the body, as its head announces or its status allows it; `None`: not announced.
        head_bytes: the size of all heads so far.
        head_fields: the number of their fields.
        named: fields of this hop, by the Connection field that its final head had before it was
            sent: they are left out of the trailers, too.
    """

    __slots__ = ("_count", "head_bytes", "head_fields", "length", "named", "state")

    def __init__(self, state: HalfState = HalfState.HEAD, length: int | None = None) -> None:
        self.state = state
        self.length = length
        self.head_bytes = 0
        self.head_fields = 0
        self.named: frozenset[bytes] = frozenset()
        self._count = 0

    def advance(self, part: Part) -> str | None:
        """Moves on by one part; returns what is wrong with it here, if something is."""
        state = _NEXT.get((self.state, part))
        if state is None:
            return f"{part.value} where {self.state.value} is due"
        if state is HalfState.DONE and self.length is not None and self._count != self.length:
            return f"a body of {self._count} bytes with a Content-Length of {self.length}"
        self.state = state
        return None

    def add(self, nbytes: int) -> str | None:
        """Counts bytes of the body, or returns what is wrong with them and counts none."""
        if (self.state, Part.DATA) not in _NEXT:
            return self.advance(Part.DATA)
        if self.length is not None and self._count + nbytes > self.length:
            return "a body longer than its Content-Length or than its status allows"
        self._count += nbytes
        return None

    @property
    def size(self) -> int:
        """The length of the body, as far as it is known: announced, or else what has come."""
        return self._count if self.length is None else self.length

    @property
    def full(self) -> bool:
        """Whether all of the body that was announced has come."""
        return self._count == self.length


class Stream:
    """Both halves of a stream, its windows, and what waits to be sent.

    It begins with the head of the request.

    Args:
        id: its number.
        local: whether this side opens it: then it sends the request half.
        method: of the request.
        length: the request's Content-Length.
        upgrade: whether the request asks for one.
        credit: body bytes that the peer takes.
        receive_window: what this side takes.

    Attributes:
        credit: body bytes that may still be sent.
        opening: flags that the first frame of a request has besides END.
        out: heads (a bool says so) and body bytes, in order.
        out_bytes: body bytes in `out`.
        out_end: whether END follows them.
        out_reset: code and reason of the RESET that follows all that.
        queued: whether it stands in the ring of streams that can send.
        announced: whether a frame of it has left.
        sent: whether this side's half has left completely.
    """

    __slots__ = (
        "announced",
        "credit",
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
        "sending",
        "sent",
    )

    def __init__(
        self,
        id: int,
        *,
        local: bool,
        method: bytes,
        length: int | None,
        upgrade: bool,
        credit: int,
        receive_window: ReceiveWindow,
    ) -> None:
        self.id = id
        self.local = local
        self.method = method
        self.opening = 0
        self.credit = credit
        self.receive_window = receive_window
        state = _NEXT[HalfState.HEAD, Part.UPGRADE_HEAD if upgrade else Part.HEAD]
        # The head of an upgrade may say 0: that is no word about the raw bytes after a 101.
        request, response = Half(state, None if upgrade else length), Half()
        self.sending, self.receiving = (request, response) if local else (response, request)
        self.out: deque[tuple[bool, bytes | memoryview]] = deque()
        self.out_bytes = 0
        self.out_end = False
        self.out_reset: tuple[int, str] | None = None
        self.queued = False
        self.announced = False
        self.sent = False

    def add_credit(self, credit: int) -> str | None:
        """Takes in credit of the peer; returns what is wrong with it, if something is."""
        if self.credit + credit > MAX_CREDIT:
            return "more credit than a stream can have"
        self.credit += credit
        return None

    def finish(self, part: Part = Part.END) -> str | None:
        """Ends this side's half after what waits; returns what is wrong with that here."""
        problem = self.sending.advance(part)
        if problem is None:
            self.out_end = True
        return problem

    def answer(self, status: int, length: int | None) -> str | None:
        """Moves both halves on by a response head.

        Args:
            status: of the response.
            length: its Content-Length.

        Returns:
            What is wrong with it here, if something is.
        """
        response, request = self.sending, self.receiving
        if self.local:
            response, request = request, response
        if status == 101:
            if response.state is HalfState.HEAD and request.state is not HalfState.HELD:
                return "a 101 to a request that asks for no upgrade"
            return response.advance(Part.SWITCH_HEAD) or request.advance(Part.SWITCHED)
        problem = response.advance(Part.INTERIM_HEAD if status < 200 else Part.HEAD)
        if problem is not None or status < 200:
            return problem
        # Some have no body, whatever they say of it (RFC 9110, section 6.4.1).
        bodiless = self.method == b"HEAD" or status in (204, 304)
        response.length = 0 if bodiless else length
        if request.state is HalfState.HELD:
            request.advance(Part.DECLINED)
        return None

    def take(self, max_frame: int) -> tuple[bool, list[bytes | memoryview], bool] | None:
        """Takes what the next frame carries, as far as the credit goes.

        That is a head with the body bytes that fit after it, or body bytes alone.

        Args:
            max_frame: the size of a payload, in bytes; a longer head goes alone.

        Returns:
            Whether it begins with a head, the parts of the payload, whether this side's half ends
            with it; `None` when only credit would help.
        """
        out = self.out
        room = max_frame
        parts: list[bytes | memoryview] = []
        is_head = bool(out) and out[0][0]
        if is_head:
            parts.append(out.popleft()[1])
            room -= len(parts[0])
        room = min(room, self.credit)
        taken = 0
        while out and not out[0][0] and taken < room:
            data = out[0][1]
            if len(data) <= room - taken:
                out.popleft()
            else:
                # A view: the bytes are copied once, into what is written to the socket.
                view = memoryview(data)
                data = view[: room - taken]
                out[0] = (False, view[room - taken :])
            parts.append(data)
            taken += len(data)
        end = self.out_end and not out
        if not (parts or end):
            return None
        self.credit -= taken
        self.out_bytes -= taken
        if end:
            self.out_end = False
            self.sent = True
        self.announced = True
        return is_head, parts, end
