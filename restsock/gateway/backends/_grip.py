"""`GRIP`: a backend of Pushpin answers: one that speaks HTTP, and holds no WebSockets."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from restsock._exceptions import RestsockError
from restsock._limit_log import LimitLog
from restsock._options import positive
from restsock._strict_json import NotJSON, read_json
from restsock.auth import Refused
from restsock.gateway._backend import Backend
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Message, Reply
from restsock.protocol import CloseCode

from ._grip_session import GripSession, signature, value_of
from ._http import HTTP
from ._http_backend import HTTPBackend
from ._http_mapping import HTTPRequest
from ._link import code_for_client
from ._payload import encode
from ._websocket_events import (
    CONTENT_TYPE,
    MalformedEvents,
    WebSocketEvent,
    decode_events,
    encode_events,
)

if TYPE_CHECKING:
    from restsock.connection import Response
    from restsock.gateway._backend import Part
    from restsock.gateway._session import Session

__all__ = ["GRIP"]

_log = logging.getLogger("restsock.gateway")

_HEADERS = ("accept-language", "cookie", "origin", "user-agent")
# Seconds to tell the backend that a client has left, and at the end, for all of them.
_FAREWELL = 5.0


class GRIP(Backend):
    """Answers with a backend of Pushpin, in any language: WebSockets over HTTP.

        grip = GRIP("http://127.0.0.1:8000/ws/", key=os.environ["GRIP_KEY"])
        Channel("/ws", RawDialect(), Pipe(grip), on_connect=grip.connect,
                on_disconnect=grip.disconnect)

    Each message is a POST of `application/websocket-events`, in the order of the client; so are the
    begin (OPEN) and the end (CLOSE, DISCONNECT) of its WebSocket. With `RawDialect`, the client
    gets all messages that the backend returns, in order. With another dialect, the first one is
    the answer and the others are pushed. If the backend returns none, a client that gave no id gets
    no answer.

    A backend subscribes a client to channels: these are groups of the gateway, and messages to
    `gateway.groups` reach them. The backend holds no state, so it may be restarted at any time.

    With `connect` as `on_connect`, the backend accepts or refuses a client before its WebSocket is
    open. Without it, the backend is asked with the first message. With `disconnect` as
    `on_disconnect`, it is also told when a client leaves that has sent nothing.

    Args:
        to: The URL that events are sent to; or an `HTTP`, `App` or `Peer`.
        path: The path there; `""` is the URL itself. The query of the client is appended.
        key: The key that signs requests (`Grip-Sig`, HS256); the backend has to know it, too.
        issuer: The name of the signer: `iss`.
        prefix: Put before the names of channels to make names of groups.
        headers: Which fields of the client's opening handshake are sent along, by name.
        min_keep_alive: The least seconds between two keep-alive requests, whatever the backend asks
            for.

    Raises:
        ValueError: An argument is not valid.
        TypeError: Likewise.
    """

    def __init__(
        self,
        to: str | HTTPBackend,
        *,
        path: str = "",
        key: str | bytes | None = None,
        issuer: str = "restsock",
        prefix: str = "",
        headers: Collection[str] = _HEADERS,
        min_keep_alive: float = 20.0,
    ) -> None:
        self._to = HTTP(to) if isinstance(to, str) else to
        if not isinstance(self._to, HTTPBackend):
            raise TypeError(f"events go to a URL, an HTTP, an App or a Peer, not to {to!r}")
        if path and not path.startswith("/"):
            raise ValueError(f"the path begins with /, not {path!r}")
        self._path = path
        self._key = key.encode() if isinstance(key, str) else key
        self._issuer = issuer
        self._prefix = prefix
        self._headers = frozenset(name.lower() for name in headers)
        self.min_keep_alive = min_keep_alive
        positive(self, "min_keep_alive")
        self._sessions: dict[str, GripSession] = {}
        self._nursery: trio.Nursery | None = None
        self._lines = LimitLog(_log)

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return (self._to,)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Lets calls be made. At the end, tells the backend that all clients have left."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                self._nursery = None
                with trio.move_on_after(_FAREWELL) as scope:
                    scope.shield = True
                    async with trio.open_nursery() as farewells:
                        for state in [*self._sessions.values()]:
                            farewells.start_soon(self._say_goodbye, state, CloseCode.GOING_AWAY, "")
                nursery.cancel_scope.cancel()

    # --- hooks of a channel -------------------------------------------------------------------

    async def connect(self, session: Session) -> None:
        """Asks the backend whether a client may connect: for `Channel(on_connect=...)`.

        Raises:
            Refused: It may not, or the backend does not say.
        """
        state = self._state(session)
        try:
            async with state.lock:
                events = await self._open(state)
            self._take(state, events, answers=False)
        except RestsockError as exc:
            self._sessions.pop(session.id, None)
            status = exc.status if isinstance(exc, CallFailed) else 502
            raise Refused(status, "You may not open this WebSocket.") from exc

    async def disconnect(self, session: Session, code: int, reason: str) -> None:
        """Tells the backend that a client has left: for `Channel(on_disconnect=...)`.

        Raises no error: if the backend cannot be told, that is logged.
        """
        state = self._sessions.get(session.id)
        if state is not None:
            await self._say_goodbye(state, code, reason)

    # --- calls --------------------------------------------------------------------------------

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`. If cancelled, the call may still have had an effect.

        Raises:
            CallFailed: There is no answer, or the backend does not accept the client.
        """
        if self._nursery is None:
            raise CallFailed(503, "the gateway is not open")
        if message.session.closed:  # a `Cache` may still ask for others
            raise CallFailed(503, "the client has left")
        state = self._state(message.session)
        if not state.watched:
            state.watched = True
            message.session.start_soon(state.watch, self._left)
        data, _ = encode(message.body)
        event = WebSocketEvent("BINARY" if isinstance(message.body, bytes) else "TEXT", data)
        async with state.lock:  # in the order of the client
            if not state.open:
                self._take(state, await self._open(state, message), answers=False)
            if state.detached:
                return Reply(None, 204, silent=True)
            events = await self._post(state, [event], message)
            answers = self._take(state, events, answers=True)
        if not answers:
            return Reply(None, 204, silent=True)
        if len(answers) == 1:
            return Reply(answers[0])
        return Reply(answers[-1], parts=_each(answers[:-1]))

    async def _open(
        self, state: GripSession, message: Message | None = None
    ) -> Sequence[WebSocketEvent]:
        events = await self._post(state, [WebSocketEvent("OPEN")], message)
        if not events or events[0].type != "OPEN":
            raise CallFailed(403, "this is not open to you")
        state.open = True
        self._keep_alive(state)
        return events[1:]

    async def _post(
        self, state: GripSession, events: Sequence[WebSocketEvent], message: Message | None = None
    ) -> Sequence[WebSocketEvent]:
        """Sends events, and gives those that come back."""
        if message is None:
            message = Message(state.session, "", deadline=trio.current_time() + 60)
        body = encode_events([*state.take_due(), *events])
        path, query = self._path, state.session.request.query
        if query:
            path += ("&" if "?" in path else "?") + query
        request = HTTPRequest("POST", path, tuple(self._fields(state).items()), body)
        response = await self._to.exchange(message, request)
        state.last = trio.current_time()
        if response.status != 200:
            status = response.status if 400 <= response.status <= 599 else 502
            raise CallFailed(status, "what this goes to refuses it", may_have_run=True)
        self._read_head(state, response)
        try:
            if response.content and _content_type(response) != CONTENT_TYPE:
                raise MalformedEvents("content of another type")
            return decode_events(response.content)
        except MalformedEvents as exc:
            self._lines.say("events", "a backend of GRIP has sent %s", exc)
            raise CallFailed(502, "an answer that is none", may_have_run=True) from None

    def _fields(self, state: GripSession) -> dict[str, str]:
        request = state.session.request
        fields: dict[str, str] = {}
        for raw, value in request.headers:
            name = raw.decode("latin-1").lower()
            if name in self._headers:
                fields.setdefault(name, value.decode("latin-1"))
        fields["Content-Type"] = fields["Accept"] = CONTENT_TYPE
        fields["Connection-Id"] = state.session.id
        fields["Sec-WebSocket-Extensions"] = "grip"
        for name, text in state.meta.items():
            fields[f"Meta-{name}"] = text
        if self._key is not None:
            fields["Grip-Sig"] = signature(self._key, self._issuer, int(time.time()))
        return fields

    def _read_head(self, state: GripSession, response: Response) -> None:
        for raw, value in response.headers:
            name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
            if name.startswith("set-meta-"):
                state.set_meta(name.removeprefix("set-meta-"), text)
            elif name == "sec-websocket-extensions":
                state.read_extension(text)
            elif name == "keep-alive-interval" and text.isascii() and text.isdigit():
                state.interval = max(self.min_keep_alive, float(text[:9])) if int(text) else None
                self._keep_alive(state)

    def _keep_alive(self, state: GripSession) -> None:
        wanted = state.open and state.interval is not None
        if wanted and not state.kept and self._nursery is not None:
            state.kept = True
            self._nursery.start_soon(self._send_keep_alive, state)

    async def _send_keep_alive(self, state: GripSession) -> None:
        """Asks the backend now and then, while nothing else does."""
        while not state.over.is_set() and state.interval is not None:
            with trio.move_on_at(state.last + state.interval):
                await state.over.wait()
            if state.session.closed:
                self._left(state, *state.session.ended_with)
                break
            if state.keep_alive_due:
                await self._ask_now(state)
        state.kept = False

    async def _ask_now(self, state: GripSession) -> None:
        try:
            async with state.lock:
                self._take(state, await self._post(state, []), answers=False)
        except RestsockError as exc:
            state.last = trio.current_time()
            self._lines.say("keep-alive", "a backend of GRIP does not answer: %s", exc)

    # --- what the backend says ----------------------------------------------------------------

    def _take(
        self, state: GripSession, events: Sequence[WebSocketEvent], *, answers: bool
    ) -> list[Any]:
        """Acts on events; gives the messages that are the answer, if one is due."""
        found: list[Any] = []
        for event in events:
            if event.type in ("CLOSE", "DISCONNECT"):
                for last in found:  # a call whose session is closed is not answered any more
                    self._push(state, last)
                self._close(state, event)
                return []
            content = event.content or b""
            if event.type in ("TEXT", "BINARY"):
                control = state.control_in(content) if event.type == "TEXT" else None
                if control is not None:
                    self._control(state, control)
                    continue
                value: Any = state.message_in(content)
                if event.type == "TEXT":
                    value = value_of(value) if state.as_json else value.decode("utf-8", "replace")
                if answers:
                    found.append(value)
                else:
                    self._push(state, value)
            elif event.type == "PING":
                state.due.append(WebSocketEvent("PONG", event.content))
        if state.as_json:
            for more in found[1:]:
                self._push(state, more)
            del found[1:]
        return found

    def _close(self, state: GripSession, event: WebSocketEvent) -> None:
        code, reason = int(CloseCode.ABNORMAL), ""
        if event.type == "CLOSE":
            try:
                code, reason = event.close_code
            except MalformedEvents:
                code = CloseCode.INTERNAL_ERROR
        state.over.set()
        state.session.close(code_for_client(code), reason)

    def _push(self, state: GripSession, value: Any) -> None:
        try:
            state.session.send_nowait(value)
        except (TypeError, ValueError):
            self._lines.say("push", "what a backend of GRIP has sent cannot be said in the dialect")

    def _control(self, state: GripSession, data: bytes) -> None:
        """Acts on a control message. One that is not known changes nothing."""
        try:
            said = read_json(data)
        except NotJSON as exc:
            self._lines.say("control", "a control message of GRIP %s", exc)
            return
        if not isinstance(said, Mapping):
            return
        kind, channel = said.get("type"), said.get("channel")
        if kind in ("subscribe", "unsubscribe") and isinstance(channel, str):
            name = self._prefix + channel
            change: Callable[[str], None] = state.session.groups.discard
            if kind == "subscribe":
                change = state.session.groups.add
            try:
                change(name)
            except ValueError as exc:
                self._lines.say("control", "a channel of GRIP cannot be a group: %s", exc)
        elif kind == "keep-alive":
            state.keep_client(said, self._nursery)
        elif kind == "detach" and not state.detached and self._nursery is not None:
            state.detached = True
            self._nursery.start_soon(self._tell_end, state, WebSocketEvent("CLOSE"))

    # --- the end ------------------------------------------------------------------------------

    def _state(self, session: Session) -> GripSession:
        state = self._sessions.get(session.id)
        if state is None:
            self._forget_gone()
            state = self._sessions[session.id] = GripSession(session, self._push)
        return state

    def _forget_gone(self) -> None:
        """Looks whether two of them are gone: more than come.

        Of one that has sent nothing only `disconnect` tells, which a channel may have or not.
        """
        for _ in range(min(2, len(self._sessions))):
            id = next(iter(self._sessions))
            state = self._sessions[id] = self._sessions.pop(id)  # the last one from now on
            if state.session.closed:
                self._left(state, *state.session.ended_with)

    def _left(self, state: GripSession, code: int, reason: str) -> None:
        """A client has left. Does not wait."""
        if self._nursery is not None and state.session.id in self._sessions:
            self._nursery.start_soon(self._say_goodbye, state, code, reason)

    async def _say_goodbye(self, state: GripSession, code: int, reason: str) -> None:
        if self._sessions.pop(state.session.id, None) is None:
            return
        told = state.over.is_set() or state.detached  # it is the backend that has ended it
        state.over.set()
        if not state.open or told:
            return
        event = WebSocketEvent("DISCONNECT")
        if code not in (CloseCode.ABNORMAL, CloseCode.TLS_FAILED):
            event = WebSocketEvent.close(code, reason)
        await self._tell_end(state, event)

    async def _tell_end(self, state: GripSession, event: WebSocketEvent) -> None:
        try:
            with trio.move_on_after(_FAREWELL):
                async with state.lock:
                    await self._post(state, [event])
        except RestsockError as exc:
            self._lines.say("close", "a backend of GRIP was not told of an end: %s", exc)

    def __repr__(self) -> str:
        return f"GRIP({self._to!r})"


async def _each(values: Sequence[Any]) -> AsyncIterator[Any]:
    for value in values:
        yield value


def _content_type(response: Response) -> str:
    kind = next((value for name, value in response.headers if name.lower() == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower().decode("latin-1")
