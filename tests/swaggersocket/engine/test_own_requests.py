"""This side's requests: what leaves, how responses are read, and what is dropped."""

from __future__ import annotations

import tracemalloc

import pytest

from restsock._exceptions import LocalProtocolError
from restsock._options import Limits
from restsock.protocol import RequestHead, ResetCode

from .ends import End, frame, shaken

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Correlation-Id: id-1\r\n\r\nok"


def asked(**options: object) -> End:
    end = shaken("dialer", **options)
    end.request()
    end.out = b""
    return end


def sent(end: End) -> bytes:
    """The one message that it has sent, without its header."""
    out = end.taken()
    size, at = out[1] & 0x7F, 6
    if size == 126:
        size, at = int.from_bytes(out[2:4], "big"), 8
    assert len(out) == at + size
    return out[at:]


def test_a_request_is_one_message_with_an_id_and_a_length() -> None:
    end = shaken("dialer")
    head = RequestHead(b"POST", b"/p", [(b"Host", b"x"), (b"Expect", b"100-continue")])
    stream_id = end.multiplexer.open_stream(head)
    for piece in (b"a", b"b" * 70_000, b"c"):
        end.multiplexer.send_data(stream_id, piece)
        assert end.taken() == b""  # it waits to be whole
    assert not end.multiplexer.announced(stream_id)
    end.multiplexer.send_end(stream_id)
    out = end.taken()
    assert end.multiplexer.announced(stream_id)
    assert out[:2] == b"\x81\xff"
    head_out, _, body = out[14:].partition(b"\r\n\r\n")
    assert head_out.split(b"\r\n") == [
        b"POST /p HTTP/1.1",
        b"Host: x",
        b"Content-Length: 70002",
        b"X-Correlation-Id: id-1",
    ]
    assert body == b"a" + b"b" * 70_000 + b"c"


def test_an_id_of_the_caller_is_kept() -> None:
    end = shaken("dialer")
    end.request(headers=[(b"Host", b"x"), (b"x-correlation-id", b"mine"), (b"A", b"b")])
    assert b"\r\nA: b\r\nX-Correlation-Id: mine\r\n" in sent(end)
    end.receive(frame(OK.replace(b"id-1", b"mine"), to=end))
    assert end.told()[-1] == ("end", [])


def test_one_request_at_a_time() -> None:
    end = asked()
    assert not end.multiplexer.can_open
    end.receive(frame(OK, to=end))
    assert end.multiplexer.can_open


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_cannot_be_sent(upgrade: bytes) -> None:
    end = shaken("dialer")
    fields = [(b"Host", b"x"), (b"Connection", b"upgrade"), (b"Upgrade", upgrade)]
    with pytest.raises(LocalProtocolError, match="upgrade"):
        end.request(headers=fields)
    assert end.taken() == b""
    end.request()  # and nothing is in the way


@pytest.mark.parametrize("told", [True, False])
def test_a_body_that_is_too_long_cannot_be_sent(told: bool) -> None:
    end = shaken("dialer", max_request=100)
    fields = [(b"Host", b"x"), *([(b"Content-Length", b"101")] if told else [])]
    stream_id = 0
    with pytest.raises(LocalProtocolError, match="max_request"):
        stream_id = end.multiplexer.open_stream(RequestHead(b"POST", b"/", fields))
        end.multiplexer.send_data(stream_id, bytes(60))
        end.settle()
        end.multiplexer.send_data(stream_id, bytes(41))
    if stream_id:
        assert not end.multiplexer.announced(stream_id)
        end.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
    assert end.taken() == b""
    assert end.multiplexer.can_open
    end.request("POST", body=bytes(100))
    assert len(sent(end)) > 100


@pytest.mark.parametrize(
    ("responses", "body"),
    [
        ([OK], b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], b"ok"),
        ([b"HTTP/1.1 204 No Content\r\nX-Correlation-Id: id-1\r\n\r\n"], b""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"c", b"d"], b"abcd"),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"0\r\n\r\n"],
            b"a",
        ),
        (
            [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request"],
            b"400 Bad Request",
        ),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"], b"ok"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", b"", b"cd"], b"abcd"),
    ],
)
def test_responses(responses: list[bytes], body: bytes) -> None:
    end = asked()
    end.receive(*(frame(response, to=end) for response in responses))
    told = [event for event in end.told() if event[0] != "response" or event[1] >= 200]
    assert told[0][0] == "response"
    assert b"".join(event[1] for event in told if event[0] == "data") == body
    assert told[-1] == ("end", [])
    assert end.multiplexer.can_open
    assert end.problem is None


def test_trailers_are_told() -> None:
    end = asked()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    end.receive(frame(head + b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n", to=end))
    assert end.told()[-1] == ("end", [(b"X-Sum", b"1")])


def test_an_answer_with_another_id_is_dropped() -> None:
    end = asked()
    late = OK.replace(b"id-1", b"id-0").replace(b"ok", b"no")
    end.receive(frame(late, to=end))
    assert end.told() == []
    assert not end.multiplexer.can_open
    end.receive(frame(OK, to=end))
    assert [event[0] for event in end.told()] == ["response", "data", "end"]
    assert end.notes == [("stray", "dropped an answer with the correlation id of another request")]


def test_an_answer_may_tell_its_id_more_than_once() -> None:
    """An app of the original may set the field that its library adds as well."""
    end = asked()
    end.receive(frame(OK.replace(b"\r\n\r\n", b"\r\nX-Correlation-Id: id-1\r\n\r\n"), to=end))
    assert [event[0] for event in end.told()] == ["response", "data", "end"]
    end.request()
    others = b"\r\nX-Correlation-Id: of-the-app\r\n\r\n"
    end.receive(frame(OK.replace(b"\r\n\r\n", others), to=end))
    assert [event[0] for event in end.told()] == ["response", "data", "end"]
    assert end.notes == []


def test_an_answer_to_nothing_is_dropped_whole() -> None:
    end = shaken("dialer")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = b"12\r\nGET / HTTP/1.1\r\n\r\n\r\n"  # which is a part of it
    for message in (head, b"1\r\na\r\n", request, b""):
        end.receive(frame(message, to=end))
    assert end.layer.own.reading
    end.receive(frame(b"0\r\n\r\n", to=end))
    assert end.told() == []
    assert end.notes == [("stray", "dropped an answer to nothing")]
    assert end.taken() == b""
    end.request()
    end.receive(frame(OK, to=end))
    assert end.told()[-1] == ("end", [])


def test_an_empty_message_is_a_lost_response() -> None:
    end = asked()
    end.receive(frame(b"", to=end))
    assert end.told() == [("failed", ResetCode.INTERNAL, True)]
    assert end.multiplexer.can_open
    end.receive(frame(b"", to=end))  # of nothing
    end.request()
    end.receive(frame(OK, to=end))
    assert end.told()[-1] == ("end", [])


def test_an_empty_message_may_end_the_response_before() -> None:
    """The original sends one after a flush, where its app had told the length."""
    end = asked()
    end.receive(frame(OK, to=end))
    end.told()
    end.request()
    end.receive(frame(b"", to=end))
    assert end.told() == []
    assert end.layer.due_at == end.now + 1.0
    end.receive(frame(OK, to=end))
    assert end.told()[-1] == ("end", [])
    # Where no answer follows, it was one that is lost.
    end.request()
    end.receive(frame(b"", to=end))
    end.now += 1.0
    assert not end.layer.time_out()
    end.receive(b"")
    assert end.told() == [("failed", ResetCode.INTERNAL, True)]
    assert end.multiplexer.can_open


def test_a_request_that_is_given_up_keeps_its_place() -> None:
    end = shaken("dialer")
    stream_id = end.request()
    end.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
    end.taken()
    assert not end.multiplexer.can_open
    assert end.layer.due_at == end.now + 10.0
    end.now += 9.0
    assert not end.layer.time_out()
    end.receive(frame(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", to=end))
    assert end.told() == []
    end.receive(frame(b"0\r\n\r\n", to=end))
    assert end.told() == []
    assert end.multiplexer.can_open
    stream_id = end.request()
    end.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
    end.settle()
    end.now += 10.0
    assert end.layer.time_out()  # the connection has to end for that


def test_a_body_in_tiny_pieces_is_kept_in_its_bytes() -> None:
    end = shaken("dialer")
    stream_id = end.multiplexer.open_stream(RequestHead(b"POST", b"/", [(b"Host", b"x")]))
    end.settle()
    tracemalloc.start()
    try:
        for _ in range(20_000):
            end.multiplexer.send_data(stream_id, b"xy")
            end.settle()
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
    end.multiplexer.send_end(stream_id)
    assert sent(end).endswith(b"\r\n\r\n" + b"xy" * 20_000)


def test_a_request_that_has_not_left_gives_its_place_back() -> None:
    end = shaken("dialer")
    stream_id = end.multiplexer.open_stream(RequestHead(b"POST", b"/", [(b"Host", b"x")]))
    end.multiplexer.send_data(stream_id, b"begun")
    end.settle()
    end.multiplexer.reset_stream(stream_id, ResetCode.CANCEL)
    assert end.taken() == b""
    assert end.multiplexer.can_open


@pytest.mark.parametrize(
    "messages",
    [
        [b"HTTP/1.1 two hundred\r\n\r\n"],
        [b"HTTP/2 200\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 70_000],
        [b"HTTP/1.1 200 OK\r\n", *[b"A: " + b"x" * 9000 + b"\r\n"] * 9],
    ],
)
def test_what_is_no_response_ends_the_connection(messages: list[bytes]) -> None:
    end = asked()
    end.receive(*(frame(message, to=end) for message in messages))
    assert end.problem is not None
    assert ("end", []) not in end.told()
    end.receive(frame(OK, to=end))
    assert end.told() == []


def test_a_response_that_never_ends_is_read_no_further_than_its_reader() -> None:
    limits = Limits(initial_window=16 * 1024, max_window=16 * 1024, receive_budget=0)
    end = asked(limits=limits, consume=False)
    end.receive(frame(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", to=end))
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    count = 0
    while not end.layer.paused:
        end.receive(frame(chunk, to=end))
        count += 1
        assert count < 40
    body = b"".join(event[1] for event in end.told() if event[0] == "data")
    assert len(body) <= 16 * 1024
    end.multiplexer.consume(1, len(body), end.now)
    end.settle()
    assert not end.layer.paused


def test_tiny_chunks_are_told_together() -> None:
    """An event for each would take a hundred times its bytes."""
    end = asked()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    end.layer.receive_data(frame(head + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n", to=end))
    assert len(end.layer.events) == 3
    end.receive(b"")
    assert end.told()[1:] == [("data", b"x" * 5000), ("end", [])]


def test_a_close_waits_for_what_came_before_it() -> None:
    limits = Limits(initial_window=16 * 1024, max_window=16 * 1024, receive_budget=0)
    end = asked(limits=limits, consume=False)
    end.receive(
        frame(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000), to=end)
        + frame(b"", to=end, opcode=8)
    )
    assert end.others == []
    assert not end.layer.close_sent
    end.multiplexer.consume(1, 16 * 1024, end.now)
    end.settle()
    assert sum(len(event[1]) for event in end.told() if event[0] == "data") == 20_000
    (close,) = end.others
    assert getattr(close, "code", None) == 1000
