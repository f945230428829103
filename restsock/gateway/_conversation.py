"""What goes on between a client and a channel: messages come, calls are made, answers leave.

- A call with an id runs in a task of its own; those without one run one after the other, in order,
  since their client tells the answers apart by that alone. What could not be read and has no id is
  answered in the same order.
- While `Channel.in_flight` calls run, no further message is looked at. The WebSocket goes on to be
  read, as far as its buffer goes, and so pings are answered.
- Clients share the loop. One that has calls under way begins a further one when it is its turn,
  after those of the others; one that sends what cannot be answered is read more slowly, and closed
  in the end: see `Faults`.
- Whatever is asked is answered while the socket lives: with a failure if the backend has none, if
  the call is not begun because the end is near, and if that comes while it is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

from restsock._exceptions import WebSocketClosed
from restsock.protocol import CloseCode

from ._answers import BatchAnswers, Encoder, Held, send_parts
from ._errors import DUPLICATE_ID, NO_ROUTE, CallFailed, problem, reply_to_failure
from ._faults import Faults
from ._message import Message, Reply
from .dialects import BadMessage, Batch, Dialect, ParsedCall

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from restsock.websockets import ServerWebSocket

    from ._backend import Call
    from ._session import Session
    from ._statistics import ChannelCounters

__all__ = ["Conversation", "ConversationHost"]

# Seconds that calls which are cancelled have to come to their end.
_LAST = 1.0
# Reasons to refuse a message that are a fault of its client.
_FAULTS = {"malformed", "duplicate_id"}
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1

_Waiting: TypeAlias = tuple[
    ParsedCall | BadMessage, BatchAnswers | None, tuple[str, CallFailed] | None
]
"""A call, where its answer goes, and why it is not to be begun."""


class ConversationHost(Protocol):
    """A channel, as a conversation knows it."""

    counters: ChannelCounters

    @property
    def in_flight(self) -> int:
        """Calls at a time."""

    @property
    def max_faults(self) -> int | None:
        """Faults that a client may have in a short time."""

    @property
    def turn(self) -> trio.Lock:
        """Whoever has it may begin one more call, besides those that it has under way."""

    @property
    def max_queue(self) -> int:
        """Bytes of answers that may wait."""

    @property
    def pipeline(self) -> AbstractContextManager[Call]:
        """Answers a message, with all middleware before it. May be another one for each message."""

    def accepts(self, websocket: ServerWebSocket, session: Session) -> bool:
        """Whether the credentials of the client are still valid."""


class Conversation:
    """See above.

    Args:
        host: The channel.
        dialect: What it speaks.
        session: The client.
        websocket: To it.

    Attributes:
        draining: Whether no call is begun any more.
    """

    def __init__(
        self,
        host: ConversationHost,
        dialect: Dialect,
        session: Session,
        websocket: ServerWebSocket,
    ) -> None:
        self.draining = False
        self.session = session
        self._host = host
        self._websocket = websocket
        self._encoder = Encoder(dialect)
        self._held = Held(host.max_queue)
        self._faults = Faults()
        self._ids: set[Any] = set()  # of calls that are not answered
        self._scopes: set[trio.CancelScope] = set()  # of calls that are under way
        # Calls without an id; the first of them is under way while there is a task for that.
        self._lane: deque[_Waiting] = deque()
        self._lane_runs = False
        self._changed = trio.lowlevel.ParkingLot()
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Answers messages until the WebSocket has ended. Calls under way are cancelled then."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._websocket.on_closed = self._websocket.on_gone = self._changed.unpark_all
            self.session.begin(self._websocket, nursery)
            try:
                async for data in self._websocket:
                    self._host.counters.messages_received += 1
                    if self._websocket.gone:
                        self._websocket.give_up()  # there is nobody to be answered
                        break
                    await self._take(data)
                    if 1 < self.session.in_flight < self._host.counters.in_flight:
                        async with self._host.turn:
                            pass  # the next one waits behind those of others
                    if self._faults.until > trio.current_time():
                        await self._hold_up()
            except WebSocketClosed:
                pass  # how it has ended is told to `on_disconnect`
            self._nursery = None
            nursery.cancel_scope.cancel()

    # --- the end ----------------------------------------------------------------------------

    def drain_soon(self, code: int, reason: str, pause: float, grace: float) -> None:
        """Begins no call any more, and closes the session once those under way are answered.

        Args:
            code: To close it with.
            reason: Likewise.
            pause: Seconds to leave it open at least.
            grace: Seconds after which calls that are under way are cancelled, and answered so.
        """
        self.draining = True
        self._changed.unpark_all()
        if self._nursery is not None:
            self._nursery.start_soon(self._drain, code, reason, pause, grace)

    async def _drain(self, code: int, reason: str, pause: float, grace: float) -> None:
        with trio.move_on_after(grace):
            await trio.sleep(pause)
            await self._wait_idle()
        if self.session.in_flight or self._websocket.unread:
            for scope in [*self._scopes]:
                scope.cancel()
            with trio.move_on_after(_LAST):
                await self._wait_idle()
        self._websocket.close_soon(code, reason)

    async def _wait_idle(self) -> None:
        """Waits until all that has come is answered."""
        while self.session.in_flight or self._websocket.unread:
            if self.session.in_flight:
                await self._changed.park()
            else:  # the others are refused, one after the other
                await trio.lowlevel.checkpoint()

    # --- what comes -------------------------------------------------------------------------

    async def _take(self, data: str | bytes) -> None:
        parsed = self._encoder.dialect.parse(data)
        valid = self._host.accepts(self._websocket, self.session)
        if isinstance(parsed, Batch):
            answers = BatchAnswers(self._encoder, self._send, parsed.calls, self._held)
            for call in parsed.calls:
                await self._begin(call, answers, valid=valid)
        else:
            await self._begin(parsed, None, valid=valid)
        if not valid:
            while self._lane:  # its answer, too
                await self._wait()
            self._websocket.close_soon(
                CloseCode.FORBIDDEN, "the credentials are not valid any more"
            )

    async def _hold_up(self) -> None:
        """Waits until a message of this client is to be looked at again, after its faults.

        Raises:
            WebSocketClosed: that is it.
        """
        while (seconds := self._faults.until - trio.current_time()) > 0 and not self.draining:
            with trio.move_on_after(seconds):
                await self._wait()

    def _note_fault(self, *, ends: bool = True) -> None:
        """The client has done something wrong; if that `ends` it, too much of it closes it."""
        most = self._host.max_faults
        if most is None or self.draining:
            return
        if self._faults.note(trio.current_time(), most) and ends:
            self._websocket.close_soon(_POLICY_VIOLATION, "too many messages that have no answer")

    async def _begin(
        self, call: ParsedCall | BadMessage, answers: BatchAnswers | None, *, valid: bool
    ) -> None:
        """Has a call answered: now, in a task, or when its turn has come."""
        refusal = self._refusal(call, valid=valid)
        if call.id is None:
            if refusal is not None and not self._lane:
                self._refuse(call, refusal, answers)
                return
            await self._wait_for_slot(even_late=True)
            self._lane.append((call, answers, refusal))
            if self._lane_runs:
                self._count(1)
            else:
                self._lane_runs = True
                self._start(self._run_lane)
            return
        if refusal is None:
            await self._wait_for_slot()
            refusal = self._refusal(call, valid=valid)  # it may drain by now
        if refusal is not None:
            self._refuse(call, refusal, answers)
            return
        assert isinstance(call, ParsedCall)
        self._ids.add(call.id)
        self._start(self._answer, call, answers)

    async def _wait_for_slot(self, *, even_late: bool = False) -> None:
        while self.session.in_flight >= self._host.in_flight and (even_late or not self.draining):
            await self._wait()

    async def _wait(self) -> None:
        """Waits for a change.

        Raises:
            WebSocketClosed: that is it, and nothing needs to be waited for any more.
        """
        if self._websocket.close_code is None and not self._websocket.gone:
            await self._changed.park()
        if self._websocket.gone:
            self._websocket.give_up()  # there is nobody to be answered
        error = self._websocket.closed_error
        if error is not None:
            raise error.with_traceback(None)

    def _refusal(
        self, call: ParsedCall | BadMessage, *, valid: bool = True
    ) -> tuple[str, CallFailed] | None:
        """Why a call is not to be begun, for the counters and for the client."""
        if isinstance(call, BadMessage):
            return "malformed", CallFailed(call.status, call.detail)
        if not valid:
            return "expired", CallFailed(401, "the credentials are not valid any more")
        if self.draining:
            words = "this connection is about to close: connect again"
            return "draining", CallFailed(503, words, retry_after=1)
        if call.id is not None and call.id in self._ids:
            words = "an earlier message with this id is not answered yet"
            return "duplicate_id", CallFailed(409, words, members={"type": DUPLICATE_ID})
        return None

    def _refuse(
        self,
        call: ParsedCall | BadMessage,
        refusal: tuple[str, CallFailed],
        answers: BatchAnswers | None,
    ) -> None:
        reason, failure = refusal
        self._host.counters.refused[reason] += 1
        self._say(call, problem(failure), answers)
        if reason in _FAULTS:
            self._note_fault()

    def _start(self, function: Callable[..., Any], *args: Any) -> None:
        self._count(1)
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)

    def _count(self, change: int) -> None:
        self.session.in_flight += change
        self._websocket.awaited = self.session.in_flight
        self._host.counters.in_flight += change
        if change < 0:
            self._changed.unpark_all()

    # --- calls ------------------------------------------------------------------------------

    async def _run_lane(self) -> None:
        """Makes the calls without an id, in order, until there is none."""
        try:
            while self._lane:
                call, answers, refusal = self._lane[0]
                refusal = refusal or self._refusal(call)
                if refusal is None:
                    assert isinstance(call, ParsedCall)
                    await self._answer(call, answers, in_lane=True)
                else:
                    self._refuse(call, refusal, answers)
                self._lane.popleft()
                self._count(-1)
        finally:
            self._count(-len(self._lane))
            self._lane.clear()
            self._lane_runs = False

    async def _answer(
        self, call: ParsedCall, answers: BatchAnswers | None, *, in_lane: bool = False
    ) -> None:
        """Makes a call, and sends what comes of it."""
        scope = trio.CancelScope()
        self._scopes.add(scope)
        outcome = "cancelled"
        reply: Reply | None = None
        try:
            with scope:
                reply = await self._call(call)
            if reply is None:
                words = "this connection closes, and there was no answer in time"
                reply = problem(CallFailed(503, words, may_have_run=True, retry_after=1))
            if self._websocket.close_code is None:
                outcome = _outcome(reply)
                self._say(call, reply, answers)
                if reply.status in {404, 429}:
                    self._look_for_fault(reply)
        finally:
            self._scopes.discard(scope)
            self._ids.discard(call.id)
            self._host.counters.calls[outcome] += 1
            if not in_lane:
                self._count(-1)

    def _look_for_fault(self, reply: Reply) -> None:
        """Whether an answer says that the message was for nothing, or one of too many."""
        if reply.status == 429:
            self._note_fault(ends=False)  # it may be because of others
        elif isinstance(reply.body, dict) and reply.body.get("type") == NO_ROUTE:
            self._note_fault()

    async def _call(self, call: ParsedCall) -> Reply:
        """The answer, whose parts have left already."""
        message = Message(
            self.session,
            call.key,
            call.body,
            id=call.id,
            answered=call.answered,
            headers=call.headers,
            method=call.method,
            path=call.path,
        )
        try:
            with self._host.pipeline as answer:
                reply = await answer(message)
                if not isinstance(reply, Reply):
                    raise TypeError(f"a backend gives a Reply, not {type(reply).__name__}")
                status: object = reply.status
                if not isinstance(status, int) or not 100 <= status <= 599:
                    raise ValueError(f"a Reply has a status of 100 to 599, not {status!r}")
                if reply.parts is not None:
                    await send_parts(self._encoder, call, reply, self._websocket.send)
                    reply = reply.replace(parts=None)
            return reply
        except Exception as exc:  # noqa: BLE001  # of a backend: the client is told, others go on
            if self._websocket.close_code is not None and isinstance(exc, WebSocketClosed):
                return Reply()  # nobody is there to be told
            return reply_to_failure(message, exc)

    # --- what leaves ------------------------------------------------------------------------

    def _say(
        self, call: ParsedCall | BadMessage, reply: Reply, answers: BatchAnswers | None
    ) -> None:
        if answers is not None:
            answers.add(call, reply)
        elif reply.silent and call.id is None:
            pass
        elif isinstance(call, BadMessage) or call.answered:
            self._send(self._encoder.encode(call, reply))

    def _send(self, encoded: str | bytes) -> None:
        """Sends an answer. A client that takes none is closed."""
        try:
            if not self._websocket.send_nowait(encoded):
                self._websocket.close_soon(
                    CloseCode.TRY_AGAIN_LATER, "too many answers wait to be read"
                )
        except WebSocketClosed:
            pass


def _outcome(reply: Reply) -> str:
    if reply.status >= 500:
        return "server_error"
    return "client_error" if reply.failed else "ok"
