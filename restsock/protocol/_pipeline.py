"""Pipeline: the bytes of a socket to the HTTP exchanges on it and back, without I/O.

    socket bytes  <->  TLS, if there is any  <->  WebSocket  <->  Multiplexer

`ws` and `wss` take one path, in the loop and in any other thread. In the place of the WebSocket may
be another `MessageLayer`: one that makes frames of what a client of plain HTTP sends.

Order of calls: `receive_data()` with what has come (once with nothing to begin with: the handshake
may have left something), then the events of `multiplexer`; and `data_to_send()` after anything that
may have given it something to say.
"""

from __future__ import annotations

from typing import Protocol

from restsock._exceptions import RemoteProtocolError

from ._events import BinaryMessage, ParsedRequest, Ping, TextMessage, WebSocketEvent
from ._multiplexer import Multiplexer
from ._tls import TLS

__all__ = ["MessageLayer", "Pipeline"]

# Plain bytes that leave in one send: enough to make the system call cheap, little enough that a
# frame that becomes due meanwhile does not wait long.
_BATCH = 64 * 1024


class MessageLayer(Protocol):
    """What stands between the bytes and the multiplexer: a `WebSocket`, or what takes its place."""

    events: list[WebSocketEvent]

    @property
    def close_sent(self) -> bool: ...

    @property
    def close_received(self) -> bool: ...

    @property
    def answers_close(self) -> bool:
        """Whether its peer answers a close with one of its own; else the end is the answer."""

    @property
    def out(self) -> list[bytes | bytearray | memoryview]: ...

    @property
    def pongs(self) -> list[bytes]: ...

    @property
    def paused(self) -> bool:
        """Whether no more bytes should be read for now."""

    def receive_data(self, data: bytes) -> None: ...

    def next_event(self) -> WebSocketEvent | None: ...

    def send_text(self, data: str) -> None: ...

    def send_binary(self, *parts: bytes | memoryview) -> int: ...

    def send_ping(self, payload: bytes = ...) -> None: ...

    def close(self, code: int = ..., reason: str = ...) -> None: ...

    def data_to_send(self) -> bytes: ...


class Pipeline:
    """All that stands between a socket and the exchanges.

    Attributes:
        tls: after its handshake; `None` for `ws`.
        websocket: after its upgrade, or what is in its place.
        multiplexer: from its handshake on.
        ping_frames: whether it pings by frames of restsock.v1, since something in between sends no
            Ping of the WebSocket (spec, "Heartbeat").
        ended: whether the peer has said, by TLS, that it sends no more.
    """

    __slots__ = ("ended", "multiplexer", "ping_frames", "tls", "websocket")

    def __init__(
        self, websocket: MessageLayer, multiplexer: Multiplexer, tls: TLS | None = None
    ) -> None:
        self.websocket = websocket
        self.multiplexer = multiplexer
        self.tls = tls
        self.ping_frames = False
        self.ended = tls is not None and tls.ended

    # --- in -------------------------------------------------------------------------------

    def decode(self, data: bytes) -> None:
        """Takes in bytes of the socket, as far as the events of `websocket`.

        Raises:
            RemoteProtocolError: the peer broke the WebSocket; what was whole before that can be
                read.
            ssl.SSLError: the peer broke TLS.
        """
        tls = self.tls
        if tls is None:
            self.websocket.receive_data(data)
            return
        if data:
            tls.receive_data(data)
        else:
            self.websocket.receive_data(b"")  # goes on with what it has
        while plain := tls.read():
            self.websocket.receive_data(plain)
            if not tls.has_input:
                break  # to find that out by reading costs an exception
        self.ended = tls.ended

    def receive_data(self, data: bytes) -> list[WebSocketEvent]:
        """Takes in bytes of the socket, as far as the events of `multiplexer`.

        Returns:
            What is not for the multiplexer: pings, pongs and a close, in order.

        Raises:
            RemoteProtocolError: as `decode`, or from the multiplexer; the same holds.
            ssl.SSLError: the peer broke TLS; the same holds.
        """
        problem: RemoteProtocolError | OSError | None = None
        try:
            if self.tls is None:  # every read comes through here
                self.websocket.receive_data(data)
            else:
                self.decode(data)
        except (RemoteProtocolError, OSError) as exc:  # an SSLError is an OSError
            problem = exc
        others: list[WebSocketEvent] = []
        events, self.websocket.events = self.websocket.events, []
        for event in events:
            if isinstance(event, BinaryMessage):
                self.multiplexer.receive_message(event.data, event.rest)
            elif isinstance(event, ParsedRequest):
                self.multiplexer.receive_request(event)
            elif isinstance(event, TextMessage):
                self.multiplexer.receive_message(event.data)
            else:
                others.append(event)
        if self.multiplexer.events.beats:
            # Where it pings by the WebSocket, a PONG frame answers nothing.
            beats = self.multiplexer.take_beats()
            others += (beat for beat in beats if self.ping_frames or isinstance(beat, Ping))
        if problem is not None:
            raise problem
        return others

    # --- out ------------------------------------------------------------------------------

    @property
    def can_ping(self) -> bool:
        """Whether the peer answers what `send_ping()` sends."""
        return not self.ping_frames or self.multiplexer.peer.ping_frames

    def send_ping(self, payload: bytes) -> None:
        """Queues a ping of 8 bytes; its answer is a `Pong`. Nothing after a close."""
        if self.websocket.close_sent:
            return
        if self.ping_frames:
            self.multiplexer.send_ping(payload)
        else:
            self.websocket.send_ping(payload)

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send()` has something to give."""
        # Asked for each write, so without another call for each layer.
        multiplexer, websocket, tls = self.multiplexer, self.websocket, self.tls
        return bool(
            multiplexer.control
            or multiplexer.ring
            or websocket.out
            or websocket.pongs
            or (tls is not None and tls.outgoing.pending)
        )

    def data_to_send(self, closing: tuple[int, str] | None = None) -> bytes:
        """Takes a batch of what is due; empty when nothing is.

        Args:
            closing: code and reason of the close frame that is to end the batch.
        """
        multiplexer, websocket, tls = self.multiplexer, self.websocket, self.tls
        size = 0
        while size < _BATCH and (multiplexer.control or multiplexer.ring):
            message = None if websocket.close_sent else multiplexer.next_message()
            if message is None:
                break
            if isinstance(message, str):
                size += len(message)
                websocket.send_text(message)
            else:
                size += websocket.send_binary(*message)
        if closing is not None:
            websocket.close(*closing)
        data = websocket.data_to_send() if websocket.out or websocket.pongs else b""
        if tls is None:
            return data
        if data and not tls.broken:  # else who reads ends it, and only the alert is to leave
            tls.send_data(data)
        if websocket.close_sent and websocket.close_received:
            tls.close()
        return tls.data_to_send() if tls.outgoing.pending else b""
