"""`Link`: one WebSocket to a server that answers calls, while it is open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from restsock._exceptions import WebSocketClosed
from restsock._limit_log import LimitLog
from restsock.connection import until
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Reply
from restsock.protocol import CLOSE_CODES, CloseCode

from ._payload import json_text
from ._waiting import Waiting

if TYPE_CHECKING:
    from restsock.connection import ClientWebSocket
    from restsock.gateway._message import Message

    from ._json_ids import JSONIds

__all__ = ["Link", "code_for_client", "code_for_server"]

_log = logging.getLogger("restsock.gateway")


class Link:
    """See above.

    Args:
        ids: How calls are told apart; `None` sends messages as they are.
        most: How many calls may wait for an answer.
        on_push: Is called with what answers nothing.

    Attributes:
        websocket: While it is open.
        waiting: Calls that are not answered yet.
        malformed: Messages of the server that could not be read.
    """

    def __init__(self, ids: JSONIds | None, most: int, on_push: Callable[[Any], object]) -> None:
        self.websocket: ClientWebSocket | None = None
        self.malformed = 0
        self.waiting: Waiting[dict[str, Any]] = Waiting(most)
        self._ids = ids
        self._on_push = on_push
        self._lines = LimitLog(_log)

    async def serve(self, websocket: ClientWebSocket) -> None:
        """Reads until it is closed. Calls that wait then have no answer."""
        self.websocket = websocket
        try:
            async for data in websocket:
                self._take(data)
        except WebSocketClosed:
            pass  # whoever opened it looks at how
        finally:
            self.websocket = None
            words = "the connection to what answers was lost"
            self.waiting.fail_all(CallFailed(502, words, may_have_run=True))

    def _take(self, data: str | bytes) -> None:
        if self._ids is None:
            self._on_push(data)
            return
        try:
            id, value = self._ids.decode(data)
        except ValueError as exc:
            self.malformed += 1
            self._lines.say("malformed", "a message of the server %s", exc)
            return
        if id is None or not self.waiting.is_own(id):
            self._on_push(value)
        else:
            self.waiting.answer(id, value)

    async def ask(self, message: Message, deadline: float) -> Reply:
        """Makes a call and waits for its answer. If cancelled, the answer is dropped.

        Raises:
            CallFailed: There is none.
        """
        assert self._ids is not None
        with self.waiting.call() as call:
            await self._send(self._ids.encode(message, call.id), deadline)
            answer = await call.wait(deadline)
        return self._ids.reply_to(message, answer)

    async def pass_on(self, message: Message, deadline: float) -> Reply:
        """Sends a message as it is; what comes of it is pushed.

        Raises:
            CallFailed: It was not sent, or is none that can be.
        """
        body = message.body
        if not isinstance(body, (str, bytes)):
            body = json_text(body)
        await self._send(body, deadline)
        return Reply(None, 202, silent=True)

    async def _send(self, data: str | bytes, deadline: float) -> None:
        websocket = self.websocket
        if websocket is None:
            raise _lost()
        sent = False
        try:
            with until(deadline):
                await websocket.send(data)
                sent = True
        except WebSocketClosed as exc:
            raise _lost() from exc  # nothing of it was sent
        except ValueError:
            raise CallFailed(422, "the message is not text of Unicode") from None
        if not sent:
            raise CallFailed(504, "what answers does not take the message")


def _lost() -> CallFailed:
    return CallFailed(503, "the connection to what answers was lost", retry_after=1)


def code_for_client(code: int) -> int:
    """The close code that tells a client how the server has closed."""
    if code == CloseCode.NO_STATUS:
        return CloseCode.NORMAL
    if code == CloseCode.ABNORMAL:
        return CloseCode.BAD_GATEWAY
    sendable = code in CLOSE_CODES and code != CloseCode.MANDATORY_EXTENSION
    return code if sendable else CloseCode.INTERNAL_ERROR


def code_for_server(code: int) -> int:
    """The close code that tells a server how the client has left."""
    if code == CloseCode.NO_STATUS:
        return CloseCode.NORMAL
    return code if code in CLOSE_CODES else CloseCode.GOING_AWAY
