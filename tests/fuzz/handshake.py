"""The handshake: hello, welcome and ready, read by both roles.

An input is a byte of flags and messages, parted by RS. A message that begins with 0xFF is a binary
one. With WRAPPED a message is the payload of the step that is due, so that the fuzzer need not
find the envelope around it; with PAIR the first two are name and metadata of a dialer whose hello
a listener reads.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Heartbeat, Limits
from restsock.protocol import HandshakeCompleted, HelloReceived, Multiplexer

MAX_LEN = 2048
DICTIONARY = (
    *(b'{"type":"hello","id":"i","timestamp":1,"payload":{"version":1}}', b'{"version":1}'),
    *(b'{"type":"welcome","id":"i","timestamp":1,"payload":{"connection_id":"c"}}', b"\x1e"),
    *(b'{"type":"ready","id":"i","timestamp":1,"payload":{"connection_id":"c"}}', b"\xff"),
    *(b'"name":"edge"', b'"metadata":', b'"settings":{', b'"max_frame":1024', b'"max_head":65536'),
    *(b'"urls":["http://a/"]', b'"https://a.example:8443/b"', b"%20", b"[::1]"),
    *(
        b'"initial_window":16384',
        b'"max_streams":0',
        b'"heartbeat_interval":0.5',
        b"null",
        b"1e999",
    ),
    *(
        b'"heartbeat_timeout":1e-300',
        b"true",
        b"NaN",
        b"\\ud800",
        b"\\u0000",
        b'"\xc2\x85"',
        b"1.0",
    ),
)

DIALER = 1
WRAPPED = 2
PAIR = 4
RS = b"\x1e"

_ID = "c"
_MAX_METADATA = 1024

_RANGES = {
    "max_frame": (1024, 65536),
    "max_head": (1024, 65536),
    "initial_window": (16384, 2**31 - 1),
    "max_streams": (0, 2**31 - 1),
}


def test_one(data: bytes) -> None:
    flags, messages = data[:1], data[1:].split(RS)
    kind = flags[0] if flags else 0
    if kind & PAIR:
        _pair(*[*messages, b""][:2])
    else:
        _receive(messages, dialer=bool(kind & DIALER), wrapped=bool(kind & WRAPPED))


def _multiplexer(*, dialer: bool, max_metadata: int) -> Multiplexer:
    return Multiplexer(
        dialer=dialer,
        limits=Limits(max_metadata=max_metadata),
        heartbeat=Heartbeat(),
        new_id=lambda: "i",
        unix_ms=lambda: 1,
    )


def _receive(messages: list[bytes], *, dialer: bool, wrapped: bool) -> None:
    multiplexer = _multiplexer(dialer=dialer, max_metadata=_MAX_METADATA)
    steps = ["welcome"] if dialer else ["hello", "ready"]
    done = 0
    if dialer:
        multiplexer.send_hello("edge", {"a": [1]})
        _check_sent(multiplexer, "hello")
    for raw in messages:
        due = steps[done] if done < len(steps) else None
        message = _message(raw, due if wrapped else None)
        if due is None and isinstance(message, bytes):
            return  # the target `multiplexer` takes it from here
        try:
            multiplexer.receive_message(message)
        except RemoteProtocolError as exc:
            assert exc.close_code == (4002 if due is None else 4000)
            assert str(exc).isascii() or due is not None
            assert multiplexer.events.take() == []
            return
        events = multiplexer.events.take()
        if due is None:
            assert events == []
            continue
        (event,) = events
        assert isinstance(message, str)
        assert len(message) <= _MAX_METADATA
        said = json.loads(message, parse_constant=_no_json)
        assert said["type"] == due
        payload = said["payload"]
        _check_event(event, due, payload)
        if due != "ready":
            _check_settings(multiplexer, payload.get("settings", {}))
        if due == "hello":
            multiplexer.send_welcome(_ID)
            _check_sent(multiplexer, "welcome")
        elif due == "welcome":
            _check_sent(multiplexer, "ready")
            assert multiplexer.connection_id == payload["connection_id"]
        done += 1
        assert multiplexer.accepts_streams == (done == len(steps))
        assert multiplexer.next_message() is None


def _message(raw: bytes, due: str | None) -> str | bytes:
    if raw[:1] == b"\xff":
        return raw[1:]
    text = raw.decode("utf-8", "replace")
    if due is None:
        return text
    return f'{{"type":"{due}","id":"i","timestamp":1,"payload":{text}}}'


def _no_json(name: str) -> None:
    raise AssertionError(f"{name} passed as JSON")


def _check_event(event: object, due: str, payload: dict[str, Any]) -> None:
    if due == "hello":
        assert type(payload["version"]) is int
        assert payload["version"] == 1
        name = payload.get("name")
        assert event == HelloReceived(name, payload.get("metadata"))
        assert name is None or _is_name(name)
    else:
        urls = payload.get("urls", []) if due == "welcome" else []
        assert event == HandshakeCompleted(payload["connection_id"], tuple(urls))
        assert len(urls) <= 8
        for url in urls:
            parts = urlsplit(url)
            assert len(url) <= 1024
            assert url.isascii()
            assert url.isprintable()
            assert parts.scheme in ("http", "https")
            assert parts.hostname
            assert parts.port != 0
            assert parts.username is parts.password is None
            assert parts.query == parts.fragment == ""
        assert _is_name(payload["connection_id"])
        assert due == "welcome" or payload["connection_id"] == _ID


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) < 256 and value.isprintable()


def _check_settings(multiplexer: Multiplexer, said: dict[str, Any]) -> None:
    """What counts is what was said, within its range, or else the default."""
    for name, (low, high) in _RANGES.items():
        value = getattr(multiplexer.peer, name)
        assert type(value) is int
        assert low <= value <= high
        assert name not in said or (type(said[name]) is int and value == said[name])
    for name in ("heartbeat_interval", "heartbeat_timeout"):
        seconds = getattr(multiplexer.peer, name)
        assert (seconds is None) == (said.get(name) is None)
        assert seconds is None or (seconds == float(said[name]) and 0 < seconds < float("inf"))


def _check_sent(multiplexer: Multiplexer, step: str) -> None:
    message = multiplexer.next_message()
    assert isinstance(message, str)
    message.encode("utf-8")
    said = json.loads(message)
    assert said["type"] == step
    assert sorted(said) == ["id", "payload", "timestamp", "type"]


def _pair(name_bytes: bytes, text: bytes) -> None:
    """Whatever a dialer can send of itself, a listener reads as it was meant."""
    name = name_bytes.decode("utf-8", "surrogateescape") if name_bytes else None
    if text.count(b"[") + text.count(b"{") > 100:
        return  # what nests deeper than Python goes is refused at one end or the other
    try:
        metadata = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        metadata = text.decode("utf-8", "surrogateescape")
    dialer = _multiplexer(dialer=True, max_metadata=64 * 1024)
    try:
        dialer.send_hello(name, metadata)
    except LocalProtocolError:
        assert dialer.next_message() is None
        return
    assert name is None or _is_name(name)
    listener = _multiplexer(dialer=False, max_metadata=64 * 1024)
    for sender, receiver, event in (
        (dialer, listener, HelloReceived(name, metadata)),
        (listener, dialer, HandshakeCompleted(_ID)),
        (dialer, listener, HandshakeCompleted(_ID)),
    ):
        message = sender.next_message()
        assert isinstance(message, str)
        message.encode("utf-8")
        assert sender.next_message() is None
        receiver.receive_message(message)
        assert receiver.events.take() == [event]
        if isinstance(event, HelloReceived):
            listener.send_welcome(_ID)
    assert dialer.can_open
    assert listener.can_open
