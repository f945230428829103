"""EventBuffer: bodies are told in few events, in order."""

from __future__ import annotations

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
