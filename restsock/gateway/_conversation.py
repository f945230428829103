"""What goes on between a client and a channel: messages come, calls are made, answers leave.

- Messages are taken as they are read, in plain calls; a task is woken, or made, for each call only.
- A call with an id runs in a task of its own; those without one run one after the other, in order,
  since their client tells the answers apart by that alone. What could not be read and has no id is
  answered in the same order.
- While `Channel.in_flight` calls run, no further message is looked at. The WebSocket goes on to be
  read, as far as its buffer goes, and so pings are answered.
- Clients share the loop: each begins calls in its turn (`Turns`). One that sends what cannot be
  answered is read more slowly, and closed in the end (`Faults`).
- Whatever is asked is answered while the socket lives: with a failure if the backend has none, if
  the call is not begun because the end is near, and if that comes while it is under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

from restsock._exceptions import WebSocketClosed
from restsock.protocol import CloseCode

from ._answers import BatchAnswers, Encoder, Held, send_parts
from ._errors import DUPLICATE_ID, NO_ROUTE, CallFailed, problem, reply_to_failure
from ._faults import Faults
from ._message import Message, Reply
from ._turns import turns
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
# Tasks of a session that wait for their next call.
_IDLE = 2
# Reasons to refuse a message that are a fault of its client.
_FAULTS = {"malformed", "duplicate_id"}
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1

_Waiting: TypeAlias = tuple[
    ParsedCall | BadMessage, BatchAnswers | None, tuple[str, CallFailed] | None
]
"""A call, where its answer goes, and why it is not to be begun."""

_Work: TypeAlias = tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]
"""What a task is to do."""


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
        self._ids: set[Any] = set()  # of calls that are not answered
        # Calls of the latest message that are not begun, for want of a slot, and whether the
        # credentials were valid when it came.
        self._pending: deque[tuple[ParsedCall | BadMessage, BatchAnswers | None]] = deque()
        self._valid = True
        # Calls without an id; the first of them is under way while there is a task for that.
        self._lane: deque[_Waiting] = deque()
        self._lane_runs = False
        self._taking = False  # messages, now or when it is its turn
        self._turns = turns()
        self._faults = Faults()
        self._held_up = False  # by faults: a task waits until that is over
        self._failure: Exception | None = None  # of a dialect
        self._ended = trio.Event()  # the WebSocket has
        self._emptied: trio.Event | None = None  # once somebody waits until all is answered
        self._tasks: trio.Nursery | None = None  # all but the calls
        self._calls: trio.Nursery | None = None
        self._idle: list[trio.lowlevel.Task] = []  # in which the next calls can be made
        self._due: deque[_Work] = deque()  # for tasks that were woken

    async def run(self) -> None:
        """Answers messages until the WebSocket has ended. Calls under way are cancelled then."""
        websocket = self._websocket
        websocket.on_closed, websocket.on_gone = self._ended.set, self._take_messages
        async with trio.open_nursery() as self._tasks:
            async with trio.open_nursery() as self._calls:
                self.session.begin(websocket, self._tasks)
                websocket.on_message = self._take_messages
                self._take_messages()  # those that were quicker
                if websocket.close_code is not None:
                    self._ended.set()  # how it has ended is told to `on_disconnect`
                await self._ended.wait()
                self._calls.cancel_scope.cancel()
            await self._ended.wait()  # the calls may have been cancelled before
            websocket.on_message = None
            self._tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

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
        if self._tasks is not None and not self._ended.is_set():
            self._tasks.start_soon(self._drain, code, reason, pause, grace)
            self._take_messages()  # those that wait are refused

    async def _drain(self, code: int, reason: str, pause: float, grace: float) -> None:
        with trio.move_on_after(grace):
            await trio.sleep(pause)
            await self._wait_idle()
        if self._busy and self._calls is not None:
            self._calls.cancel_scope.cancel()
            with trio.move_on_after(_LAST):
                await self._wait_idle()
        self._websocket.close_soon(code, reason)

    @property
    def _busy(self) -> bool:
        """Whether something that has come is not answered."""
        return bool(self.session.in_flight or self._pending or self._websocket.unread)

    async def _wait_idle(self) -> None:
        """Waits until all that has come is answered."""
        while self._busy:
            if self._emptied is None:
                self._emptied = trio.Event()
            await self._emptied.wait()

    def _look_if_idle(self) -> None:
        if self._emptied is not None and not self._busy:
            self._emptied.set()
            self._emptied = None

    # --- what comes -------------------------------------------------------------------------

    def _take_messages(self) -> None:
        """Begins the calls of all messages that have come, as far as there are slots for them."""
        if self._taking or self._ended.is_set():
            return  # it is at it, or will be soon, or nobody is there any more
        self._taking = True
        websocket = self._websocket
        waits = False
        try:
            while self._begin_pending() and (unread := websocket.unread):
                if websocket.gone:
                    websocket.give_up()  # there is nobody to be answered
                    break
                if self._is_held_up():
                    break
                busy = unread > 1 or self.session.in_flight > 0
                if not self._turns.come(self._take_in_turn, busy=busy):
                    waits = True
                    break
                data = websocket.receive_nowait()
                assert data is not None
                self._host.counters.messages_received += 1
                parsed = self._encoder.dialect.parse(data)
                self._valid = self._host.accepts(websocket, self.session)
                if isinstance(parsed, Batch):
                    answers = BatchAnswers(self._encoder, self._send, parsed.calls, self._held)
                    self._pending.extend((call, answers) for call in parsed.calls)
                else:
                    self._pending.append((parsed, None))
        except Exception as exc:  # noqa: BLE001  # of a dialect: it ends this session, by `run`
            self._failure = exc
            self._ended.set()
        finally:
            self._taking = waits
        if websocket.gone and (self._pending or not self._valid):
            websocket.give_up()  # there is nobody to be answered

    def _take_in_turn(self) -> None:
        self._taking = False
        self._take_messages()
        self._look_if_idle()  # those that came late are refused

    def _is_held_up(self) -> bool:
        """Whether faults of the client hold up its next message; if so, it is taken later."""
        until = self._faults.until
        if self.draining or until < 0 or until <= trio.current_time():
            return False
        if not self._held_up and self._tasks is not None:
            self._held_up = True
            self._tasks.start_soon(self._go_on_later)
        return True

    async def _go_on_later(self) -> None:
        await trio.sleep_until(self._faults.until)
        self._held_up = False
        self._take_messages()

    def _note_fault(self, *, ends: bool = True) -> None:
        """The client has done something wrong; if that `ends` it, too much of it closes it."""
        most = self._host.max_faults
        if most is None or self.draining:
            return
        if self._faults.note(trio.current_time(), most) and ends:
            self._websocket.close_soon(_POLICY_VIOLATION, "too many messages that have no answer")

    def _look_for_fault(self, reply: Reply) -> None:
        """Whether an answer says that the message was for nothing, or one of too many."""
        if reply.status == 429:
            self._note_fault(ends=False)  # it may be because of others
        elif isinstance(reply.body, dict) and reply.body.get("type") == NO_ROUTE:
            self._note_fault()

    def _begin_pending(self) -> bool:
        """Begins the calls of the latest message; tells whether the next one can be taken."""
        while self._pending:
            call, answers = self._pending[0]
            if not self._begin(call, answers):
                return False
            self._pending.popleft()
        if self._valid:
            return True
        if not self._lane:  # its answer goes first
            self._websocket.close_soon(
                CloseCode.FORBIDDEN, "the credentials are not valid any more"
            )
        return False

    def _begin(self, call: ParsedCall | BadMessage, answers: BatchAnswers | None) -> bool:
        """Has a call answered: now, in a task, or when its turn has come; tells whether it could.

        If not, there is no slot for it.
        """
        refusal = self._refusal(call, valid=self._valid)
        full = self.session.in_flight >= self._host.in_flight
        if call.id is None and not (refusal and not self._lane):
            if full:
                return False
            self._lane.append((call, answers, refusal))
            self._count(1)
            if not self._lane_runs:
                self._lane_runs = True
                self._start(self._run_lane)
        elif refusal is not None:
            self._refuse(call, refusal, answers)
        elif full:
            return False
        else:
            assert isinstance(call, ParsedCall)
            self._ids.add(call.id)
            self._count(1)
            self._start(self._answer_one, call, answers)
        return True

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

    def _count(self, change: int) -> None:
        self.session.in_flight += change
        self._websocket.awaited = self.session.in_flight
        self._host.counters.in_flight += change
        if change < 0:
            if self._pending or self._websocket.unread or not self._valid:
                self._take_messages()
            self._look_if_idle()

    # --- calls ------------------------------------------------------------------------------

    def _start(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Has a task call it: one that has nothing to do, or a new one."""
        if self._idle:
            self._due.append((function, args))
            trio.lowlevel.reschedule(self._idle.pop())
        elif self._calls is not None:
            self._calls.start_soon(self._work, function, args)

    async def _work(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        """Does what there is to be done, one after the other. Of those without work, few wait."""
        task = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._idle.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            await function(*args)
            if len(self._idle) >= _IDLE:
                return
            self._idle.append(task)
            await trio.lowlevel.wait_task_rescheduled(give_up)
            function, args = self._due.popleft()

    async def _run_lane(self) -> None:
        """Makes the calls without an id, in order, until there is none."""
        try:
            while self._lane:
                call, answers, refusal = self._lane[0]
                refusal = refusal or self._refusal(call)
                if refusal is None:
                    assert isinstance(call, ParsedCall)
                    await self._answer(call, answers)
                else:
                    self._refuse(call, refusal, answers)
                self._lane.popleft()
                self._count(-1)
        finally:
            if self._lane:  # this is cancelled, and the first call was answered
                self.draining = True
                self._lane.popleft()
                self._count(-1)
            while self._lane:
                call, answers, refusal = self._lane[0]
                refusal = refusal or self._refusal(call)
                if refusal is not None and self._websocket.close_code is None:
                    self._refuse(call, refusal, answers)
                self._lane.popleft()
                self._count(-1)
            self._lane_runs = False

    async def _answer_one(self, call: ParsedCall, answers: BatchAnswers | None) -> None:
        try:
            await self._answer(call, answers)
        finally:
            self._ids.discard(call.id)
            self._count(-1)

    async def _answer(self, call: ParsedCall, answers: BatchAnswers | None) -> None:
        """Makes a call, and sends what comes of it, also if it is cancelled while it is open."""
        outcome = "cancelled"
        reply: Reply | None = None
        try:
            reply = await self._call(call)
        finally:
            if self._websocket.close_code is None:
                if reply is None:
                    words = "this connection closes, and there was no answer in time"
                    reply = problem(CallFailed(503, words, may_have_run=True, retry_after=1))
                outcome = _outcome(reply)
                self._say(call, reply, answers)
                if reply.status in {404, 429}:
                    self._look_for_fault(reply)
            self._host.counters.calls[outcome] += 1

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
