"""The configurations of `restsock input` and `restsock output`, in JSON and TOML; and durations.

An input is a byte that says which of these, and the text. What comes of it is a configuration that
can be used, or an error that says what is wrong.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from restsock._go_duration import go_duration
from restsock.connectors import load_input, load_output
from restsock.connectors._config import Dial, Listen
from restsock.hub import ConfigError
from restsock.websockets import Reconnect
from tests.fuzz.choices import Choices

MAX_LEN = 512
DICTIONARY = (
    *(b'{"mode":"server","server":{', b'{"mode":"client","client":{', b"}}", b'"http_port":0'),
    *(b'"url":"ws://a:1/"', b'"reconnect":{', b'"initial_interval":', b'"max_interval":', b"-1"),
    *(b'"multiplier":', b'"max_retries":0', b'"enabled":false', b'"1m30s"', b'".5h"', b"1000000"),
    *(b'"auth":{"type":"none"}', b'"bearer_token_env":"HOME"', b'"backpressure":{', b"1e400"),
    *(b'"on_full":"block"', b'"queue_size":1', b'"bidirectional":{', b'"request_timeout":'),
    *(b'"ports":{"inputs":[{"name":"a","type":"stdio"}]}', b'"ack_timeout":', b'"path":"/"'),
    *(b"[server]\n", b"[client]\n", b'mode = "client"\n', b'url = "wss://a/"\n', b"nan", b"inf"),
    *(b"[client.reconnect]\n", b"multiplier = ", b"[auth]\n", b"9" * 30, b'channel = "a"\n'),
    *(b"1ns", b"2us", "3µs".encode(), b"4ms", b"5s", b"6m", b"7h", b".5", b"interval_ms"),
    *(b"growth_rate", b"randomized", b"retry", b"initial", b"factor", b"cap", b"tries", b"jitter"),
)

_FORMS = ("input.json", "input.toml", "output.json", "output.toml", "duration", "reconnect")
_FOLDER = tempfile.TemporaryDirectory(prefix="restsock-fuzz-")


def test_one(data: bytes) -> None:
    choices = Choices(data)
    form = choices.pick(_FORMS)
    text = choices.rest()
    if form == "duration":
        _duration(text.decode("utf-8", "replace"))
    elif form == "reconnect":
        _reconnect(text)
    else:
        _load(form, text)


def _load(form: str, text: bytes) -> None:
    path = Path(_FOLDER.name, form)
    path.write_bytes(text)
    try:
        config = load_input(path) if form.startswith("input") else load_output(path)
    except ConfigError as exc:
        assert str(exc)
        return
    except OSError:
        return
    place = config.place
    assert isinstance(place, (Listen, Dial))
    if isinstance(place, Dial):
        _can_wait(place.reconnect)
    options = config.options
    assert 0 < options.ask_timeout < math.inf
    assert 0 < options.ack_timeout < math.inf
    assert options.queue_messages >= 1
    assert repr(config)


def _duration(text: str) -> None:
    for value in (text, int(text)) if text.isascii() and text.isdigit() else (text,):
        try:
            seconds = go_duration(value)
        except ValueError:
            continue
        assert 0 <= seconds < math.inf
        assert go_duration(round(seconds * 1e9)) <= seconds * (1 + 1e-9) + 1e-9
        if isinstance(value, str):
            assert value[-1] in "smh"


def _reconnect(text: bytes) -> None:
    try:
        config: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(config, dict):
        return
    try:
        reconnect = Reconnect.from_mapping(config)
    except ValueError as exc:
        assert str(exc)
        return
    _can_wait(reconnect)


def _can_wait(reconnect: Reconnect) -> None:
    """All waits are of a length, however many attempts there have been."""
    for number in (0, 1, 2, 10, 1000, 100_000):
        assert 0 <= reconnect.delay(number, 0.5) < math.inf
