"""The payloads of messaging: built, and read strictly (spec, "Messages").

What a peer sends is checked member by member, and nothing of it is used before. `Malformed` says
what was wrong. Unknown members are ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from json import JSONEncoder
from json.encoder import encode_basestring as quoted
from typing import Any

__all__ = [
    "DATA_OVERHEAD",
    "MAX_NUMBER",
    "MAX_SECONDS",
    "Ack",
    "Data",
    "Grant",
    "Malformed",
    "Nack",
    "Reply",
    "Request",
    "Resume",
    "ResumePoint",
    "Resumed",
    "Slow",
    "Working",
    "content_size",
    "decode_payload",
    "encode_content",
    "encode_json",
    "is_name",
    "quoted",
    "sayable",
    "utf8_length",
]

# A JSON number that every reader takes as an integer.
MAX_NUMBER = 2**53 - 1
# A receiver may ask for a day, and not for ever.
MAX_SECONDS = 86_400.0
# At most so many bytes of a data envelope are neither its channel nor its content: see
# `content_size`.
DATA_OVERHEAD = 400

_MAX_NAME = 255
_MAX_HEADERS = 64
_MAX_EPOCH = 64

_encoder = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Malformed(ValueError):
    """A payload that breaks a rule of the spec. The message says which."""


@dataclass(slots=True)
class Data:
    """A message on a channel.

    Attributes:
        id: of its envelope.
        timestamp: of its envelope.
        channel: where it goes.
        body: JSON, or bytes.
        reliable: whether it is sent at least once, and wants an ack.
        epoch: of its number; empty if it has none.
        seq: its number; 0 if it has none.
        attempt: how often it was tried, with this time.
        low: the lowest number of its epoch that may still come; 0 if it does not say.
        headers: text by name.
        reply_to: where an answer goes, if it says so.
    """

    id: str
    timestamp: int
    channel: str
    body: Any
    reliable: bool
    epoch: str = ""
    seq: int = 0
    attempt: int = 1
    low: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    reply_to: str | None = None


@dataclass(slots=True)
class Ack:
    """A message was handled; with `upto`, so were all of its channel and epoch before it."""

    id: str
    channel: str | None
    seq: int
    attempt: int
    upto: bool


@dataclass(slots=True)
class Nack:
    """A message was not handled, this time or (`final`) for good."""

    id: str
    channel: str | None
    seq: int
    attempt: int
    reason: str
    retry_after: float | None
    final: bool


@dataclass(slots=True)
class Working:
    """A message takes its time: so many seconds from now."""

    id: str
    channel: str | None
    seq: int
    attempt: int
    seconds: float


@dataclass(slots=True)
class Grant:
    """Credit for so many more messages and bytes."""

    messages: int
    bytes: int


@dataclass(slots=True)
class Resume:
    """What a receiver has handled: by channel, the epoch and the number up to which."""

    channels: dict[str, tuple[str, int]]


@dataclass(slots=True)
class ResumePoint:
    """Where a channel goes on.

    Attributes:
        epoch: of the numbers; empty if the sender has none for this channel.
        next: the lowest number that may still come.
        recovered: whether nothing is missing.
        missed: how many messages are; `None` if it is not known.
    """

    epoch: str
    next: int
    recovered: bool
    missed: int | None


@dataclass(slots=True)
class Resumed:
    """Where the channels of a sender go on."""

    channels: dict[str, ResumePoint]


@dataclass(slots=True)
class Request:
    """A method is asked for something."""

    id: str
    method: str
    params: Any


@dataclass(slots=True)
class Reply:
    """The answer to a request: a result, or an error with its kind."""

    id: str
    ok: bool
    result: Any
    error: str
    kind: str


@dataclass(slots=True)
class Slow:
    """The peer's queue is filling up."""

    queue_depth: int
    queue_capacity: int
    utilization: float


def decode_payload(type: str, id: str, timestamp: int, payload: object, *, foreign: bool) -> Any:
    """Reads a payload.

    Args:
        type: of the envelope.
        id: of the envelope.
        timestamp: of the envelope.
        payload: any JSON value.
        foreign: whether the peer knows no numbers: then they may be missing.

    Returns:
        One of the classes here; `None` for a type that is not one of messaging.

    Raises:
        Malformed: it breaks a rule.
    """
    decode = _DECODERS.get(type)
    if decode is None:
        return None
    if not isinstance(payload, dict):
        raise Malformed("the payload is not an object")
    if not is_name(id):
        raise Malformed("the id is not 1 to 255 printable characters")
    return decode(id, timestamp, payload, foreign)


def encode_json(value: object) -> str:
    """JSON text.

    Raises:
        Malformed: it is not JSON.
    """
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise Malformed(f"not JSON: {exc}") from exc


def encode_content(body: object, headers: Mapping[str, str] | None, reply_to: str | None) -> str:
    """The members of a data payload that never change, as JSON text without braces.

    Raises:
        Malformed: the body is neither JSON nor bytes, or the rest breaks a rule of the spec.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        content = f'"encoding":"base64","body":"{base64.b64encode(body).decode("ascii")}"'
    else:
        content = f'"body":{encode_json(body)}'
    if headers:
        _check_headers(headers)
        content = f'"headers":{encode_json(dict(headers))},{content}'
    if reply_to is not None:
        if not is_name(reply_to):
            raise Malformed("reply_to is not the name of a peer or the id of a session")
        content = f'"reply_to":{quoted(reply_to)},{content}'
    return content


def content_size(channel: str, content: str) -> int:
    """Bytes of a channel, as JSON has it between its quotes, and of content.

    Raises:
        Malformed: one has lone surrogates, and no UTF-8.
    """
    return utf8_length(content) + utf8_length(quoted(channel)) - 2


def sayable(text: str, most: int = _MAX_NAME) -> str:
    """The first characters of a text, as a peer may be told them: half a character is a `?`."""
    return text[:most].encode("utf-8", "replace").decode("utf-8")


def utf8_length(text: str) -> int:
    """Bytes of a text in UTF-8.

    Raises:
        Malformed: it has lone surrogates, and no UTF-8.
    """
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError as exc:
        raise Malformed("text with half a character") from exc


def is_name(value: object) -> bool:
    """Whether it can be the name of a channel, a method or a peer."""
    return isinstance(value, str) and 1 <= len(value) <= _MAX_NAME and value.isprintable()


# --- members --------------------------------------------------------------------------------------


def _name(payload: dict[str, Any], member: str) -> str:
    value: Any = payload.get(member)
    if not is_name(value):
        raise Malformed(f"{member} is not a name of 1 to 255 printable characters")
    return str(value)


def _number(payload: dict[str, Any], member: str, low: int, default: int | None = None) -> int:
    value = payload.get(member, default)
    if type(value) is not int or not low <= value <= MAX_NUMBER:
        raise Malformed(f"{member} is not a whole number from {low} on")
    return int(value)


def _flag(payload: dict[str, Any], member: str) -> bool:
    value = payload.get(member, False)
    if not isinstance(value, bool):
        raise Malformed(f"{member} is neither true nor false")
    return value


def _seconds(payload: dict[str, Any], member: str) -> float:
    value = payload.get(member)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise Malformed(f"{member} is not a number of seconds")
    return float(min(value, MAX_SECONDS))


def _text(payload: dict[str, Any], member: str, most: int) -> str:
    value = payload.get(member, "")
    if not isinstance(value, str):
        raise Malformed(f"{member} is not text")
    return value[:most]


def _epoch(value: Any) -> str:
    if not is_name(value) or len(value) > _MAX_EPOCH:
        raise Malformed("the epoch is not a text of 1 to 64 printable characters")
    return str(value)


def _check_headers(headers: object) -> Mapping[str, str]:
    if not isinstance(headers, Mapping) or len(headers) > _MAX_HEADERS:
        raise Malformed(f"headers are not an object of at most {_MAX_HEADERS} members")
    for name, value in headers.items():
        if not is_name(name) or not isinstance(value, str):
            raise Malformed("headers are not text by name")
    return headers


# --- the types ------------------------------------------------------------------------------------


def _data(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Data:
    channel = _name(payload, "channel")
    delivery = payload.get("delivery", "at_most_once")
    if delivery not in ("at_most_once", "at_least_once"):
        raise Malformed("delivery is neither at_most_once nor at_least_once")
    if "body" not in payload:
        raise Malformed("there is no body")
    data = Data(id, timestamp, channel, payload["body"], delivery == "at_least_once")
    if "seq" in payload or "epoch" in payload or (data.reliable and not foreign):
        data.seq = _number(payload, "seq", 1)
        data.epoch = _epoch(payload.get("epoch"))
        if "low" in payload:
            data.low = _number(payload, "low", 1)
            if data.low > data.seq:
                raise Malformed("low is above seq")
    if "attempt" in payload or (data.reliable and not foreign):
        data.attempt = _number(payload, "attempt", 1)
    if "encoding" in payload:
        data.body = _decoded(payload["encoding"], data.body)
    if "headers" in payload:
        data.headers = _check_headers(payload["headers"])
    if payload.get("reply_to") is not None:
        data.reply_to = _name(payload, "reply_to")
    return data


def _decoded(encoding: object, body: object) -> bytes:
    if encoding != "base64":
        raise Malformed("an encoding that is not base64")
    if not isinstance(body, str):
        raise Malformed("a body in base64 that is not text")
    try:
        return base64.b64decode(body.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise Malformed("a body that is not base64") from exc


def _delivery(payload: dict[str, Any], foreign: bool) -> tuple[str | None, int, int]:
    """Which delivery is meant: channel, number, attempt. A foreign peer knows the id alone."""
    if foreign:
        return None, 0, 0
    return _name(payload, "channel"), _number(payload, "seq", 1), _number(payload, "attempt", 1)


def _ack(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Ack:
    return Ack(id, *_delivery(payload, foreign), upto=_flag(payload, "upto") and not foreign)


def _nack(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Nack:
    reason = _text(payload, "reason", _MAX_NAME)
    after = _seconds(payload, "retry_after") if payload.get("retry_after") is not None else None
    return Nack(id, *_delivery(payload, foreign), reason, after, _flag(payload, "final"))


def _working(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Working:
    return Working(id, *_delivery(payload, foreign), seconds=_seconds(payload, "seconds"))


def _grant(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Grant:
    return Grant(_number(payload, "messages", 0), _number(payload, "bytes", 0))


def _channels(payload: dict[str, Any]) -> Mapping[str, dict[str, Any]]:
    channels = payload.get("channels")
    if not isinstance(channels, dict):
        raise Malformed("channels are not an object")
    for name, value in channels.items():
        if not is_name(name) or not isinstance(value, dict):
            raise Malformed("a channel that is not an object, or has no name")
    return channels


def _resume(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Resume:
    channels = _channels(payload)
    return Resume(
        {name: (_epoch(one.get("epoch")), _number(one, "seq", 0)) for name, one in channels.items()}
    )


def _resumed(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Resumed:
    return Resumed({name: _resume_point(one) for name, one in _channels(payload).items()})


def _resume_point(one: dict[str, Any]) -> ResumePoint:
    missed = None if one.get("missed") is None else _number(one, "missed", 0)
    point = ResumePoint("", 0, _flag(one, "recovered"), missed)
    if "epoch" in one or "next" in one:
        point.epoch, point.next = _epoch(one.get("epoch")), _number(one, "next", 1)
    return point


def _request(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Request:
    return Request(id, _name(payload, "method"), payload.get("params"))


def _reply(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Reply:
    status = payload.get("status")
    if status == "ok":
        return Reply(id, True, payload.get("result"), "", "")
    if status != "error":
        raise Malformed("status is neither ok nor error")
    kind = payload.get("kind", "transient")
    if kind not in ("fatal", "transient", "invalid"):
        kind = "transient"
    return Reply(id, False, None, _text(payload, "error", 1000), kind)


def _slow(id: str, timestamp: int, payload: dict[str, Any], foreign: bool) -> Slow:
    part = payload.get("utilization", 1.0)
    if isinstance(part, bool) or not isinstance(part, (int, float)) or not 0 <= part <= 1:
        raise Malformed("utilization is not a part of 1")
    depth, capacity = (_number(payload, f"queue_{one}", 0, 0) for one in ("depth", "capacity"))
    return Slow(depth, capacity, float(part))


_DECODERS: dict[str, Callable[[str, int, dict[str, Any], bool], Any]] = {
    "data": _data,
    "ack": _ack,
    "nack": _nack,
    "working": _working,
    "credit": _grant,
    "resume": _resume,
    "resumed": _resumed,
    "request": _request,
    "reply": _reply,
    "slow": _slow,
}
