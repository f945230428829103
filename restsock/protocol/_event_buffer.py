"""What has happened and is not told yet, in order."""

from __future__ import annotations

from ._events import DataReceived, MultiplexerEvent, StreamEvent

__all__ = ["EventBuffer"]


class EventBuffer:
    """Events in order, and bodies whose pieces are joined until somebody looks.

    An event costs more than a copy, and credit counts bytes.

    Attributes:
        ready: events that may be told.
        pieces: of bodies, by stream; `flush()` makes events of them.
    """

    __slots__ = ("pieces", "ready")

    def __init__(self) -> None:
        self.ready: list[MultiplexerEvent] = []
        self.pieces: dict[int, list[bytes]] = {}

    def tell(self, event: StreamEvent) -> None:
        """Adds an event of a stream, after the bytes that came before it."""
        if event.stream_id in self.pieces:
            self.flush(event.stream_id)
        self.ready.append(event)

    def flush(self, stream_id: int) -> None:
        """Makes an event of the pieces of a body."""
        pieces = self.pieces.pop(stream_id)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.ready.append(DataReceived(stream_id, data))
