"""The peer's requests: one message each, one at a time, and their answers."""

from __future__ import annotations

import re

import pytest

from restsock._options import Limits
from restsock.protocol import ResetCode, ResponseHead
from restsock.swaggersocket.engine._peer_requests import PeerRequests

from .ends import End, frame, shaken

GET = b"GET / HTTP/1.1\r\nHost: a\r\nX-Correlation-Id: c-1\r\n\r\n"
HEAD = [("request", b"GET", b"/", [(b"Host", b"a"), (b"X-Correlation-Id", b"c-1")]), ("end", [])]


def messages(data: bytes) -> list[bytes]:
    """The text messages in what a listener has sent."""
    found = []
    while data:
        assert data[0] == 0x81
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        found.append(data[at : at + size])
        data = data[at + size :]
    return found


def statuses(end: End) -> list[int]:
    return [int(s) for s in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", end.taken())]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"nonsense", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", 400),
        (GET + b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
@pytest.mark.parametrize("role", ["listener", "dialer"])
def test_what_is_no_request_is_answered_and_the_next_is_served(
    message: bytes, status: int, role: str
) -> None:
    end = shaken(role)
    end.receive(frame(message, to=end))
    assert statuses(end) == [status]
    end.told()
    end.receive(frame(GET, to=end))
    assert end.told() == HEAD
    end.respond(200, [], b"x")
    assert statuses(end) == [200]
    assert end.problem is None
    assert end.notes[0][0] == "malformed"


def test_a_head_without_an_end_is_refused_at_its_bound() -> None:
    end = shaken("listener", limits=Limits(max_head=1024))
    end.receive(frame(b"GET / HTTP/1.1\r\nHost: a\r\n", to=end, fin=False))
    for _ in range(100):
        end.receive(frame(b"A: " + b"x" * 50 + b"\r\n", to=end, opcode=0, fin=False))
    assert statuses(end) == [431]
    assert end.layer.peer.backlog <= 256  # the rest is dropped as it comes
    end.receive(frame(b"", to=end, opcode=0))
    end.receive(frame(GET, to=end))
    assert end.told() == HEAD


def test_chunks_without_an_end_are_held_back_by_credit() -> None:
    limits = Limits(initial_window=16 * 1024, max_window=16 * 1024, receive_budget=0)
    end = shaken("listener", limits=limits, consume=False)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    end.receive(frame(head, to=end, fin=False))
    count = 0
    while not end.layer.paused:
        end.receive(frame(b"400\r\n" + b"x" * 1024 + b"\r\n", to=end, opcode=0, fin=False))
        count += 1
        assert count < 100
    assert sum(len(event[1]) for event in end.told() if event[0] == "data") <= 16 * 1024


def test_a_body_that_is_too_large_is_a_413() -> None:
    end = shaken("listener", limits=Limits(max_body=10))
    end.receive(
        frame(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n" + bytes(11), to=end)
    )
    assert statuses(end) == [413]
    end.receive(frame(GET, to=end))
    assert end.told()[-2:] == HEAD


def test_requests_are_answered_in_order_one_at_a_time() -> None:
    end = shaken("listener")
    wire = b"".join(frame(GET.replace(b"c-1", b"c-%d" % n), to=end) for n in range(3))
    end.receive(wire)
    for number in range(3):
        assert len([event for event in end.told() if event[0] == "request"]) == 1
        end.respond(200, [], b"%d" % number)
        (answer,) = messages(end.taken())
        assert answer.endswith(b"\r\nX-Correlation-Id: c-%d\r\n\r\n%d" % (number, number))
        end.receive(b"")


def test_a_response_waits_for_no_request_of_this_side_nor_the_other_way_round() -> None:
    end = shaken("listener")
    end.receive(frame(GET, to=end))
    end.multiplexer.send_head(1, ResponseHead(200, []))
    end.multiplexer.send_data(1, b"begun")
    end.taken()
    end.request(target="/own")
    assert end.taken() == b""  # a message in the middle of a response would be a part of it
    end.multiplexer.send_end(1)
    last, own = messages(end.taken())
    assert last == b"0\r\n\r\n"
    assert own.startswith(b"GET /own ")
    # While this side waits, it serves.
    end.told()
    end.receive(frame(GET, to=end))
    assert end.told() == HEAD


def test_the_answer_to_a_request_of_this_side_passes_requests_that_wait() -> None:
    end = shaken("listener")
    end.request(target="/own")
    end.receive(frame(GET, to=end))
    end.receive(frame(GET, to=end))
    end.told()
    end.receive(frame(b"HTTP/1.1 204 No Content\r\nX-Correlation-Id: id-1\r\n\r\n", to=end))
    assert ("response", 204, [(b"X-Correlation-Id", b"id-1")]) in end.told()


def test_interim_responses_and_ids_of_the_app_do_not_leave() -> None:
    end = shaken("listener")
    end.receive(frame(GET, to=end))
    end.multiplexer.send_head(1, ResponseHead(103, [(b"Link", b"x")]))
    end.multiplexer.send_head(1, ResponseHead(200, [(b"x-correlation-id", b"other")]))
    end.multiplexer.send_end(1)
    (answer,) = messages(end.taken())
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.lower().count(b"x-correlation-id") == 1
    assert b"\r\nX-Correlation-Id: c-1\r\n" in answer
    assert b"Connection" not in answer


def test_a_request_without_an_id_is_answered_without_one() -> None:
    end = shaken("listener")
    end.receive(frame(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", to=end))
    end.respond()
    (answer,) = messages(end.taken())
    assert b"orrelation" not in answer
    assert b"onnection" not in answer
    end.receive(frame(GET, to=end))
    assert end.told()[-2:] == HEAD


def test_a_wish_to_upgrade_is_passed_over() -> None:
    end = shaken("listener")
    fields = b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    end.receive(frame(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", to=end))
    assert end.told() == [("request", b"GET", b"/", [(b"Host", b"a")]), ("end", [])]


def test_an_early_answer_does_not_wait_for_the_rest_of_the_body() -> None:
    end = shaken("listener")
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    end.receive(frame(head + b"begun", to=end, fin=False))
    end.respond(200, [], b"early")
    assert statuses(end) == [200]
    end.receive(frame(bytes(500), to=end, opcode=0, fin=False))
    end.receive(frame(bytes(495), to=end, opcode=0))
    end.told()
    end.receive(frame(GET, to=end))
    assert end.told() == HEAD
    assert statuses(end) == []


@pytest.mark.parametrize(
    ("code", "status"),
    [(ResetCode.INTERNAL, 500), (ResetCode.TIMEOUT, 504), (ResetCode.REFUSED, 503)],
)
def test_a_reset_before_the_answer_is_one(code: ResetCode, status: int) -> None:
    end = shaken("listener")
    end.receive(frame(GET, to=end))
    end.multiplexer.reset_stream(1, code)
    (answer,) = messages(end.taken())
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nX-Correlation-Id: c-1\r\n" in answer
    assert not end.layer.peer.broken


def test_a_reset_in_the_middle_of_an_answer_breaks_the_connection() -> None:
    end = shaken("listener")
    end.receive(frame(GET, to=end))
    end.multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"10")]))
    end.multiplexer.send_data(1, b"begun")
    end.taken()
    end.multiplexer.reset_stream(1, ResetCode.CANCEL)
    assert end.taken() == b""
    assert end.layer.peer.broken


def test_requests_after_a_goaway_get_a_503() -> None:
    end = shaken("listener")
    end.multiplexer.send_goaway(1001)
    assert end.taken() == b""
    end.receive(frame(GET, to=end))
    assert end.told() == []
    assert statuses(end) == [503]


@pytest.mark.parametrize(
    ("code", "says"), [(1000, True), (4004, True), (1001, False), (1011, False)]
)
def test_a_listener_says_goodbye_only_for_good(code: int, says: bool) -> None:
    end = shaken("listener")
    end.layer.close(code, "why")
    assert bool(end.taken()) is says
    assert end.layer.close_sent
    assert end.layer.hung_up is not says
    dialer = shaken("dialer")
    dialer.layer.close(code, "why")
    assert dialer.taken().startswith(b"\x88")


@pytest.mark.parametrize("size", [1, 1000])
def test_a_flood_of_requests_is_held_back(size: int) -> None:
    end = shaken("listener")
    end.receive(frame(GET, to=end))
    count = 0
    while not end.layer.paused:
        end.receive(frame(b"G" * size, to=end))
        count += 1
        assert count < 300
    assert end.layer.peer.backlog < 80_000
    # What was read with them waits as it came.
    end.receive(frame(b"G", to=end) * 10_000)
    assert len(end.layer.peer._messages) < 400
    end.respond()
    end.settle()
    assert statuses(end).count(400) == count + 10_000
    assert not end.layer.paused
    end.told()
    end.receive(frame(GET, to=end))
    assert end.told() == HEAD


def test_answers_wait_for_the_socket_to_take_those_before() -> None:
    """A peer that sends what is no request, and reads nothing, fills no memory."""
    end = shaken("listener")
    wrong = frame(b"x", to=end)
    sent = 0
    while not end.layer.paused:
        end.pipeline.receive_data(wrong * 10)
        sent += 10
        assert sent < 5000
    assert sum(map(len, end.layer.out)) < 64 * 1024
    found = statuses(end)
    assert found == [400] * sent
    assert not end.layer.paused
    end.receive(frame(GET, to=end))
    end.respond()
    assert statuses(end) == [200]


def test_a_field_of_the_app_is_kept_where_the_request_has_none() -> None:
    end = shaken("listener")
    for request, id in ((GET, b"c-1"), (GET.replace(b"X-Correlation-Id: c-1\r\n", b""), b"of-app")):
        end.receive(frame(request, to=end))
        end.respond(headers=[(b"X-Correlation-Id", b"of-app")])
        out = end.taken()
        assert out.count(b"X-Correlation-Id: ") == 1
        assert b"\r\nX-Correlation-Id: " + id + b"\r\n" in out


def test_tiny_fragments_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each of them cost alone would be much more than its bytes: a head is looked through."""
    sizes: list[int] = []

    def receive_part(self: PeerRequests, data: bytes, *, end: bool) -> None:
        sizes.append(len(data))
        before(self, data, end=end)

    before = PeerRequests.receive_part
    monkeypatch.setattr(PeerRequests, "receive_part", receive_part)
    end = shaken("listener")
    request = GET.replace(b"\r\n\r\n", b"\r\nA: " + b"x" * 5000 + b"\r\n\r\n")
    pieces = [request[at : at + 1] for at in range(len(request))]
    frames = [frame(pieces[0], to=end, fin=False)]
    frames += [frame(piece, to=end, opcode=0, fin=False) for piece in pieces[1:]]
    end.receive(b"".join(frames) + frame(b"", to=end, opcode=0))
    assert end.told()[-1] == ("end", [])
    assert sum(sizes) == len(request)
    assert len(sizes) < len(request) / 30
