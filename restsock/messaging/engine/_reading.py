"""What a peer sends of messaging, read strictly (spec, "Messages").

It is checked member by member, and nothing of it is used before. `Malformed` says what was wrong.
Unknown members are ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from ._payloads import (
    MAX_NAME,
    MAX_NUMBER,
    MAX_SECONDS,
    Ack,
    Data,
    Grant,
    Malformed,
    Nack,
    Reply,
    Request,
    Resume,
    Resumed,
    ResumePoint,
    Slow,
    Working,
    check_headers,
    is_name,
)

__all__ = ["decode_payload"]

_MAX_EPOCH = 64


def decode_payload(type: str, id: str, timestamp: int, payload: object, *, foreign: bool) -> Any:
    """Reads a payload.

    Args:
        type: of the envelope.
        id: of the envelope.
        timestamp: of the envelope.
        payload: any JSON value.
        foreign: whether the peer knows no numbers: then they may be missing.

    Returns:
        One of the classes of `_payloads`; `None` for a type that is not one of messaging.

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
        data.headers = check_headers(payload["headers"])
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
    reason = _text(payload, "reason", MAX_NAME)
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
