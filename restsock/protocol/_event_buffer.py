"""What has happened and has not been told yet, in order."""

from __future__ import annotations

from ._events import DataReceived, MultiplexerEvent, Ping, Pong

__all__ = ["EventBuffer"]

# Pieces of a body are joined up to this size, in bytes: what comes in frames of that size is handed
# on as it came.
_JOINED = 64 * 1024

# Of PING and PONG frames that nobody takes, the latest are kept: an honest peer has one under way.
_MAX_BEATS = 16


class EventBuffer:
    """Events in order, and bodies whose small pieces are joined until they are taken.

    An event costs more than a copy of a few bytes, and credit counts bytes. Pieces can be joined
    because no other event of their stream ever comes between them.

    Attributes:
        ready: the events; one of a body still lacks all pieces but its first.
        beats: the latest PING and PONG frames.
    """

    __slots__ = ("_pieces", "beats", "ready")

    def __init__(self) -> None:
        self.ready: list[MultiplexerEvent] = []
        self.beats: tuple[Ping | Pong, ...] = ()
        self._pieces: dict[int, tuple[int, list[bytes]]] = {}  # by stream: index of the event, data

    def add_beat(self, beat: Ping | Pong) -> None:
        """Adds a PING or a PONG."""
        self.beats = (*self.beats, beat)[-_MAX_BEATS:]

    def add_data(self, stream_id: int, data: bytes) -> None:
        """Adds a piece of the body of a stream."""
        found = self._pieces.get(stream_id)
        if found is not None:
            found[1].append(data)
        else:
            self._pieces[stream_id] = len(self.ready), [data]
            self.ready.append(DataReceived(stream_id, data))

    def drop_data(self, stream_id: int) -> None:
        """Takes back what has come of the body of a stream."""
        self.ready = [
            event
            for event in self.take()
            if not (isinstance(event, DataReceived) and event.stream_id == stream_id)
        ]

    def take(self) -> list[MultiplexerEvent]:
        """Takes the events that have happened since the last call."""
        ready, self.ready = self.ready, []
        if not self._pieces:
            return ready
        for stream_id, (at, pieces) in reversed(self._pieces.items()):
            if len(pieces) > 1:
                ready[at : at + 1] = [DataReceived(stream_id, data) for data in _joined(pieces)]
        self._pieces.clear()
        return ready


def _joined(pieces: list[bytes]) -> list[bytes]:
    found: list[bytes] = []
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece) > _JOINED:
            found.append(b"".join(group))
            group, size = [], 0
        group.append(piece)
        size += len(piece)
    return [*found, b"".join(group)]
