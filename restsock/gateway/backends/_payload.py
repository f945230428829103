"""Bodies and fields of messages, as bytes and text for those who carry them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import trio

from restsock._strict_json import NotJSON, read_json
from restsock.gateway._errors import CallFailed

from ._template import Source, text_of

if TYPE_CHECKING:
    from restsock.gateway._message import Message

__all__ = ["FIELDS", "Telling", "decode", "decode_json", "encode", "is_json", "json_text"]

FIELDS = ("idempotency-key", "traceparent", "tracestate", "x-request-id")
"""Fields of a message that are sent on by default."""

_JSON = re.compile(r"(?:application|text)/json|[^/;\s]+/[^/;\s]+\+json")
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def encode(body: Any) -> tuple[bytes, str]:
    """A body as bytes, and its media type. Text and bytes as they are, all else as JSON.

    Raises:
        CallFailed: It is none of these: 422.
    """
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        try:
            return body.encode(), "text/plain; charset=utf-8"
        except UnicodeEncodeError:
            raise CallFailed(422, "the body is not text of Unicode") from None
    return json_text(body).encode("ascii"), "application/json"


def json_text(body: Any) -> str:
    """A body as JSON, in ASCII.

    Raises:
        CallFailed: It is no value of JSON: 422.
    """
    try:
        return _ENCODER.encode(body)
    except (TypeError, ValueError, RecursionError):
        raise CallFailed(422, "the body is not one of JSON") from None


def is_json(essence: str) -> bool:
    """Whether a media type, in lower case and without parameters, is one of JSON."""
    return _JSON.fullmatch(essence) is not None


def decode(data: bytes, content_type: str | None = None) -> Any:
    """The value of bytes: by their media type, or else JSON, text, or bytes, whatever they are.

    Raises:
        CallFailed: They are not the JSON that they should be: 502.
    """
    if not data:
        return None
    essence = (content_type or "").partition(";")[0].strip().lower()
    if is_json(essence):
        return decode_json(data)
    if not essence:
        try:
            return read_json(data)
        except NotJSON:
            pass
    if not essence or essence.startswith("text/"):
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return data


def decode_json(data: bytes) -> Any:
    """The value of bytes that are JSON.

    Raises:
        CallFailed: They are not: 502.
    """
    try:
        return read_json(data)
    except NotJSON as exc:
        raise CallFailed(502, f"an answer that {exc}", may_have_run=True) from None


class Telling:
    """Which fields go along with a message, where there is a place for fields.

    Args:
        headers: The message's own that are sent on, by name.
        tell: Fields that say something of the client, each with a source.
        deadline_field: The field that says in how many milliseconds the answer is of no use.

    Raises:
        ValueError: A source is none.
    """

    def __init__(
        self, headers: Collection[str], tell: Mapping[str, str], deadline_field: str
    ) -> None:
        self._headers = frozenset(name.lower() for name in headers)
        self._tell = {name: Source(source) for name, source in tell.items()}
        self._deadline_field = deadline_field
        for name in (*self._headers, *self._tell):
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                raise ValueError(f"{name!r} is no name of a field")

    def fields(self, message: Message) -> dict[str, str]:
        """The fields. What does not fit into one is refused.

        Raises:
            CallFailed: A value has other characters than printable ASCII: 422.
        """
        told = {name.lower() for name in (*self._tell, self._deadline_field)}
        fields: dict[str, str] = {}
        for name, value in message.headers.items():
            if name in self._headers and name not in told:
                if not _PLAIN.fullmatch(value):
                    raise CallFailed(422, f"not a value for the field {name}")
                fields[name] = value
        for name, source in self._tell.items():
            text = text_of(source.find(message))
            if text is not None:
                if not _PLAIN.fullmatch(text):
                    raise source.refuse("cannot stand in a field")
                fields[name] = text
        if message.deadline < math.inf:
            left = max(0, round((message.deadline - trio.current_time()) * 1000))
            fields[self._deadline_field] = str(left)
        return fields
