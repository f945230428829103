"""The upgrade, beyond the vectors: chunking, arbitrary bytes, refusals, errors of this side."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import HandshakeError, LocalProtocolError
from restsock.protocol import ClientUpgrade, Headers, ServerUpgrade
from tests.protocol.vectors import as_bytes, load
from tests.strategies import chunked, mutated

KEY = bytes(range(16))
REQUEST = ClientUpgrade(host="a", target="/", headers=(), key=KEY).request


def make_client(headers: Headers = ()) -> ClientUpgrade:
    return ClientUpgrade(host="a", target="/", headers=headers, key=KEY)


def answer() -> bytes:
    server = ServerUpgrade()
    assert server.receive_data(REQUEST) is not None
    return server.accept()


def _serve(pieces: list[bytes]) -> object:
    server = ServerUpgrade()
    for number, piece in enumerate(pieces):
        try:
            asked = server.receive_data(piece)
        except HandshakeError as exc:
            return exc.status, server.data_to_send[:13]
        if asked is not None:
            return asked, server.trailing_data + b"".join(pieces[number + 1 :])
    return None


def _dial(pieces: list[bytes]) -> object:
    client = make_client()
    for number, piece in enumerate(pieces):
        try:
            done = client.receive_data(piece)
        except HandshakeError as exc:
            return exc.status
        if done:
            return client.trailing_data + b"".join(pieces[number + 1 :])
    return None


_ODD_REQUESTS = st.sampled_from(
    [as_bytes(c["request"]) for c in load("upgrade.json")["requests"][:-1]]
)
_ODD_ANSWERS = st.sampled_from([as_bytes(c["response"]) for c in load("upgrade.json")["responses"]])


@given(chunked(st.just(REQUEST) | mutated(st.just(REQUEST)) | mutated(_ODD_REQUESTS) | st.binary()))
def test_arbitrary_requests_raise_only_the_documented_error(
    data: tuple[bytes, list[bytes]],
) -> None:
    whole, pieces = data
    expected = _serve([whole]) if whole else None
    got = _serve(pieces)
    if isinstance(got, tuple) and isinstance(got[0], int):
        assert got in [(status, b"HTTP/1.1 %d " % status) for status in (400, 426, 431, 501)]
    # h11 may know sooner that a line cannot be right than that it is not complete.
    assert got == expected or (expected is None and got == (400, b"HTTP/1.1 400 "))


@given(chunked(st.builds(lambda tail: answer() + tail, st.binary(max_size=20))))
def test_any_chunking_of_the_answer_gives_the_same(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    assert _dial(pieces) == _dial([whole]) == whole[len(answer()) :]


@given(chunked(mutated(st.builds(answer)) | mutated(_ODD_ANSWERS) | st.binary()))
def test_arbitrary_answers_raise_only_the_documented_error(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    if whole:
        _dial([whole])
        _dial([*pieces, b""])


def test_the_socket_ends_during_the_upgrade() -> None:
    for received in (b"", REQUEST[:-2]):
        server = ServerUpgrade()
        if received:
            assert server.receive_data(received) is None
        with pytest.raises(HandshakeError):
            server.receive_data(b"")
    for received in (b"", answer()[:-2], b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nabc"):
        client = make_client()
        if received:
            assert not client.receive_data(received)
        with pytest.raises(HandshakeError) as caught:
            client.receive_data(b"")
        assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(503, True), (429, True), (500, True), (401, False), (404, False), (200, False)],
)
def test_a_refusal_says_whether_to_try_again(status: int, retryable: bool) -> None:
    refusal = ServerUpgrade().refuse(status, [(b"Retry-After", b"5")], "too busy\r\nmore")
    client = make_client()
    with pytest.raises(HandshakeError, match=f"{status}: too busy") as caught:
        client.receive_data(refusal)
    assert caught.value.status == status
    assert caught.value.retryable is retryable


def test_a_refusal_is_printable_and_short() -> None:
    client = make_client()
    body = b"\x1b[31mred\x07" + b"a" * 5000
    with pytest.raises(HandshakeError) as caught:
        client.receive_data(b"HTTP/1.1 500 x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_an_interim_answer_is_passed_over() -> None:
    client = make_client()
    assert not client.receive_data(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert client.receive_data(answer())


def test_a_head_without_end() -> None:
    server = ServerUpgrade()
    with pytest.raises(HandshakeError) as caught:
        for _ in range(100):
            assert (
                server.receive_data(
                    b"GET / HTTP/1.1\r\n" if _ == 0 else b"X: %s\r\n" % (b"a" * 1000)
                )
                is None
            )
    assert caught.value.status == 431
    client = make_client()
    with pytest.raises(HandshakeError):
        for _ in range(100):
            assert not client.receive_data(
                b"HTTP/1.1 101 x\r\n" if _ == 0 else b"X: %s\r\n" % (b"a" * 1000)
            )


@pytest.mark.parametrize(
    ("host", "target", "headers"),
    [
        ("a\r\nX: 1", "/", ()),
        ("bücher.example", "/", ()),
        ("a", "/ b", ()),
        ("a", "/ü", ()),
        ("a", "", ()),
        ("a", "/", [(b"Upgrade", b"x")]),
        ("a", "/", [(b"sec-websocket-key", b"x")]),
        ("a", "/", [(b"X-A", b"1\r\nX-B: 2")]),
        ("a", "/", [(b"X A", b"1")]),
    ],
)
def test_what_is_malformed_is_not_sent(host: str, target: str, headers: Headers) -> None:
    with pytest.raises(LocalProtocolError):
        ClientUpgrade(host=host, target=target, headers=headers, key=KEY)


def test_a_malformed_upgrade_keeps_its_secrets() -> None:
    for wire in (
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cr3t\x00\r\n\r\n",
        b"GET /?token=s3cr3t HTTP/9\r\nHost: a\r\n\r\n",
    ):
        with pytest.raises(HandshakeError) as caught:
            ServerUpgrade().receive_data(wire)
        assert "s3cr3t" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 426),
        (REQUEST.replace(b"GET ", b"HEAD "), 400),
        (b"HEAD / HTTP/1.1\r\nHost a\r\n\r\n", 400),
    ],
)
def test_an_answer_to_head_has_no_body(request_: bytes, status: int) -> None:
    server = ServerUpgrade()
    with pytest.raises(HandshakeError):
        server.receive_data(request_)
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="HEAD", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(server.data_to_send)
    response = reader.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == status
    assert int(dict(response.headers)[b"content-length"]) > 0
    assert isinstance(reader.next_event(), h11.EndOfMessage)
    assert reader.trailing_data[0] == b""


@pytest.mark.parametrize(
    ("field", "named"),
    [
        (b"Sec-WebSocket-Protocol: \xfc", "Sec-WebSocket-Protocol"),
        (b"Sec-WebSocket-Protocol: restsock.v1 x", "Sec-WebSocket-Protocol"),
        (b"Sec-WebSocket-Extensions: \xfc", "Sec-WebSocket-Extensions"),
        (b"Connection: \xfc", None),
    ],
)
def test_the_error_names_the_field_that_is_malformed(field: bytes, named: str | None) -> None:
    server = ServerUpgrade()
    wire = REQUEST.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n")
    if named is None:  # one more element of a list in which ours is
        assert server.receive_data(wire) is not None
        return
    with pytest.raises(HandshakeError, match=f"a malformed {named}$") as caught:
        server.receive_data(wire)
    assert caught.value.status == 400


def test_an_upgrade_with_many_fields() -> None:
    """Each is an object or three; a stranger may send thousands in 16 KiB."""
    fields = REQUEST.count(b"\r\n") - 2
    for more, fits in ((256 - fields, True), (257 - fields, False)):
        server = ServerUpgrade()
        wire = REQUEST[:-2] + b"a:\r\n" * more + b"\r\n"
        if fits:
            assert server.receive_data(wire) is not None
        else:
            with pytest.raises(HandshakeError) as caught:
                server.receive_data(wire)
            assert caught.value.status == 431
