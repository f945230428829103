"""Envelopes and settings: they round trip, and whatever else comes is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Heartbeat, Limits
from restsock.protocol import Settings
from restsock.protocol._envelopes import decode_envelope, encode_envelope
from tests.strategies import json_values


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


@pytest.mark.parametrize(
    "value", [object(), float("nan"), "\ud800", {1, 2}], ids=["object", "nan", "surrogate", "set"]
)
def test_what_is_not_json_is_not_sent(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        encode_envelope("t", "i", 1, {"metadata": value})


def test_settings_are_those_of_the_options() -> None:
    limits = Limits(max_frame=2048, max_head=4096, initial_window=20000, max_streams=3)
    settings = Settings.of(limits, Heartbeat(interval=3.5, timeout=2))
    assert settings == Settings(2048, 4096, 20000, 3, 3.5, 2, ping_frames=True)
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
