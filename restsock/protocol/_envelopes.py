"""Envelopes: what a text message carries (spec, "Envelopes" and "Settings"), built and checked."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock._options import Heartbeat, Limits

__all__ = [
    "Envelope",
    "MessagingSettings",
    "Settings",
    "decode_envelope",
    "encode_envelope",
    "weight_of",
]

_MOST = 2**31 - 1


@dataclass(frozen=True)
class Envelope:
    """A text message: what it is, what it says."""

    type: str
    id: str
    timestamp: int
    payload: dict[str, Any]


@dataclass(frozen=True)
class MessagingSettings:
    """How a peer takes messages (spec, "Messages"); see `Settings.messaging`.

    Attributes:
        max_message: the longest envelope that it takes, in bytes, 16 to 64 KiB.
        credit_messages: how many `data` envelopes may be on their way to it at first.
        credit_bytes: how many bytes these may have in all.
    """

    max_message: int = 64 * 1024
    credit_messages: int = 64
    credit_bytes: int = 1024 * 1024

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the handshake."""
        credit = {"messages": self.credit_messages, "bytes": self.credit_bytes}
        return {"version": 1, "max_message": self.max_message, "credit": credit}

    @classmethod
    def from_json(cls, value: object) -> MessagingSettings | None:
        """Reads those of the peer; `None` of a version that is not known here.

        Raises:
            RemoteProtocolError: a value is of the wrong type or out of its range.
        """
        if not isinstance(value, dict):
            raise RemoteProtocolError("the setting messaging is not an object")
        if _whole(value, "version", 0, 0, _MOST) != 1:
            return None
        credit = value.get("credit", {})
        if not isinstance(credit, dict):
            raise RemoteProtocolError("the setting credit is not an object")
        default = cls()
        return cls(
            max_message=_whole(value, "max_message", default.max_message, 16 * 1024, 64 * 1024),
            credit_messages=_whole(credit, "messages", default.credit_messages, 1, _MOST),
            credit_bytes=_whole(credit, "bytes", default.credit_bytes, 64 * 1024, _MOST),
        )


@dataclass(frozen=True)
class Settings:
    """What a peer is willing to receive (spec, "Settings"). Sizes in bytes, times in seconds."""

    max_frame: int = 16 * 1024
    max_head: int = 64 * 1024
    initial_window: int = 64 * 1024
    max_streams: int = 128
    heartbeat_interval: float | None = None
    heartbeat_timeout: float | None = None
    ping_frames: bool = False
    messaging: MessagingSettings | None = None

    @classmethod
    def of(
        cls, limits: Limits, heartbeat: Heartbeat, messaging: MessagingSettings | None = None
    ) -> Settings:
        """The settings that these options amount to."""
        return _shared(
            max_frame=limits.max_frame,
            max_head=limits.max_head,
            initial_window=limits.initial_window,
            max_streams=limits.max_streams,
            heartbeat_interval=heartbeat.interval,
            heartbeat_timeout=heartbeat.timeout,
            ping_frames=True,
            messaging=messaging,
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the handshake."""
        found = dict(vars(self))
        if self.messaging is None:
            del found["messaging"]
        else:
            found["messaging"] = self.messaging.to_json()
        return found

    @classmethod
    def from_json(cls, value: object) -> Settings:
        """Reads the peer's settings; what is missing has its default, what is unknown is ignored.

        Raises:
            RemoteProtocolError: a value is of the wrong type or out of its range.
        """
        if not isinstance(value, dict):
            raise RemoteProtocolError("settings that are not an object")
        default = cls()
        return _shared(
            max_frame=_whole(value, "max_frame", default.max_frame, 1024, 64 * 1024),
            max_head=_whole(value, "max_head", default.max_head, 1024, 64 * 1024),
            initial_window=_whole(
                value, "initial_window", default.initial_window, 16 * 1024, 2**31 - 1
            ),
            max_streams=_whole(value, "max_streams", default.max_streams, 0, 2**31 - 1),
            heartbeat_interval=_seconds(value, "heartbeat_interval"),
            heartbeat_timeout=_seconds(value, "heartbeat_timeout"),
            ping_frames=_flag(value, "ping_frames"),
            messaging=(
                MessagingSettings.from_json(value["messaging"]) if "messaging" in value else None
            ),
        )


# Thousands of connections are told the same, and keep it.
_shared = lru_cache(maxsize=64)(Settings)


def encode_envelope(type: str, id: str, timestamp: int, payload: dict[str, Any]) -> str:
    """Returns the text message.

    Raises:
        LocalProtocolError: the payload is not JSON.
    """
    envelope = {"type": type, "id": id, "timestamp": timestamp, "payload": payload}
    try:
        return (
            json.dumps(envelope, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            .encode("utf-8")
            .decode("utf-8")
        )
    except (TypeError, ValueError, RecursionError) as exc:
        raise LocalProtocolError(f"not JSON: {exc}") from exc


def decode_envelope(text: str) -> Envelope:
    """Reads a text message.

    Raises:
        RemoteProtocolError: it is not an envelope.
    """
    try:
        value = _decoder.decode(text)
    # RecursionError: deep nesting is the peer's doing. ValueError: also a number that is too long.
    except (ValueError, RecursionError) as exc:
        raise RemoteProtocolError("a text message that is not JSON") from exc
    if not isinstance(value, dict):
        raise RemoteProtocolError("a text message that is not an envelope")
    type, id, timestamp = value.get("type"), value.get("id"), value.get("timestamp")
    payload = value.get("payload")
    if not (
        isinstance(type, str)
        and isinstance(id, str)
        and isinstance(timestamp, int)
        and not isinstance(timestamp, bool)
        and isinstance(payload, dict)
    ):
        raise RemoteProtocolError("a text message that is not an envelope")
    return Envelope(type, id, timestamp, payload)


def weight_of(value: object, *, most: float = math.inf, depth: float = math.inf) -> int | None:
    """How many bytes of memory a JSON value takes.

    Args:
        value: what `json.loads` has given.
        most: how many it may take.
        depth: how deep its arrays and objects may lie within each other.

    Returns:
        `None` when it is more, or deeper.
    """
    level: list[object] = [value]
    seen: set[int] = set()  # equal names of members are one object
    weight = 0
    while level:
        below: list[object] = []
        for item in level:
            if id(item) not in seen:
                seen.add(id(item))
                weight += sys.getsizeof(item)
            if isinstance(item, dict):
                below += item
                below += item.values()
            elif isinstance(item, (list, tuple)):
                below += item
        nested = any(isinstance(item, (dict, list, tuple)) for item in level)
        depth -= nested
        if weight > most or depth < 0:
            return None
        level = below
    return weight


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _whole(value: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    number = value.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise RemoteProtocolError(f"the setting {name} is not a whole number in {low}..{high}")
    return number


def _flag(value: dict[str, Any], name: str) -> bool:
    flag = value.get(name, False)
    if not isinstance(flag, bool):
        raise RemoteProtocolError(f"the setting {name} is neither true nor false")
    return flag


def _seconds(value: dict[str, Any], name: str) -> float | None:
    number = value.get(name)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise RemoteProtocolError(f"the setting {name} is not a number")
    try:
        seconds = float(number)
    except OverflowError as exc:
        raise RemoteProtocolError(f"the setting {name} is out of range") from exc
    if not math.isfinite(seconds) or seconds <= 0:
        raise RemoteProtocolError(f"the setting {name} is not above 0")
    return seconds
