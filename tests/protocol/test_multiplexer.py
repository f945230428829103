"""Multiplexer: what it does with one peer, message by message, beyond the vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError
from restsock._options import Limits
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Multiplexer,
    RequestHead,
    RequestReceived,
    ResetCode,
    ResponseHead,
)
from restsock.protocol._frames import (
    END,
    Frame,
    FrameType,
    encode_frame,
)
from tests.protocol.by_hand import (
    GET,
    GET_BYTES,
    HOST,
    OK,
    OK_BYTES,
    POST,
    POST_BYTES,
    SWITCH,
    UPGRADE,
    answering,
    head,
    sent,
)
from tests.protocol.vectors import (
    CONNECTION_ID,
    close_code,
    drain,
    envelope,
    events,
    make_multiplexer,
    open_multiplexer,
)
from tests.strategies import frames, json_values

# --- out: what this side may not do -------------------------------------------------------------


def _refused(act: Callable[[], object], multiplexer: Multiplexer) -> None:
    before = multiplexer.open_streams
    with pytest.raises(LocalProtocolError):
        act()
    assert drain(multiplexer) == []
    assert multiplexer.open_streams == before


def test_heads_that_are_refused_here() -> None:
    multiplexer = open_multiplexer("dialer")
    _refused(lambda: multiplexer.open_stream(RequestHead(b"GET", b"/", [])), multiplexer)
    large = RequestHead(b"GET", b"/", [HOST, (b"X", b"a" * 131072)])
    _refused(lambda: multiplexer.open_stream(large), multiplexer)
    multiplexer = answering()
    _refused(lambda: multiplexer.send_head(1, ResponseHead(200, [(b"X", b"a\n")])), multiplexer)
    _refused(
        lambda: multiplexer.send_head(1, ResponseHead(200, [(b"X", b"a" * 131072)])), multiplexer
    )
    _refused(lambda: multiplexer.send_head(1, SWITCH), multiplexer)
    multiplexer.send_head(1, OK)
    drain(multiplexer)
    _refused(lambda: multiplexer.send_head(1, OK), multiplexer)
    _refused(lambda: multiplexer.send_head(1, ResponseHead(100, [])), multiplexer)
    _refused(lambda: multiplexer.send_end(1, [(b"X", b"a" * 131072)]), multiplexer)


def test_bodies_that_are_refused_here() -> None:
    multiplexer = answering()
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"3")]))
    multiplexer.send_data(1, b"ab")
    drain(multiplexer)
    _refused(lambda: multiplexer.send_data(1, b"cd"), multiplexer)


def test_an_end_that_comes_too_early_or_twice() -> None:
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(200, [(b"Content-Length", b"3")]))
    drain(multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    dialer = open_multiplexer("dialer")
    dialer.open_stream(GET, end=True)
    drain(dialer)
    _refused(lambda: dialer.send_end(1), dialer)
    _refused(lambda: dialer.send_data(1, b"x"), dialer)
    _refused(lambda: dialer.send_head(1, OK), dialer)


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_no_body_where_none_may_be(method: bytes, status: int) -> None:
    multiplexer = answering(method)
    multiplexer.send_head(1, ResponseHead(status, [(b"Content-Length", b"3")]))
    drain(multiplexer)
    _refused(lambda: multiplexer.send_data(1, b"abc"), multiplexer)
    multiplexer.send_end(1)
    assert sent(multiplexer) == [Frame(FrameType.DATA, END, 1, b"")]


def test_nothing_follows_an_upgrade_before_its_answer() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(UPGRADE, end=True)
    (frame,) = sent(multiplexer)
    assert frame.flags == 0
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    _refused(lambda: multiplexer.send_end(1), multiplexer)
    multiplexer.receive_message(head(1, b"HTTP/1.1 100 \r\n\r\n", end=False))
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)
    multiplexer.receive_message(head(1, b"HTTP/1.1 404 \r\n\r\n", end=False))
    assert sent(multiplexer) == [Frame(FrameType.DATA, END, 1, b"")]
    _refused(lambda: multiplexer.send_data(1, b"x"), multiplexer)


def test_what_is_sent_on_a_stream_that_is_over_is_swallowed() -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.send_head(9, OK)
    multiplexer.send_data(9, b"x")
    multiplexer.send_end(9)
    multiplexer.consume(9, 5, 0.0)
    multiplexer.reset_stream(9, ResetCode.CANCEL)
    assert multiplexer.buffered(9) == 0
    assert drain(multiplexer) == []
    assert events(multiplexer) == []


def test_trailers_that_connection_names_stay_behind() -> None:
    named = (b"Connection", b"X-Hop")
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"POST", b"/", [HOST, named]))
    multiplexer.send_end(1, [(b"x-hop", b"1"), (b"X-End", b"2")])
    assert [f.payload for f in sent(multiplexer)] == [POST_BYTES, b"X-End: 2\r\n\r\n"]
    multiplexer = answering()
    multiplexer.send_head(1, ResponseHead(103, [(b"Connection", b"X-End"), (b"X-End", b"1")]))
    multiplexer.send_head(1, ResponseHead(200, [named, (b"X-Hop", b"1")]))
    multiplexer.send_end(1, [(b"X-Hop", b"1")])
    assert [(f.flags, f.payload) for f in sent(multiplexer)] == [
        (0, b"HTTP/1.1 103 \r\n\r\n"),
        (END, OK_BYTES),
    ]


def test_an_upgrade_removes_the_fields_that_connection_names() -> None:
    named = [(b"Connection", b"Upgrade, X-Hop"), (b"X-Hop", b"1"), (b"Upgrade", b"x")]
    wish = b"Connection: upgrade\r\nUpgrade: x\r\n\r\n"
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"GET", b"/", [HOST, *named]))
    assert [f.payload for f in sent(multiplexer)] == [b"GET / HTTP/1.1\r\nHost: a\r\n" + wish]
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(head(1, b"GET / HTTP/1.1\r\nHost: a\r\n" + wish, end=False))
    multiplexer.send_head(1, ResponseHead(101, named))
    assert [f.payload for f in sent(multiplexer)] == [b"HTTP/1.1 101 \r\n" + wish]


# --- arbitrary messages -------------------------------------------------------------------------

_HELLO = envelope("hello", {"version": 1})
_WELCOME = envelope("welcome", {"connection_id": CONNECTION_ID})
_READY = envelope("ready", {"connection_id": CONNECTION_ID})


def _dialer_waiting() -> Multiplexer:
    multiplexer = make_multiplexer("dialer")
    multiplexer.send_hello(None, None)
    return multiplexer


def _listener_asked() -> Multiplexer:
    multiplexer = make_multiplexer("listener")
    multiplexer.receive_message(_HELLO)
    return multiplexer


def _listener_waiting() -> Multiplexer:
    multiplexer = _listener_asked()
    multiplexer.send_welcome(CONNECTION_ID)
    return multiplexer


def _with_streams(role: str) -> Multiplexer:
    multiplexer = open_multiplexer(role, Limits(initial_window=16384, max_streams=4))
    for request in (POST, GET, UPGRADE):
        multiplexer.open_stream(request, end=request is GET)
    return multiplexer


_STATES: dict[str, Callable[[], Multiplexer]] = {
    "dialer, before hello": lambda: make_multiplexer("dialer"),
    "dialer, before welcome": _dialer_waiting,
    "listener, before hello": lambda: make_multiplexer("listener"),
    "listener, before its welcome": _listener_asked,
    "listener, before ready": _listener_waiting,
    "dialer": lambda: _with_streams("dialer"),
    "listener": lambda: _with_streams("listener"),
}

_texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from([_HELLO, _WELCOME, _READY]),
    st.builds(
        envelope,
        st.sampled_from(["hello", "welcome", "ready", "data", "nothing", "nothing yet"]),
        st.dictionaries(
            st.sampled_from(["version", "name", "metadata", "settings", "connection_id"]),
            json_values | st.just(1) | st.just({}) | st.just(CONNECTION_ID),
        ),
    ),
)


@pytest.mark.parametrize("state", _STATES)
@given(messages=st.lists(st.one_of(frames, frames, st.binary(max_size=30), _texts), max_size=12))
def test_arbitrary_messages_raise_only_the_documented_error(
    state: str, messages: list[str | bytes]
) -> None:
    multiplexer = _STATES[state]()
    for message in messages:
        code = close_code(partial(multiplexer.receive_message, message))
        _react(multiplexer)
        if code is not None:
            assert code in (4000, 4002)
            break
    for stream_id in range(10):
        multiplexer.reset_stream(stream_id, ResetCode.INTERNAL)


def _react(multiplexer: Multiplexer) -> None:
    """An app that answers whatever it can: a peer's bytes never make its calls an error."""
    for event in events(multiplexer):
        if isinstance(event, RequestReceived):
            upgrade = event.head.upgrade is not None
            multiplexer.send_head(event.stream_id, SWITCH if upgrade else OK)
            if event.head.method != b"HEAD":
                multiplexer.send_data(event.stream_id, b"x" * 100)
            if event.stream_id % 4:
                multiplexer.send_end(event.stream_id)
        elif isinstance(event, DataReceived):
            multiplexer.consume(event.stream_id, len(event.data), 0.0)
    drain(multiplexer)


# --- the scheme ---------------------------------------------------------------------------------

ODD = (b"X_Y", b"\xff")  # a head with it is not plain


@pytest.mark.parametrize("fields", [[HOST], [HOST, ODD]], ids=["plain", "odd"])
@pytest.mark.parametrize(("scheme", "flags"), [(None, 0), ("https", 2), ("http", 4)])
def test_the_scheme_is_a_flag_of_the_first_frame_alone(
    fields: list[tuple[bytes, bytes]], scheme: str | None, flags: int
) -> None:
    multiplexer = open_multiplexer("dialer")
    multiplexer.open_stream(RequestHead(b"POST", b"/", fields, scheme))
    (opening,) = sent(multiplexer)
    multiplexer.send_data(1, b"x")
    multiplexer.send_end(1, [(b"X-Sum", b"1")])
    assert [opening.flags, *(frame.flags for frame in sent(multiplexer))] == [flags, 0, END]
    peer = open_multiplexer("listener")
    peer.receive_message(encode_frame(*opening))
    assert events(peer) == [RequestReceived(1, RequestHead(b"POST", b"/", fields, scheme))]


def test_two_schemes_are_none() -> None:
    multiplexer = open_multiplexer("listener")
    multiplexer.receive_message(encode_frame(FrameType.HEAD, 0xFF, 1, GET_BYTES))
    assert events(multiplexer) == [RequestReceived(1, GET), EndReceived(1)]


def test_a_scheme_that_cannot_be_told_is_not_sent() -> None:
    multiplexer = open_multiplexer("dialer")
    _refused(lambda: multiplexer.open_stream(RequestHead(b"GET", b"/", [HOST], "ftp")), multiplexer)
