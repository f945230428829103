"""Serves the websocket scope of an ASGI 3 application: a WebSocket server inside a stream.

::

    CONNECTING ──accept──> OPEN ──close by the app──> CLOSED
        │                    └──close by the peer──> LEFT
        └──close, or a response of the app's own──> REFUSED

Bytes are parsed when they arrive, so that pings are answered while the app does something else. A
flood of tiny frames is parsed in steps, so that others have their turn. Credit is returned when the
app has received all messages in the bytes. So an app that does not receive slows its peer down
instead of filling the memory.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from restsock._exceptions import RemoteProtocolError
from restsock.apps._errors import BadResponseError, Disconnected
from restsock.apps._response import checked_field, fail_response
from restsock.connection import ExchangeEvent, Failed
from restsock.protocol import (
    CLOSE_CODES,
    FRAMES_AT_ONCE,
    BinaryMessage,
    CloseCode,
    CloseReceived,
    DataReceived,
    ResetCode,
    ResponseHead,
    TextMessage,
    WebSocket,
    accept_fields,
    offered_subprotocols,
    reserved_in_upgrade,
    websocket_problem,
)

from ._request import AsgiRequest, Message, Served
from ._scope import asgi_scope

if TYPE_CHECKING:
    from restsock.apps._exchange import ServedExchange

    from ._call import AppCall

__all__ = ["WebSocketRequest"]


class _State(Enum):
    CONNECTING = "not accepted yet"
    OPEN = "open"
    REFUSED = "refused"
    CLOSED = "closed"
    LEFT = "closed by the peer"


class WebSocketRequest(AsgiRequest):
    """One request of kind `websocket`. It has a `response` unless the app accepts the WebSocket."""

    def __init__(
        self,
        served: Served,
        exchange: ServedExchange,
        call: AppCall,
        state: dict[str, Any] | None,
    ) -> None:
        super().__init__(served, exchange, call, state)
        self._state = _State.CONNECTING
        self._websocket = WebSocket(
            client=False, max_message=served.max_websocket_message, max_frames=FRAMES_AT_ONCE
        )
        self._messages: deque[str | bytes] = deque()
        self._held = 0  # bytes whose credit was not returned yet
        self._going_on = False  # whether more is read later, and the bytes since then
        self._later: list[bytes] = []
        self._connect_given = False
        self._app_done = False
        self._disconnect: tuple[int, str] | None = None

    async def run(self) -> None:
        """See `AsgiRequest`."""
        refusal = websocket_problem(self._exchange.request)
        if refusal is not None:
            status, text = refusal
            self.response.plain(status, text, [(b"Sec-WebSocket-Version", b"13")])
            return
        failed = await self._call_app(self._make_scope())
        self._app_done = True
        if self._state in (_State.OPEN, _State.CLOSED, _State.LEFT):
            await self._close_down(CloseCode.INTERNAL_ERROR if failed else CloseCode.NORMAL)
        elif self._inbound.error is None:
            fail_response(self._exchange, self.response)

    def _missing(self) -> str | None:
        unanswered = self._state is _State.CONNECTING
        return "without an answer to the WebSocket" if unanswered else None

    def _make_scope(self) -> dict[str, Any]:
        scope = asgi_scope("websocket", self._exchange, self._app_state, self._root_path)
        scope["subprotocols"] = offered_subprotocols(self._exchange.request.headers)
        scope["extensions"]["websocket.http.response"] = {}
        return scope

    # --- in: called on the loop, in no task of the app's --------------------------------------

    def _observe(self, event: ExchangeEvent) -> None:
        if isinstance(event, DataReceived):
            self._on_data(event.data)
            self._inbound.wake()
            return
        self._inbound(event)
        if isinstance(event, Failed):
            self._call.cancel_after(self._timeouts.disconnect)
        self._look_at_end()

    def _look_at_end(self) -> None:
        """Checks for the end; what arrived before it is read first."""
        if self._going_on:
            return  # it comes back
        if self._inbound.error is not None:
            self._end(CloseCode.ABNORMAL, "")
        elif self._inbound.received and self._state is _State.OPEN:
            self._end(CloseCode.ABNORMAL, "the peer ended without a close frame")
        else:
            self._flush()

    def _on_data(self, data: bytes) -> None:
        self._held += len(data)
        if self._going_on:
            self._later.append(data)
        elif not self._app_done:
            self._read(data)
        if not self._messages:
            self._return_credit()

    def _read(self, data: bytes) -> None:
        """Reads some frames; the rest later, if there are more."""
        websocket = self._websocket
        try:
            websocket.receive_data(data)
            self._take_messages()
        except RemoteProtocolError as exc:
            self._take_messages()
            websocket.close(exc.close_code, str(exc))
            self._end(exc.close_code, str(exc))
        self._flush()
        if websocket.more:
            self._going_on = True
            self._call.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        if self._app_done:
            return  # and all credit has gone back
        data, self._later = b"".join(self._later), []
        self._read(data)
        self._look_at_end()
        if not self._messages:
            self._return_credit()
        self._inbound.wake()

    def _take_messages(self) -> None:
        while (event := self._websocket.next_event()) is not None:
            if isinstance(event, (TextMessage, BinaryMessage)):
                self._messages.append(event.data)
            elif isinstance(event, CloseReceived):
                self._end(event.code, event.reason)

    def _end(self, code: int, reason: str, state: _State = _State.LEFT) -> None:
        """Ends the WebSocket: tells the app, and completes the stream to the peer."""
        if self._disconnect is None:
            self._disconnect = (int(code), reason)
        if self._state is _State.OPEN:
            self._flush(force=True)
            self._state = state
            self._exchange.send_end()

    def _flush(self, *, force: bool = False) -> None:
        # While writing is paused, pongs wait in the WebSocket, which keeps some.
        if self._state is _State.OPEN and (force or not self._inbound.write_paused):
            data = self._websocket.data_to_send()
            if data:
                self._exchange.send_data(data)

    def _return_credit(self) -> None:
        if self._going_on and not self._app_done:
            return  # once all is read
        held, self._held = self._held, 0
        self._exchange.consume(held)

    # --- the app's side -----------------------------------------------------------------------

    async def _receive(self) -> Message:
        if not self._connect_given:
            self._connect_given = True
            return {"type": "websocket.connect"}
        while not self._messages and self._disconnect is None:
            await self._inbound.wait()
        if self._messages:
            message = self._messages.popleft()
            if not self._messages:
                self._return_credit()
            kind = "text" if isinstance(message, str) else "bytes"
            return {"type": "websocket.receive", kind: message}
        assert self._disconnect is not None
        if self._disconnect_given:
            await self._call.checkpoint()  # an app may call this repeatedly
        self._disconnect_given = True
        code, reason = self._disconnect
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close":
            self._close(message.get("code"), message.get("reason"))
            return
        self._inbound.check_connected()
        if kind == "websocket.send":
            await self._send_message(message)
        elif kind == "websocket.accept":
            self._demand(kind, _State.CONNECTING)
            self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.http.response.start":
            self._demand(kind, _State.CONNECTING)
            self.response.start(message["status"], message.get("headers", ()))
            self._state = _State.REFUSED
        elif kind == "websocket.http.response.body":
            self._demand(kind, _State.REFUSED)
            self.response.body(message.get("body", b""), message.get("more_body", False))
            if self.response.complete:
                self._refused()
            else:
                await self._inbound.drain()
        else:
            raise BadResponseError(f"not a message for a websocket scope: {kind!r}")

    def _accept(self, subprotocol: str | None, headers: Any) -> None:
        fields = [checked_field(name, value) for name, value in headers]
        for name, _ in fields:
            if reserved_in_upgrade(name):
                raise BadResponseError(f"the server sets {name!r} itself")
        chosen = None
        if subprotocol is not None:
            chosen = checked_field(b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1"))[1]
        head = accept_fields(self._exchange.request, chosen, fields)
        self._exchange.send_head(ResponseHead(101, head, b"Switching Protocols"))
        self.response.status = 101
        self._state = _State.OPEN

    async def _send_message(self, message: Message) -> None:
        if self._state is _State.LEFT:
            raise Disconnected
        self._demand("websocket.send", _State.OPEN)
        text, data = message.get("text"), message.get("bytes")
        if (text is None) == (data is None):
            raise BadResponseError("websocket.send carries either text or bytes")
        if text is not None:
            if not isinstance(text, str):
                raise TypeError(f"text is str, not {type(text).__name__}")
            self._websocket.send_text(text)
        else:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"bytes is bytes, not {type(data).__name__}")
            self._websocket.send_binary(bytes(data))
        self._flush(force=True)
        await self._inbound.drain()

    def _close(self, code: object, reason: object) -> None:
        if self._state is _State.LEFT or self._inbound.error is not None:
            return  # the peer has closed first, which the app cannot know
        if self._state in (_State.CLOSED, _State.REFUSED):
            raise BadResponseError(f"websocket.close while the WebSocket is {self._state.value}")
        code = CloseCode.NORMAL if code is None else code
        if not isinstance(code, int) or code not in CLOSE_CODES:
            raise BadResponseError(f"not a code that a WebSocket may be closed with: {code!r}")
        reason = "" if reason is None else reason
        if not isinstance(reason, str):
            raise TypeError(f"the reason of a close is str, not {type(reason).__name__}")
        if self._state is _State.OPEN:
            self._send_close(code, reason)
        else:
            self.response.plain(403, "Forbidden\n")
            self._state = _State.REFUSED
            self._refused()

    def _send_close(self, code: int, reason: str) -> None:
        self._websocket.close(code, reason)
        self._end(code, reason, _State.CLOSED)

    def _refused(self) -> None:
        if self._disconnect is None:
            self._disconnect = (CloseCode.ABNORMAL, "")
        self._inbound.wake()

    def _demand(self, kind: str, state: _State) -> None:
        if self._state is not state:
            raise BadResponseError(f"{kind} while the WebSocket is {self._state.value}")

    async def _close_down(self, code: int) -> None:
        """Closes what the app has left open, and waits for the peer's close."""
        self._messages.clear()
        self._return_credit()
        if self._state is _State.OPEN:
            self._send_close(code, "")
        inbound = self._inbound

        def over() -> bool:
            return inbound.received or inbound.error is not None

        if not await self._call.wait_until(over, self._timeouts.close):
            self._exchange.reset(ResetCode.CANCEL, "no end of the WebSocket")
