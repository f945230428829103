"""Heads as h11 alone reads them, and heads to write: what two of the targets share."""

from __future__ import annotations

import h11

from restsock.protocol import RequestHead, ResponseHead

__all__ = ["RS", "read_request", "read_response", "to_write"]

# Parts what is to be written. It may stand nowhere in a head, so nothing is lost by it.
RS = b"\x1e"


def to_write(data: bytes) -> RequestHead | ResponseHead:
    """A head out of `method RS target RS name RS value ...`, or `status RS reason RS ...`.

    The parts are any bytes at all, line ends too: what an app hands over is no better.
    """
    first, second, *rest = [*data.split(RS), b"", b""]
    headers = list(zip(rest[::2], rest[1::2], strict=False))[: max(0, data.count(RS) // 2)]
    if first.isdigit() and len(first) <= 4:
        return ResponseHead(int(first), headers, second)
    return RequestHead(first, second, headers)


def read_request(data: bytes) -> RequestHead:
    """What h11 makes of the bytes of a whole request head."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request), event
    assert connection.trailing_data[0] == b""
    return RequestHead(event.method, event.target, event.headers.raw_items())


def read_response(data: bytes) -> ResponseHead:
    """What h11 makes of the bytes of a whole response head."""
    connection = h11.Connection(h11.CLIENT)
    asked = [(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"x")]
    connection.send(h11.Request(method=b"GET", target=b"/", headers=asked))
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, (h11.Response, h11.InformationalResponse)), event
    assert connection.trailing_data[0] == b""
    return ResponseHead(event.status_code, event.headers.raw_items(), event.reason)
