"""WebSocket: any chunking gives equal events; errors, closes and messages cannot be mistaken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import (
    BinaryMessage,
    CloseReceived,
    MessagePart,
    Ping,
    Pong,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)
from tests.strategies import (
    chunked,
    conversations,
    cut,
    mutated,
    until_none,
    websocket_bytes,
    websocket_frame,
)

MASK = b"\x01\x02\x03\x04"
Outcome = tuple[list[WebSocketEvent], "int | None"]


def make(*, client: bool = True, max_message: int = 1000) -> WebSocket:
    return WebSocket(client=client, max_message=max_message)


def receive(websocket: WebSocket, pieces: list[bytes]) -> Outcome:
    """Events, and the close code that answers the bytes if they are wrong."""
    found: list[WebSocketEvent] = []
    for piece in pieces:
        try:
            websocket.receive_data(piece)
        except RemoteProtocolError as exc:
            return found + until_none(websocket.next_event), exc.close_code
        found += until_none(websocket.next_event)
    return found, None


# --- messages in parts --------------------------------------------------------------------------


def in_parts(*, client: bool = True) -> WebSocket:
    return WebSocket(client=client, max_message=2**63, in_parts=True)


@pytest.mark.parametrize("client", [True, False])
@given(data=st.data(), messages=st.lists(st.lists(st.binary(max_size=300), min_size=1)))
def test_parts_are_the_bytes_of_text_whatever_they_are(
    client: bool, data: st.DataObject, messages: list[list[bytes]]
) -> None:
    wire = b""
    for fragments in messages:
        for number, fragment in enumerate(fragments):
            first = 0 if number else data.draw(st.sampled_from([1, 2]))
            fin = 0x80 if number == len(fragments) - 1 else 0
            wire += frame_of(first | fin, fragment, masked=not client)
            wire += frame_of(0x89, b"ping", masked=not client)
    events, code = receive(in_parts(client=client), data.draw(cut(wire)))
    assert code is None
    found, now = [], b""
    for event in events:
        if isinstance(event, MessagePart):
            now += event.data
            assert event.data or event.end
            if event.end:
                found.append(now)
                now = b""
        else:
            assert event == Ping(b"ping")
    assert found == [b"".join(fragments) for fragments in messages]
    assert now == b""


def frame_of(first: int, payload: bytes, *, masked: bool) -> bytes:
    bit = 0x80 if masked else 0
    size = bytes([bit | min(len(payload), 126)])
    if len(payload) > 125:
        size = bytes([bit | 126]) + len(payload).to_bytes(2, "big")
    return bytes([first]) + size + (bytes(4) if masked else b"") + payload


def test_a_part_does_not_wait_for_its_frame() -> None:
    websocket = in_parts()
    begin = frame_of(0x81, b"x" * 300, masked=False)[:104]
    assert receive(websocket, [begin]) == ([MessagePart(b"x" * 100, False)], None)
    assert receive(websocket, [b"x" * 200]) == ([MessagePart(b"x" * 200, True)], None)


@pytest.mark.parametrize("wrong", [b"\xc1\x00", b"\x80\x00", b"\x01\x00\x81\x00", b"\x83\x00"])
def test_frames_are_checked_in_parts_too(wrong: bytes) -> None:
    assert receive(in_parts(), [wrong])[1] == 1002


def test_a_close_with_words_that_are_no_text_is_wrong_in_parts_too() -> None:
    assert receive(in_parts(), [b"\x88\x03\x03\xe8\xff"])[1] == 1007


# --- properties ---------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [True, False])
@given(data=st.data())
def test_any_chunking_gives_the_events_that_were_sent(client: bool, data: st.DataObject) -> None:
    whole, expected = data.draw(conversations(masked=not client, sizes=True))
    pieces = data.draw(cut(whole))
    for chunks in ([whole], pieces):
        websocket = make(client=client, max_message=100_000)
        assert receive(websocket, chunks) == (expected, None)
    if len(whole) < 1000:
        websocket = make(client=client, max_message=100_000)
        assert receive(websocket, [bytes([octet]) for octet in whole]) == (expected, None)


@given(chunked(mutated(websocket_bytes(masked=False)) | st.binary(max_size=300)))
def test_arbitrary_bytes_raise_only_the_documented_error(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    expected = receive(make(), [whole])
    assert expected[1] in (None, 1002, 1007, 1009)
    assert receive(make(), pieces) == expected


@given(chunked(mutated(websocket_bytes(masked=True)) | st.binary(max_size=300)))
def test_arbitrary_bytes_to_a_listener(data: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = data
    expected = receive(make(client=False), [whole])
    assert expected[1] in (None, 1002, 1007, 1009)
    assert receive(make(client=False), pieces) == expected


@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.one_of(st.text(max_size=200), st.binary(max_size=200), st.none()), max_size=8),
)
def test_two_ends_understand_each_other(
    client: bool, own_mask: bool, items: list[str | bytes | None]
) -> None:
    mask_key = None if own_mask else lambda: MASK
    sender = WebSocket(client=client, max_message=1000, mask_key=mask_key)
    receiver = make(client=not client)
    expected: list[WebSocketEvent] = []
    for item in items:
        if item is None:
            sender.send_ping(b"12345678")
            expected.append(Ping(b"12345678"))
        elif isinstance(item, str):
            sender.send_text(item)
            expected.append(TextMessage(item))
        else:
            sender.send_binary(item)
            expected.append(BinaryMessage(item))
    sender.close(4000, "done")
    expected.append(CloseReceived(4000, "done"))
    assert receive(receiver, [sender.data_to_send()]) == (expected, None)
    # The close comes back, behind a pong for each ping.
    answer, error = receive(sender, [receiver.data_to_send()])
    assert error is None
    assert answer[-1] == CloseReceived(4000, "")
    assert answer[:-1] == [Pong(b"12345678")] * items.count(None)


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("fragments", [1, 2, 10])
def test_the_size_of_a_message_is_limited_over_its_fragments(opcode: int, fragments: int) -> None:
    def message(size: int) -> bytes:
        part = size // fragments
        sizes = [part] * (fragments - 1) + [size - part * (fragments - 1)]
        return b"".join(
            websocket_frame(0 if n else opcode, b"a" * s, fin=n == fragments - 1)
            for n, s in enumerate(sizes)
        )

    (event,), error = receive(make(), [message(1000)])
    assert isinstance(event, (TextMessage, BinaryMessage))
    assert len(event.data) == 1000
    assert error is None
    assert receive(make(), [message(1001)]) == ([], 1009)
    # The next message starts from nothing.
    assert len(receive(make(), [message(900), message(900)])[0]) == 2


def test_the_limit_holds_as_soon_as_a_frame_announces_too_much() -> None:
    websocket = make()
    header = websocket_frame(2, bytes(5000))[:4]
    websocket.receive_data(header[:-1])
    with pytest.raises(RemoteProtocolError) as caught:
        websocket.receive_data(header[-1:])
    assert caught.value.close_code == 1009


def test_characters_are_counted_as_their_bytes() -> None:
    text = "ü" * 501
    assert receive(make(), [websocket_frame(1, text.encode())]) == ([], 1009)


# --- errors and closes --------------------------------------------------------------------------


def test_an_error_is_no_close() -> None:
    websocket = make()
    events, error = receive(websocket, [websocket_frame(2, b"a") + websocket_frame(3, b"")])
    assert events == [BinaryMessage(b"a")]
    assert error == 1002
    assert not websocket.close_received
    assert not websocket.close_sent
    websocket.close(1002, "reserved opcode")
    peer = make(client=False)
    assert receive(peer, [websocket.data_to_send()]) == (
        [CloseReceived(1002, "reserved opcode")],
        None,
    )


def test_after_an_error_nothing_is_read() -> None:
    websocket = make()
    with pytest.raises(RemoteProtocolError):
        websocket.receive_data(websocket_frame(3, b""))
    websocket.receive_data(websocket_frame(2, b"a"))
    assert websocket.next_event() is None


def test_behind_a_close_nothing_is_read() -> None:
    websocket = make()
    close = websocket_frame(8, b"\x03\xe8")
    assert receive(websocket, [close + websocket_frame(2, b"a"), b"\xff\xff"]) == (
        [CloseReceived(1000, "")],
        None,
    )
    assert websocket.close_received


def test_a_close_is_echoed_once_and_ends_sending() -> None:
    websocket = make()
    receive(websocket, [websocket_frame(8, b"\x0f\xa4bye")])
    assert websocket.close_sent
    websocket.close(1000)
    peer = make(client=False)
    assert receive(peer, [websocket.data_to_send()]) == ([CloseReceived(4004, "")], None)
    with pytest.raises(LocalProtocolError):
        websocket.send_text("a")
    with pytest.raises(LocalProtocolError):
        websocket.send_binary(b"a")
    with pytest.raises(LocalProtocolError):
        websocket.send_ping()
    assert websocket.data_to_send() == b""


def test_our_close_waits_for_theirs_and_messages_still_come() -> None:
    websocket = make()
    websocket.close(1001, "restart")
    sent = websocket.data_to_send()
    assert sent
    events, error = receive(
        websocket, [websocket_frame(2, b"a") + websocket_frame(8, b"\x03\xe9restart")]
    )
    assert events == [BinaryMessage(b"a"), CloseReceived(1001, "restart")]
    assert error is None
    assert websocket.data_to_send() == b""


def test_a_long_reason_is_cut_between_characters() -> None:
    websocket = make()
    websocket.close(4000, "ü" * 100)
    (event,), error = receive(make(client=False), [websocket.data_to_send()])
    assert error is None
    assert isinstance(event, CloseReceived)
    assert event.reason == "ü" * len(event.reason)
    assert 50 <= len(event.reason) <= 61


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("size", [1, 2**20])
def test_each_ping_has_its_pong(client: bool, size: int) -> None:
    """Autobahn 2.10 and 2.11: ten pings at once, in one piece or by the byte."""
    mask = None if client else MASK
    data = b"".join(websocket_frame(9, b"%d" % n, mask=mask) for n in range(10))
    websocket = make(client=client)
    receive(websocket, [data[at : at + size] for at in range(0, len(data), size)])
    answers = receive(make(client=not client), [websocket.data_to_send()])
    assert answers == ([Pong(b"%d" % n) for n in range(10)], None)
    assert websocket.out == websocket.pongs == []
    assert websocket.data_to_send() == b""


def test_pongs_leave_ahead_of_what_waits() -> None:
    """Autobahn 5.6 to 5.8, 5.19, 5.20: pings between the fragments of a message that is echoed."""
    websocket = make()
    websocket.send_binary(b"waits")
    received, _ = receive(
        websocket,
        [
            websocket_frame(1, b"frag", fin=False)
            + websocket_frame(9, b"one")
            + websocket_frame(0, b"men", fin=False)
            + websocket_frame(9, b"two")
            + websocket_frame(0, b"ts")
        ],
    )
    assert received == [Ping(b"one"), Ping(b"two"), TextMessage("fragments")]
    websocket.send_text("fragments")
    websocket.send_ping(b"ours")
    assert receive(make(client=False), [websocket.data_to_send()])[0] == [
        Pong(b"one"),
        Pong(b"two"),
        BinaryMessage(b"waits"),
        TextMessage("fragments"),
        Ping(b"ours"),
    ]


def test_a_flood_of_pings_has_the_latest_answered() -> None:
    """As long as nothing can leave, answers pile up to a bound."""
    websocket = make()
    for n in range(1000):
        receive(websocket, [websocket_frame(9, b"%d" % n)])
    answers, _ = receive(make(client=False), [websocket.data_to_send()])
    assert answers == [Pong(b"%d" % n) for n in range(1000 - 128, 1000)]


def test_no_pong_behind_a_close() -> None:
    websocket = make()
    websocket.close()
    websocket.data_to_send()
    receive(websocket, [websocket_frame(9, b"x")])
    assert websocket.data_to_send() == b""


def test_a_pong_leaves_before_the_close() -> None:
    websocket = make()
    receive(websocket, [websocket_frame(9, b"x")])
    websocket.close()
    assert receive(make(client=False), [websocket.data_to_send()])[0] == [
        Pong(b"x"),
        CloseReceived(1000, ""),
    ]


def test_a_ping_is_at_most_125_bytes() -> None:
    websocket = make()
    websocket.send_ping(bytes(125))
    with pytest.raises(LocalProtocolError):
        websocket.send_ping(bytes(126))


def test_the_dialer_masks_and_the_listener_does_not() -> None:
    dialer, listener = make(), make(client=False)
    dialer.send_binary(b"secret")
    listener.send_binary(b"secret")
    masked, plain = dialer.data_to_send(), listener.data_to_send()
    assert masked[1] & 0x80
    assert b"secret" not in masked
    assert plain == websocket_frame(2, b"secret")
    dialer.send_binary(b"secret")
    assert dialer.data_to_send()[2:6] != masked[2:6]


# --- what reads the frames that are not plain -----------------------------------------------------


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("client", [True, False])
def test_between_two_messages_nothing_is_kept(client: bool, step: int) -> None:
    """An idle connection shall not pay for a parser."""
    mask = None if client else MASK
    websocket = make(client=client)
    for frame, event in (
        (websocket_frame(9, b"ping", mask=mask), Ping(b"ping")),
        (websocket_frame(1, b"text", mask=mask), TextMessage("text")),
        (websocket_frame(10, b"", mask=mask), Pong(b"")),
        (websocket_frame(2, b"plain", mask=mask), BinaryMessage(b"plain")),
        (
            websocket_frame(2, b"frag", fin=False, mask=mask)
            + websocket_frame(0, b"ments", mask=mask),
            BinaryMessage(b"fragments"),
        ),
    ):
        pieces = [frame[at : at + step] for at in range(0, len(frame), step)]
        assert receive(websocket, pieces) == ([event], None)
        assert websocket._wsproto is None
        websocket.send_ping(b"")
        websocket.send_text("out")
        websocket.data_to_send()
        assert websocket._wsproto is None


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("opcode", [1, 2])
def test_controls_inside_a_message_do_not_end_it(client: bool, step: int, opcode: int) -> None:
    mask = None if client else MASK
    websocket = make(client=client)
    message = TextMessage("grün!") if opcode == 1 else BinaryMessage("grün!".encode())
    body = "grün!".encode()
    # The cut is inside a character, which the reader of a text has to remember.
    sent: list[tuple[bytes, list[WebSocketEvent]]] = [
        (websocket_frame(opcode, body[:3], fin=False, mask=mask), []),
        (websocket_frame(9, b"1", mask=mask), [Ping(b"1")]),
        (websocket_frame(0, b"", fin=False, mask=mask), []),
        (websocket_frame(10, b"2", mask=mask), [Pong(b"2")]),
        (websocket_frame(0, body[3:], mask=mask), [message]),
        (websocket_frame(2, b"next", mask=mask), [BinaryMessage(b"next")]),
    ]
    for number, (frame, events) in enumerate(sent):
        pieces = [frame[at : at + step] for at in range(0, len(frame), step)]
        assert receive(websocket, pieces) == (events, None)
        websocket.send_text("out")  # this direction is another matter
        websocket.send_ping(b"out")
        assert (websocket._wsproto is None) is (number >= 4)
    assert websocket.data_to_send()


@pytest.mark.parametrize("client", [True, False])
def test_a_message_inside_a_message_is_an_error(client: bool) -> None:
    mask = None if client else MASK
    for opcode in (1, 2):
        websocket = make(client=client)
        first = websocket_frame(2, b"half", fin=False, mask=mask)
        ping = websocket_frame(9, b"", mask=mask)
        second = websocket_frame(opcode, b"another", mask=mask)
        assert receive(websocket, [first, ping, second]) == ([Ping(b"")], 1002)


@pytest.mark.parametrize("client", [True, False])
def test_a_continuation_of_nothing_is_an_error(client: bool) -> None:
    """Also behind a fragmented message, of which nothing is remembered."""
    mask = None if client else MASK
    whole = websocket_frame(2, b"a", fin=False, mask=mask) + websocket_frame(0, b"b", mask=mask)
    more = websocket_frame(0, b"c", mask=mask)
    found, code = receive(make(client=client), [whole, more])
    assert (found, code) == ([BinaryMessage(b"ab")], 1002)


def test_a_close_inside_a_message_is_a_close() -> None:
    websocket = make()
    half = websocket_frame(1, b"half", fin=False)
    close = websocket_frame(8, b"\x03\xe9bye")
    assert receive(websocket, [half + close]) == ([CloseReceived(1001, "bye")], None)
    assert websocket.close_sent
    assert websocket.data_to_send()
