"""A `Downstream` with its multiplexer, as on a connection, but without socket, loop and clock."""

from __future__ import annotations

from typing import Any

from restsock._options import Heartbeat, Limits
from restsock.http1 import CREDIT, Downstream
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    Multiplexer,
    MultiplexerEvent,
    Pipeline,
    RequestReceived,
    ResponseHead,
    Settings,
    StreamClosed,
)

__all__ = ["DATE", "Answering", "Front", "joined"]

DATE = b"Thu, 01 Jan 1970 00:00:00 GMT"
# All that a whole body may take, so that nothing waits for credit.
ROOMY = Limits(initial_window=1024 * 1024)


class Front:
    """What a client of plain HTTP talks to.

    Attributes:
        out: all bytes that it was sent.
        events: what the app was told, in order.
    """

    def __init__(self, limits: Limits = ROOMY, scheme: str = "http") -> None:
        self.layer = Downstream(limits, scheme, lambda: DATE, float, self._note_turn)
        self.multiplexer = Multiplexer(
            dialer=False, limits=limits, heartbeat=Heartbeat(), new_id=str, unix_ms=int
        )
        client = Settings(max_frame=64 * 1024, initial_window=CREDIT, max_streams=0)
        self.multiplexer.skip_handshake("id", client)
        self.pipeline = Pipeline(self.layer, self.multiplexer)
        self.out = b""
        self.events: list[MultiplexerEvent] = []
        self._turn = False

    def _note_turn(self) -> None:
        self._turn = True

    def receive(self, *pieces: bytes) -> None:
        """Has these bytes come from the client, and all happen that follows."""
        for piece in pieces:
            self.pipeline.receive_data(piece)
            self.settle()

    def settle(self) -> None:
        """Goes on until nothing is left to do."""
        while True:
            for event in self.multiplexer.events.take():
                self.events.append(event)
                self.react(event)
            data = self.pipeline.data_to_send()
            self.out += data
            if self._turn:
                self._turn = False
                self.layer.take_turn()
                self.pipeline.receive_data(b"")
            elif not (data or self.multiplexer.events.ready or self.layer.events):
                return

    def react(self, event: MultiplexerEvent) -> None:
        """What the app does; nothing, here."""

    def take(self) -> bytes:
        """What the client was sent since the last call."""
        data, self.out = self.out, b""
        return data

    def answer(
        self,
        stream_id: int,
        status: int = 200,
        headers: Headers = (),
        body: bytes | None = b"",
        **more: Any,
    ) -> None:
        """Answers a request, in whole unless `body` is `None`."""
        self.multiplexer.send_head(stream_id, ResponseHead(status, list(headers), b""))
        if body is not None:
            self.multiplexer.send_data(stream_id, body)
            self.multiplexer.send_end(stream_id, **more)
        self.settle()

    @property
    def told(self) -> list[MultiplexerEvent]:
        """The events, pieces of a body joined, without those of streams that are over."""
        return joined(self.events)


class Answering(Front):
    """One whose app answers each request, when it is complete, with what it has said."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bodies: dict[int, bytes] = {}

    def react(self, event: MultiplexerEvent) -> None:
        if isinstance(event, RequestReceived):
            self._bodies[event.stream_id] = event.head.method + b" " + event.head.target + b" "
        elif isinstance(event, DataReceived):
            self._bodies[event.stream_id] += event.data
            self.multiplexer.consume(event.stream_id, len(event.data), 0.0)
        elif isinstance(event, EndReceived) and self.multiplexer.is_open(event.stream_id):
            body = self._bodies[event.stream_id]
            length = [(b"Content-Length", b"%d" % len(body))]
            self.multiplexer.send_head(event.stream_id, ResponseHead(200, length, b"OK"))
            if not body.startswith(b"HEAD "):
                self.multiplexer.send_data(event.stream_id, body)
            self.multiplexer.send_end(event.stream_id)


def joined(events: list[MultiplexerEvent]) -> list[MultiplexerEvent]:
    """The events, pieces of a body joined, without those of streams that are over."""
    found: list[MultiplexerEvent] = []
    for event in events:
        before = found[-1] if found else None
        if isinstance(event, DataReceived) and isinstance(before, DataReceived):
            found[-1] = DataReceived(event.stream_id, before.data + event.data)
        elif not isinstance(event, StreamClosed):
            found.append(event)
    return found
