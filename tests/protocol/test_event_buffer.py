"""EventBuffer: bodies are told in few events, in order."""

from __future__ import annotations

from restsock._options import Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
)
from tests.protocol.by_hand import (
    data,
    head,
)
from tests.protocol.vectors import (
    events,
    open_multiplexer,
)


def test_long_pieces_are_handed_on_as_they_came() -> None:
    multiplexer = open_multiplexer("listener", Limits(initial_window=2**20))
    multiplexer.receive_message(head(1, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", end=False))
    events(multiplexer)
    short, long = b"a" * 20_000, b"b" * 60_000
    for piece in (short, short, short, long, long, short):
        multiplexer.receive_message(data(1, piece))
    told = [e.data for e in events(multiplexer) if isinstance(e, DataReceived)]
    assert told == [short * 3, long, long, short]


def test_small_pieces_are_joined_across_streams() -> None:
    """Credit counts bytes; a peer shall not make many objects of few bytes."""
    multiplexer = open_multiplexer("listener")
    request = b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"
    for stream_id in (1, 3, 5):
        multiplexer.receive_message(head(stream_id, request, end=False))
    events(multiplexer)
    for _ in range(1000):
        for stream_id in (1, 3, 5):
            multiplexer.receive_message(data(stream_id, b"ab"))
    multiplexer.receive_message(data(3, b"", end=True))
    told = events(multiplexer)
    assert len(told) < 12
    for stream_id in (1, 3, 5):
        pieces = [e.data for e in told if isinstance(e, DataReceived) and e.stream_id == stream_id]
        assert b"".join(pieces) == b"ab" * 1000
    ends = [at for at, e in enumerate(told) if isinstance(e, EndReceived)]
    assert all(e.stream_id != 3 for e in told[ends[0] + 1 :] if isinstance(e, DataReceived))
