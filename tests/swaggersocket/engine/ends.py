"""One end of a connection of swaggersocket, without I/O, for bytes and acts of a test."""

from __future__ import annotations

from typing import Any

from restsock._exceptions import RemoteProtocolError
from restsock._options import Heartbeat, Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
    HandshakeCompleted,
    HelloReceived,
    MultiplexerEvent,
    Pipeline,
    RequestHead,
    RequestReceived,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
    WebSocketEvent,
)
from restsock.swaggersocket.engine import OneAtATime, SwaggersocketLayer
from tests.protocol.vectors import load

VECTORS = load("swaggersocket.json")
DATE = b"Sat, 21 Nov 2026 03:09:09 GMT"
MASK = bytes(4)  # as in the vectors


class End:
    """A layer and its multiplexer, after the upgrade.

    Attributes:
        out: what it has sent.
        events: what its multiplexer has told.
        others: what it has told beside that: pings, pongs and a close.
        problem: with which it would close.
        now: the time, in seconds.
        notes: for the log.
    """

    def __init__(
        self,
        role: str,
        *,
        limits: Limits | None = None,
        max_request: int = 1024 * 1024,
        name_of: Any = lambda metadata: None,
        consume: bool = True,
    ) -> None:
        self.dialer = role == "dialer"
        self.limits = limits or Limits()
        self.now = 100.0
        self.layer = SwaggersocketLayer(
            dialer=self.dialer,
            limits=self.limits,
            scheme="http",
            date=lambda: DATE,
            clock=lambda: self.now,
            mask_key=(lambda: MASK) if self.dialer else None,
            new_id=lambda: "id-1",
            name_of=name_of,
            patience=10.0,
        )
        self.multiplexer = OneAtATime(
            self.layer.own,
            max_request,
            dialer=self.dialer,
            limits=self.limits,
            heartbeat=Heartbeat(interval=None),
            new_id=lambda: "id",
            unix_ms=lambda: 0,
        )
        self.pipeline = Pipeline(self.layer, self.multiplexer)
        self.layer.on_turn = self._on_turn
        self.out = b""
        self.events: list[MultiplexerEvent] = []
        self.others: list[WebSocketEvent] = []
        self.problem: RemoteProtocolError | None = None
        self.notes: list[tuple[str, str]] = []
        self.consumes = consume
        self._turns = False

    def _on_turn(self) -> None:
        self._turns = True

    def receive(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.problem is None:
                self._take(piece)
                self.settle()

    def _take(self, data: bytes) -> None:
        try:
            self.others += self.pipeline.receive_data(data)
        except RemoteProtocolError as exc:
            self.problem = exc
        for event in self.multiplexer.events.take():
            self.events.append(event)
            self.react(event)

    def react(self, event: MultiplexerEvent) -> None:
        """What the application does. Bytes are used up."""
        if isinstance(event, DataReceived) and self.consumes:
            self.multiplexer.consume(event.stream_id, len(event.data), self.now)

    def settle(self) -> None:
        """Sends what is due, and takes turns, until there is nothing to do."""
        while True:
            data = self.pipeline.data_to_send()
            self.out += data
            if self._turns:
                self._turns = False
                self.notes += self.layer.take_turn()
                self._take(b"")
            elif not data:
                return

    def taken(self) -> bytes:
        """What it has sent since the last call."""
        self.settle()
        out, self.out = self.out, b""
        return out

    def told(self) -> list[Any]:
        """The events since the last call, in words; bytes of one body are joined."""
        events, self.events = self.events, []
        found: list[Any] = []
        for event in events:
            if isinstance(event, RequestReceived):
                head = event.head
                found.append(("request", head.method, head.target, list(head.headers)))
            elif isinstance(event, ResponseReceived):
                found.append(("response", event.head.status, list(event.head.headers)))
            elif isinstance(event, DataReceived):
                if found and found[-1][0] == "data":
                    found[-1] = ("data", found[-1][1] + event.data)
                else:
                    found.append(("data", event.data))
            elif isinstance(event, EndReceived):
                found.append(("end", list(event.trailers)))
            elif isinstance(event, StreamFailed):
                found.append(("failed", event.code, event.by_peer))
            elif isinstance(event, (HelloReceived, HandshakeCompleted)):
                found.append(event)
        return found

    @property
    def latest(self) -> int:
        """The number of the latest stream of the peer."""
        return self.multiplexer.last_peer_stream_id

    # --- acts -----------------------------------------------------------------------------

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Any = ((b"Host", b"x"),),
        body: bytes = b"",
    ) -> int:
        """Sends a whole request."""
        head = RequestHead(method.encode(), target.encode(), list(headers))
        stream_id = self.multiplexer.open_stream(head, end=not body)
        if body:
            self.multiplexer.send_data(stream_id, body)
            self.multiplexer.send_end(stream_id)
        self.settle()
        return stream_id

    def respond(self, status: int = 200, headers: Any = (), body: bytes = b"") -> None:
        """Sends a whole response to the latest request."""
        self.multiplexer.send_head(self.latest, ResponseHead(status, list(headers)))
        self.multiplexer.send_data(self.latest, body)
        self.multiplexer.send_end(self.latest)
        self.settle()


def shaken(role: str, **options: Any) -> End:
    """An end after the recorded handshake."""
    end = End(role, **options)
    steps = VECTORS["handshake"][0]
    first, ack = map(bytes.fromhex, steps["dialer"])
    (told,) = map(bytes.fromhex, steps["listener"])
    if end.dialer:
        end.multiplexer.send_hello(None, steps["metadata"])
        assert end.taken() == first
        end.receive(told)
        assert end.taken() == ack
    else:
        end.receive(first)
        end.multiplexer.send_welcome(steps["connection_id"])
        assert end.taken() == told
        end.receive(ack)
    assert end.multiplexer.connection_id == steps["connection_id"]
    assert end.problem is None
    end.events.clear()
    return end


def frame(payload: bytes, *, to: End, opcode: int = 1, fin: bool = True) -> bytes:
    """A frame for an end: masked, if that is a listener."""
    mask = b"" if to.dialer else MASK
    bit = 0 if to.dialer else 0x80
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + len(payload).to_bytes(8, "big")
    return head + mask + payload
