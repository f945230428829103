"""The handshake: its three steps between two multiplexers, and out of turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Limits
from restsock.protocol import (
    HandshakeCompleted,
    HelloReceived,
    Multiplexer,
    RequestHead,
    RequestReceived,
)
from tests.protocol.vectors import CONNECTION_ID, drain, envelope, events, make_multiplexer
from tests.strategies import json_values

GET = RequestHead(b"GET", b"/", [(b"Host", b"a")])


@pytest.mark.parametrize(
    "metadata",
    [object(), float("nan"), "\ud800", {1, 2}],
    ids=["object", "nan", "surrogate", "set"],
)
def test_metadata_that_is_not_json(metadata: object) -> None:
    multiplexer = make_multiplexer("dialer")
    with pytest.raises(LocalProtocolError):
        multiplexer.send_hello("a", metadata)
    # Nothing has happened: the next try succeeds.
    multiplexer.send_hello("a", None)
    assert len(drain(multiplexer)) == 1


@given(st.none() | st.text("ab-é ", min_size=1, max_size=255), json_values)
def test_name_and_metadata_arrive(name: str | None, metadata: Any) -> None:
    dialer, listener = make_multiplexer("dialer"), make_multiplexer("listener")
    dialer.send_hello(name, metadata)
    (hello,) = drain(dialer)
    listener.receive_message(hello)
    assert events(listener) == [HelloReceived(name, metadata)]


def test_both_sides_report_the_same_id_once() -> None:
    dialer, listener = _handshaken()
    assert dialer.connection_id == listener.connection_id == CONNECTION_ID
    assert dialer.peer.max_streams == 5
    assert listener.peer.max_streams == 7
    assert dialer.accepts_streams
    assert listener.accepts_streams


def test_both_sides_know_the_urls() -> None:
    dialer, listener = _handshaken(["http://a/", "https://b.example/c"])
    assert dialer.urls == listener.urls == ("http://a/", "https://b.example/c")


@pytest.mark.parametrize("urls", [["http://a/"] * 9, ["ws://a/"]], ids=["nine", "ws"])
def test_urls_that_cannot_be_told(urls: list[str]) -> None:
    listener = make_multiplexer("listener")
    listener.receive_message(envelope("hello", {"version": 1}))
    with pytest.raises(LocalProtocolError):
        listener.send_welcome(CONNECTION_ID, urls)
    # Nothing has happened: the next try succeeds.
    listener.send_welcome(CONNECTION_ID)
    (welcome,) = drain(listener)
    assert "urls" not in welcome


def test_the_dialer_may_send_directly_after_ready() -> None:
    dialer, listener = make_multiplexer("dialer"), make_multiplexer("listener")
    dialer.send_hello(None, None)
    listener.receive_message(drain(dialer)[0])
    listener.send_welcome(CONNECTION_ID)
    dialer.receive_message(drain(listener)[0])
    dialer.open_stream(GET, end=True)
    ready, request = drain(dialer)
    assert isinstance(ready, str)
    events(listener)
    listener.receive_message(ready)
    listener.receive_message(request)
    assert [type(e) for e in events(listener)[:2]] == [HandshakeCompleted, RequestReceived]


def _handshaken(urls: Sequence[str] = ()) -> tuple[Multiplexer, Multiplexer]:
    dialer = make_multiplexer("dialer", Limits(max_streams=7))
    listener = make_multiplexer("listener", Limits(max_streams=5))
    dialer.send_hello(None, None)
    listener.receive_message(drain(dialer)[0])
    listener.send_welcome(CONNECTION_ID, urls)
    dialer.receive_message(drain(listener)[0])
    completed = HandshakeCompleted(CONNECTION_ID, tuple(urls))
    assert events(dialer) == [completed]
    listener.receive_message(drain(dialer)[0])
    assert events(listener) == [HelloReceived(None, None), completed]
    return dialer, listener


def test_no_stream_opens_before_the_handshake_is_done() -> None:
    dialer, listener = make_multiplexer("dialer"), make_multiplexer("listener")
    for multiplexer in (dialer, listener):
        assert not multiplexer.can_open
        assert not multiplexer.accepts_streams
        with pytest.raises(LocalProtocolError):
            multiplexer.open_stream(GET)
    dialer.send_hello(None, None)
    with pytest.raises(LocalProtocolError):
        dialer.open_stream(GET)
    listener.receive_message(drain(dialer)[0])
    listener.send_welcome(CONNECTION_ID)
    with pytest.raises(LocalProtocolError):
        listener.open_stream(GET)


def test_steps_out_of_turn_are_refused_here() -> None:
    dialer, listener = make_multiplexer("dialer"), make_multiplexer("listener")
    with pytest.raises(LocalProtocolError):
        listener.send_hello(None, None)
    for multiplexer in (dialer, listener):
        with pytest.raises(LocalProtocolError):
            multiplexer.send_welcome(CONNECTION_ID)
    dialer.send_hello(None, None)
    with pytest.raises(LocalProtocolError):
        dialer.send_hello(None, None)


@pytest.mark.parametrize("name", ["", "a" * 256, "a\n", "\x00", "\ud800"], ids=ascii)
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        make_multiplexer("dialer").send_hello(name, None)
    with pytest.raises(RemoteProtocolError) as caught:
        make_multiplexer("listener").receive_message(
            envelope("hello", {"version": 1, "name": name})
        )
    assert caught.value.close_code == 4000


def test_a_handshake_message_that_is_too_long() -> None:
    multiplexer = make_multiplexer("listener", Limits(max_metadata=1000))
    with pytest.raises(RemoteProtocolError) as caught:
        multiplexer.receive_message(envelope("hello", {"version": 1, "metadata": "m" * 1000}))
    assert caught.value.close_code == 4000


def test_settings_of_the_peer_bound_what_is_opened() -> None:
    multiplexer = make_multiplexer("dialer")
    multiplexer.send_hello(None, None)
    settings = {"max_streams": 1}
    multiplexer.receive_message(
        envelope("welcome", {"connection_id": CONNECTION_ID, "settings": settings})
    )
    assert multiplexer.can_open
    multiplexer.open_stream(GET, end=True)
    assert not multiplexer.can_open
    assert multiplexer.accepts_streams
    with pytest.raises(LocalProtocolError):
        multiplexer.open_stream(GET, end=True)
