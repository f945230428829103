"""What has happened and is not told yet, in order."""

from __future__ import annotations

from ._events import DataReceived, MultiplexerEvent, StreamEvent

__all__ = ["EventBuffer"]


# Pieces of a body are joined up to this size, in bytes: what comes in frames of that size is handed
# on as it came.
_JOINED = 64 * 1024


class EventBuffer:
    """Events in order, and bodies whose small pieces are joined until somebody looks.

    An event costs more than a copy of a few bytes, and credit counts bytes.

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
        """Makes events of the pieces of a body."""
        group: list[bytes] = []
        size = 0
        for piece in self.pieces.pop(stream_id):
            if group and size + len(piece) > _JOINED:
                self.ready.append(DataReceived(stream_id, b"".join(group)))
                group, size = [], 0
            group.append(piece)
            size += len(piece)
        self.ready.append(DataReceived(stream_id, b"".join(group)))
