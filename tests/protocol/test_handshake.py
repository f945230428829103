"""The handshake: envelopes, settings, and the order of the three steps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._config import Heartbeat, Limits
from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import (
    HandshakeCompleted,
    HelloReceived,
    RequestHead,
    RequestReceived,
    Session,
    Settings,
)
from restsock.protocol._envelopes import decode_envelope, encode_envelope
from tests.protocol.vectors import CONNECTION_ID, drain, envelope, events, make_session
from tests.strategies import json_values

GET = RequestHead(b"GET", b"/", [(b"Host", b"a")])


@given(
    st.text(max_size=10).filter(str.isprintable),
    st.dictionaries(st.text(), json_values, max_size=3),
)
def test_envelopes_round_trip(type: str, payload: dict[str, Any]) -> None:
    got = decode_envelope(encode_envelope(type, "i", 7, payload))
    assert (got.type, got.id, got.timestamp, got.payload) == (type, "i", 7, payload)


@given(st.text() | json_values.map(json.dumps))
def test_arbitrary_text_raises_only_the_documented_error(text: str) -> None:
    try:
        decode_envelope(text)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"type":"t","id":"i","timestamp":' + "9" * 100_000 + ',"payload":{}}',
        '{"type":"t","id":"i","timestamp":1e400,"payload":{}}',
    ],
    ids=["deep array", "deep object", "long number", "large number"],
)
def test_json_that_is_hard_on_a_parser(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_envelope(text)


@pytest.mark.parametrize("value", [object(), float("nan"), "\ud800", {1, 2}], ids=repr)
def test_what_is_not_json_is_not_sent(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        encode_envelope("t", "i", 1, {"metadata": value})
    session = make_session("dialer")
    with pytest.raises(LocalProtocolError):
        session.send_hello("a", value)
    # Nothing has happened: the next try succeeds.
    session.send_hello("a", None)
    assert len(drain(session)) == 1


def test_settings_are_those_of_the_options() -> None:
    limits = Limits(max_frame=2048, max_head=4096, initial_window=20000, max_streams=3)
    settings = Settings.of(limits, Heartbeat(interval=3.5, timeout=2))
    assert settings == Settings(2048, 4096, 20000, 3, 3.5, 2)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert Settings.of(limits, Heartbeat(interval=None)).heartbeat_interval is None


@given(st.dictionaries(st.sampled_from(list(Settings().to_json())), json_values))
def test_arbitrary_settings_are_in_range_or_refused(value: dict[str, Any]) -> None:
    try:
        settings = Settings.from_json(value)
    except RemoteProtocolError:
        return
    assert 1024 <= settings.max_frame <= 65536
    assert 1024 <= settings.max_head <= 65536
    assert 16384 <= settings.initial_window < 2**31
    assert 0 <= settings.max_streams < 2**31
    for seconds in (settings.heartbeat_interval, settings.heartbeat_timeout):
        assert seconds is None or 0 < seconds < float("inf")


@pytest.mark.parametrize("seconds", ["1e400", "1" + "0" * 400, "1e-400"])
def test_a_heartbeat_that_no_float_holds(seconds: str) -> None:
    value = json.loads('{"heartbeat_interval":' + seconds + "}")
    with pytest.raises(RemoteProtocolError):
        Settings.from_json(value)


# --- two sessions -------------------------------------------------------------------------------


@given(st.none() | st.text("ab-é ", min_size=1, max_size=255), json_values)
def test_name_and_metadata_arrive(name: str | None, metadata: Any) -> None:
    dialer, listener = make_session("dialer"), make_session("listener")
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


def test_the_dialer_may_send_directly_behind_ready() -> None:
    dialer, listener = make_session("dialer"), make_session("listener")
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


def _handshaken() -> tuple[Session, Session]:
    dialer = make_session("dialer", Limits(max_streams=7))
    listener = make_session("listener", Limits(max_streams=5))
    dialer.send_hello(None, None)
    listener.receive_message(drain(dialer)[0])
    listener.send_welcome(CONNECTION_ID)
    dialer.receive_message(drain(listener)[0])
    assert events(dialer) == [HandshakeCompleted(CONNECTION_ID)]
    listener.receive_message(drain(dialer)[0])
    assert events(listener) == [HelloReceived(None, None), HandshakeCompleted(CONNECTION_ID)]
    return dialer, listener


def test_no_stream_opens_before_the_handshake_is_done() -> None:
    dialer, listener = make_session("dialer"), make_session("listener")
    for session in (dialer, listener):
        assert not session.can_open
        assert not session.accepts_streams
        with pytest.raises(LocalProtocolError):
            session.open_stream(GET)
    dialer.send_hello(None, None)
    with pytest.raises(LocalProtocolError):
        dialer.open_stream(GET)
    listener.receive_message(drain(dialer)[0])
    listener.send_welcome(CONNECTION_ID)
    with pytest.raises(LocalProtocolError):
        listener.open_stream(GET)


def test_steps_out_of_turn_are_refused_here() -> None:
    dialer, listener = make_session("dialer"), make_session("listener")
    with pytest.raises(LocalProtocolError):
        listener.send_hello(None, None)
    for session in (dialer, listener):
        with pytest.raises(LocalProtocolError):
            session.send_welcome(CONNECTION_ID)
    dialer.send_hello(None, None)
    with pytest.raises(LocalProtocolError):
        dialer.send_hello(None, None)


@pytest.mark.parametrize("name", ["", "a" * 256, "a\n", "\x00", "\ud800"], ids=ascii)
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        make_session("dialer").send_hello(name, None)
    with pytest.raises(RemoteProtocolError) as caught:
        make_session("listener").receive_message(envelope("hello", {"version": 1, "name": name}))
    assert caught.value.close_code == 4000


def test_a_handshake_message_that_is_too_long() -> None:
    session = make_session("listener", Limits(max_metadata=1000))
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive_message(envelope("hello", {"version": 1, "metadata": "m" * 1000}))
    assert caught.value.close_code == 4000


def test_settings_of_the_peer_bound_what_is_opened() -> None:
    session = make_session("dialer")
    session.send_hello(None, None)
    settings = {"max_streams": 1}
    session.receive_message(
        envelope("welcome", {"connection_id": CONNECTION_ID, "settings": settings})
    )
    assert session.can_open
    session.open_stream(GET, end=True)
    assert not session.can_open
    assert session.accepts_streams
    with pytest.raises(LocalProtocolError):
        session.open_stream(GET, end=True)
