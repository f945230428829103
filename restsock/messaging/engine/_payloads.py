"""The payloads of messaging, and how they are built (spec, "Messages"). `_reading` reads them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from json import JSONEncoder
from json.encoder import encode_basestring as quoted
from typing import Any

__all__ = [
    "DATA_OVERHEAD",
    "MAX_NAME",
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
    "check_headers",
    "check_name",
    "content_size",
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
# Characters of a name, and of a reason.
MAX_NAME = 255
# At most so many bytes of a data envelope are neither its channel nor its content: see
# `content_size`.
DATA_OVERHEAD = 400

_MAX_HEADERS = 64

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
        check_headers(headers)
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


def sayable(text: str, most: int = MAX_NAME) -> str:
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
    return isinstance(value, str) and 1 <= len(value) <= MAX_NAME and value.isprintable()


def check_name(what: str, value: object) -> None:
    """Raises `ValueError` unless it can be the name of a channel, a method or a peer."""
    if not is_name(value):
        raise ValueError(f"a {what} is 1 to 255 printable characters, not {value!r}")


def check_headers(headers: object) -> Mapping[str, str]:
    """The headers of a message.

    Raises:
        Malformed: they are not text by name, or too many.
    """
    if not isinstance(headers, Mapping) or len(headers) > _MAX_HEADERS:
        raise Malformed(f"headers are not an object of at most {_MAX_HEADERS} members")
    for name, value in headers.items():
        if not is_name(name) or not isinstance(value, str):
            raise Malformed("headers are not text by name")
    return headers
