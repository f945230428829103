"""permessage-deflate: what two ends agree on, what crosses, and bombs that are not inflated."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.headers import parse_extension

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import (
    BinaryMessage,
    Deflate,
    DeflateTerms,
    MessageDeflate,
    Ping,
    TextMessage,
    WebSocket,
    WebSocketEvent,
)
from tests.protocol.test_websocket_fast import frame
from tests.strategies import cut, until_none

MASK = b"\x01\x02\x03\x04"
FORGETS = "server_no_context_takeover; client_no_context_takeover"
FIELD = b"Sec-WebSocket-Extensions"


def accepted(deflate: Deflate, offer: str) -> str | None:
    found = deflate.accept([(FIELD, offer.encode("latin-1"))])
    return None if found is None else found[1].decode()


# --- terms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            'Permessage-Deflate ;\tclient_max_window_bits = 10 ;server_max_window_bits="9"',
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
        ),
        (
            f"permessage-deflate; {FORGETS}",
            f"permessage-deflate; {FORGETS}; server_max_window_bits=12",
        ),
        # The second best, and then what is not compression at all.
        (
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
            "permessage-deflate; server_max_window_bits=12",
        ),
        ("x-other, permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
        (", permessage-deflate,", "permessage-deflate; server_max_window_bits=12"),
        ("x-other", None),
        ("", None),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=8", None),  # which zlib cannot do
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; server_max_window_bits=09", None),
        ("permessage-deflate; client_max_window_bits=7", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; x", None),
        ("permessage-deflate; x=1", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", None),
        ("permessage-deflate; ", None),
        ("permessage-deflate x", None),
        ("permessage-deflate; =1", None),
        ('permessage-deflate; server_max_window_bits="1', None),
        ("permessage-deflate\xff", None),
    ],
)
def test_what_a_server_accepts(offer: str, answer: str | None) -> None:
    assert accepted(Deflate(), offer) == answer


def test_only_so_many_offers_are_looked_at() -> None:
    bad = "permessage-deflate; x, "
    assert accepted(Deflate(), bad * 7 + "permessage-deflate") is not None
    assert accepted(Deflate(), bad * 8 + "permessage-deflate") is None


@pytest.mark.parametrize(
    ("deflate", "answer", "terms"),
    [
        (Deflate(window_bits=15), "permessage-deflate", (15, 15, False, False)),
        (Deflate(), "permessage-deflate; server_max_window_bits=12", (12, 12, False, False)),
        (
            Deflate(),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=8",
            (9, 8, False, False),
        ),
        (
            Deflate(window_bits=15),
            "permessage-deflate; client_no_context_takeover",
            (15, 15, False, True),
        ),
        (
            Deflate(window_bits=15, context_takeover=False),
            "permessage-deflate; server_no_context_takeover",
            (15, 15, True, True),
        ),
        (Deflate(), None, None),
        (Deflate(), "permessage-deflate", "other terms"),  # the window was to be smaller
        (Deflate(), "permessage-deflate; server_max_window_bits=13", "other terms"),
        (Deflate(), "permessage-deflate; server_max_window_bits", "other terms"),
        (
            Deflate(),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=13",
            "other terms",
        ),
        (
            Deflate(window_bits=15, context_takeover=False),
            "permessage-deflate",
            "other terms",
        ),
        (Deflate(window_bits=15), "permessage-deflate; x", "other terms"),
        (
            Deflate(window_bits=15),
            "permessage-deflate; server_no_context_takeover=1",
            "other terms",
        ),
        (
            Deflate(window_bits=15),
            "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
            "other terms",
        ),
        (Deflate(window_bits=15), "x-other", "not offered"),
        (Deflate(window_bits=15), "permessage-deflate, permessage-deflate", "not offered"),
        (Deflate(window_bits=15), ";", "not offered"),
        (Deflate(window_bits=15), "", "not offered"),
    ],
)
def test_what_a_client_takes_for_an_answer(
    deflate: Deflate, answer: str | None, terms: tuple[int, int, bool, bool] | str | None
) -> None:
    headers = [] if answer is None else [(FIELD, answer.encode())]
    if isinstance(terms, str):
        with pytest.raises(RemoteProtocolError, match=terms):
            deflate.check(headers)
        return
    found = deflate.check(headers)
    expected = None
    if terms is not None:
        server_bits, client_bits, server_forgets, client_forgets = terms
        expected = DeflateTerms(
            server_bits=server_bits,
            client_bits=client_bits,
            server_forgets=server_forgets,
            client_forgets=client_forgets,
        )
    assert found == expected


@given(
    ours=st.builds(
        Deflate,
        window_bits=st.integers(9, 15),
        context_takeover=st.booleans(),
        threshold=st.just(0),
    ),
    theirs=st.builds(
        Deflate,
        window_bits=st.integers(9, 15),
        context_takeover=st.booleans(),
        threshold=st.just(0),
    ),
    messages=st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=6),
)
def test_two_ends_of_ours_understand_each_other(
    ours: Deflate, theirs: Deflate, messages: list[str | bytes]
) -> None:
    found = theirs.accept([(FIELD, ours.offer())])
    assert found is not None
    terms, answer = found
    assert ours.check([(FIELD, answer)]) == terms
    for sender_is_client in (True, False):
        sender = end(ours, terms, client=True)
        receiver = end(theirs, terms, client=False)
        if not sender_is_client:
            sender, receiver = receiver, sender
        for message in messages * 2:  # the second time, out of what is remembered
            send(sender, message)
        receiver.receive_data(sender.data_to_send())
        assert until_none(receiver.next_event) == events_of(messages * 2)


def end(
    deflate: Deflate, terms: DeflateTerms, *, client: bool, max_message: int = 100_000
) -> WebSocket:
    return WebSocket(
        client=client,
        max_message=max_message,
        mask_key=lambda: MASK,
        deflate=MessageDeflate(terms, deflate, client=client, max_message=max_message),
    )


def send(websocket: WebSocket, message: str | bytes) -> None:
    if isinstance(message, str):
        websocket.send_text(message)
    else:
        websocket.send_binary(message)


def events_of(messages: list[str | bytes]) -> list[WebSocketEvent]:
    return [TextMessage(m) if isinstance(m, str) else BinaryMessage(m) for m in messages]


TERMS = DeflateTerms(server_bits=12, client_bits=12, server_forgets=False, client_forgets=False)


def listener(max_message: int = 100_000, terms: DeflateTerms = TERMS) -> WebSocket:
    return end(Deflate(threshold=0), terms, client=False, max_message=max_message)


def compressed(data: bytes, *, bits: int = 12, final: bool = False) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
    out = compressor.compress(data)
    if final:
        return out + compressor.flush(zlib.Z_FINISH)
    return (out + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


# --- the package `websockets` reads and writes the same -------------------------------------------


@pytest.mark.parametrize(
    "ours", [Deflate(), Deflate(window_bits=15), Deflate(window_bits=9, context_takeover=False)]
)
@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 10, "client_max_window_bits": 11},
    ],
)
def test_terms_with_another_make(ours: Deflate, theirs: dict[str, Any]) -> None:
    client = ClientPerMessageDeflateFactory(**{"client_max_window_bits": True, **theirs})
    offer = client.get_request_params()
    text = "permessage-deflate" + "".join(
        f"; {name}" if value is None else f"; {name}={value}" for name, value in offer
    )
    answer = accepted(ours, text)
    assert answer is not None
    ((_, parameters),) = parse_extension(answer)
    client.process_response_params(parameters, [])
    server = ServerPerMessageDeflateFactory(**theirs)
    ((_, parameters),) = parse_extension(ours.offer().decode())
    chosen, _ = server.process_request_params(parameters, [])
    text = "permessage-deflate" + "".join(
        f"; {name}" if value is None else f"; {name}={value}" for name, value in chosen
    )
    assert ours.check([(FIELD, text.encode())]) is not None


# --- messages -------------------------------------------------------------------------------------


def test_the_example_of_the_rfc() -> None:
    """RFC 7692, section 7.2.3.1 and 7.2.3.2: "Hello", whole, in fragments, and out of memory."""
    hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    websocket = listener()
    websocket.receive_data(frame(0xC1, hello, MASK))
    websocket.receive_data(frame(0x41, hello[:3], MASK) + frame(0x80, hello[3:], MASK))
    websocket.receive_data(frame(0xC1, b"\xf2\x00\x11\x00\x00", MASK))
    assert until_none(websocket.next_event) == [TextMessage("Hello")] * 3


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",  # a block that is not compressed
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",  # a block that says that it is the last
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",  # two blocks
        compressed(b"Hello", final=True),
    ],
)
def test_other_ways_to_say_it(payload: bytes) -> None:
    """RFC 7692, sections 7.2.3.3 to 7.2.3.5."""
    websocket = listener()
    for _ in range(3):
        websocket.receive_data(frame(0xC1, payload, MASK))
        assert until_none(websocket.next_event) == [TextMessage("Hello")]
    websocket.receive_data(frame(0x81, b"plain", MASK))
    websocket.receive_data(frame(0xC1, compressed(b"and again"), MASK))
    assert until_none(websocket.next_event) == [TextMessage("plain"), TextMessage("and again")]


def test_an_empty_message() -> None:
    websocket = listener()
    websocket.receive_data(frame(0xC2, b"\x00", MASK) + frame(0xC2, b"", MASK))
    assert until_none(websocket.next_event) == [BinaryMessage(b"")] * 2


def test_control_frames_between_the_fragments() -> None:
    payload = compressed(b"Hello" * 50)
    websocket = listener()
    websocket.receive_data(
        frame(0x41, payload[:4], MASK)
        + frame(0x89, b"ping", MASK)
        + frame(0x00, payload[4:5], MASK)
        + frame(0x89, b"", MASK)
        + frame(0x80, payload[5:], MASK)
    )
    told = until_none(websocket.next_event)
    assert told == [Ping(b"ping"), Ping(b""), TextMessage("Hello" * 50)]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(0xC9, b"x", MASK), 1002),  # a control frame that is compressed
        (frame(0x41, b"", MASK) + frame(0xC0, b"", MASK), 1002),  # a fragment that says it again
        (frame(0xA1, b"x", MASK), 1002),  # another reserved bit
        (frame(0xE1, b"x", MASK), 1002),
        (frame(0xC1, b"\xff" * 20, MASK), 1007),  # no deflate
        (frame(0xC1, compressed(b"\xff\xfe"), MASK), 1007),  # no text
        (frame(0xC1, compressed("ü".encode()[:1]), MASK), 1007),
    ],
)
def test_what_is_wrong(wire: bytes, code: int) -> None:
    websocket = listener()
    with pytest.raises(RemoteProtocolError) as caught:
        websocket.receive_data(wire)
    assert caught.value.close_code == code


def test_without_the_extension_the_bit_is_an_error() -> None:
    websocket = WebSocket(client=False, max_message=1000)
    with pytest.raises(RemoteProtocolError) as caught:
        websocket.receive_data(frame(0xC1, compressed(b"x"), MASK))
    assert caught.value.close_code == 1002


@given(
    text=st.text(max_size=2000) | st.sampled_from(["a" * 5000, "ü" * 2000, "\U0001f600" * 500]),
    sizes=st.lists(st.integers(0, 60), max_size=20),
    data=st.data(),
)
def test_any_fragments_and_chunks_give_the_message(
    text: str, sizes: list[int], data: st.DataObject
) -> None:
    payload = compressed(text.encode())
    pieces, at = [], 0
    for size in sizes:
        pieces.append(payload[at : at + size])
        at += size
    pieces.append(payload[at:])
    wire = b""
    for number, piece in enumerate(pieces):
        first = (0x41 if number == 0 else 0x00) | (0x80 if number == len(pieces) - 1 else 0)
        wire += frame(first, piece, MASK)
    websocket = listener()
    for chunk in data.draw(cut(wire)):
        websocket.receive_data(chunk)
    assert until_none(websocket.next_event) == [TextMessage(text)]


@given(st.binary(max_size=400), st.booleans())
@example(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00" * 40, True)
@example(b"\x03\x00" * 200, True)
def test_arbitrary_bytes_raise_only_the_documented_error(payload: bytes, forgets: bool) -> None:
    terms = DeflateTerms(
        server_bits=12, client_bits=9, server_forgets=forgets, client_forgets=forgets
    )
    websocket = listener(2000, terms)
    code = None
    try:
        for _ in range(2):
            websocket.receive_data(frame(0xC2, payload, MASK))
    except RemoteProtocolError as exc:
        code = exc.close_code
    assert code in (None, 1007, 1009)
    for event in until_none(websocket.next_event):
        assert isinstance(event, BinaryMessage)
        assert len(event.data) <= 2000


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [999, 1000, 1001, 100_000])
@pytest.mark.parametrize("text", [True, False])
def test_the_limit_is_that_of_what_was_inflated(size: int, text: bool) -> None:
    websocket = listener(1000)
    wire = frame(0xC1 if text else 0xC2, compressed(b"x" * size), MASK)
    if size <= 1000:
        websocket.receive_data(wire)
        ((event,)) = until_none(websocket.next_event)
        assert isinstance(event, (TextMessage, BinaryMessage))
        assert len(event.data) == size
        return
    with pytest.raises(RemoteProtocolError, match="once it is inflated") as caught:
        websocket.receive_data(wire)
    assert (caught.value.close_code, caught.value.limit) == (1009, "max_message")


def test_a_bomb_is_not_inflated() -> None:
    """1 GiB in 1 MiB: what is allocated is bounded by the largest message."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    bomb = b"".join(compressor.compress(zeros) for _ in range(1024))
    bomb += compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    terms = DeflateTerms(server_bits=15, client_bits=15, server_forgets=False, client_forgets=False)
    websocket = listener(1 << 20, terms)
    assert len(bomb) < 1 << 20
    wire = frame(0xC2, bomb, b"\0\0\0\0")
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError) as caught:
            for at in range(0, len(wire), 65536):
                websocket.receive_data(wire[at : at + 65536])
        assert caught.value.close_code == 1009
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_message_that_cannot_be_compressed_is_not_too_large_for_that() -> None:
    import random

    data = random.Random(7).randbytes(100_000)
    payload = compressed(data)
    assert len(payload) > len(data)
    websocket = listener(len(data))
    websocket.receive_data(frame(0xC2, payload, MASK))
    assert until_none(websocket.next_event) == [BinaryMessage(data)]
    with pytest.raises(RemoteProtocolError):  # announced, and not plausible any more
        websocket.receive_data(frame(0xC2, bytes(102_000), MASK)[:14])


def test_short_messages_are_not_compressed() -> None:
    sender = end(Deflate(threshold=100), TERMS, client=False)
    sender.send_text("x" * 99)
    assert sender.data_to_send()[0] == 0x81
    sender.send_text("x" * 100)
    assert sender.data_to_send()[0] == 0xC1
    sender.send_binary(b"x" * 50, b"x" * 50)
    assert sender.data_to_send()[0] == 0xC2
    # A window that zlib does not have is never needed.
    terms = DeflateTerms(server_bits=12, client_bits=8, server_forgets=False, client_forgets=False)
    sender = end(Deflate(threshold=0), terms, client=True)
    sender.send_text("x" * 1000)
    assert sender.data_to_send()[0] == 0x81


def test_without_takeover_each_message_stands_alone() -> None:
    terms = DeflateTerms(server_bits=12, client_bits=12, server_forgets=True, client_forgets=True)
    sender = end(Deflate(threshold=0), terms, client=False)
    wires = []
    for _ in range(2):
        sender.send_text("the same " * 20)
        wires.append(sender.data_to_send())
    assert wires[0] == wires[1]
    remembering = end(Deflate(threshold=0), TERMS, client=False)
    for _ in range(2):
        remembering.send_text("the same " * 20)
        wires.append(remembering.data_to_send())
    assert len(wires[3]) < len(wires[2])


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 10},
        {"level": "6"},
        {"window_bits": 8},
        {"window_bits": 16},
        {"mem_level": 0},
        {"threshold": -1},
        {"threshold": True},
        {"context_takeover": 1},
    ],
)
def test_options_check_themselves(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Deflate\."):
        Deflate(**wrong)
