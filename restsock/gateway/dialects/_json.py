"""What the dialects of JSON have in common: values, ids, bodies that are bytes, problems."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from restsock._strict_json import NestedTooDeeply, NotJSON, read_json
from restsock.protocol import weight_of

from ._dialect import BadMessage

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = [
    "MAX_DEPTH",
    "body_members",
    "checked_name",
    "is_id",
    "problem_of",
    "read",
    "read_object",
    "said",
    "title_of",
    "write",
]

MAX_DEPTH = 64
"""Arrays and objects within each other. Whatever copies, checks or logs a value recurses."""
_MAX_ID = 256  # characters
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read(data: str | bytes) -> Any:
    """The value of a message.

    Raises:
        NotJSON: It has none that is certain, or is nested too deeply.
    """
    value = read_json(data)
    opening = ("[", "{") if isinstance(data, str) else (b"[", b"{")
    # So many at most are within each other; only then is it worth to look.
    suspicious = sum(map(data.count, opening)) > MAX_DEPTH  # type: ignore[arg-type]  # of its kind
    if suspicious and weight_of(value, depth=MAX_DEPTH) is None:
        raise NestedTooDeeply("is nested too deeply")
    return value


def read_object(data: str | bytes, what: str) -> dict[str, Any] | BadMessage:
    """The object of a message, or what is wrong with it.

    Args:
        data: The message.
        what: What it should be, for the client.
    """
    try:
        value = read(data)
    except NotJSON as exc:
        return BadMessage(400, f"the message {exc}")
    return value if isinstance(value, dict) else BadMessage(400, f"{what} has to be an object")


def write(value: Any) -> str:
    """The text of a value.

    Raises:
        TypeError: It is nothing that JSON has.
        ValueError: Likewise: `nan`, or something within itself.
    """
    try:
        text = _ENCODER.encode(value)
    except RecursionError:
        raise ValueError("a value that is nested too deeply to be sent") from None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a pair: JSON can have that, if it is escaped
            return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text


def checked_name(what: str, value: object) -> str:
    """A text that is not empty, which an argument has to be.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is a text, and not empty, unlike {value!r}")
    return value


def is_id(value: object) -> bool:
    """Whether a client may call a message by this: a text, or a number."""
    if isinstance(value, str):
        return len(value) <= _MAX_ID
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def body_members(body: Any) -> dict[str, Any]:
    """The members that say a body: bytes are base64 (RFC 4648, section 4), and are said to be."""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return {"body": base64.b64encode(body).decode(), "encoding": "base64"}
    return {"body": body}


def said(body: Any) -> Any:
    """The same as one value: bytes become an object of both members."""
    members = body_members(body)
    return members if len(members) > 1 else body


def problem_of(reply: Reply) -> dict[str, Any]:
    """The problem (RFC 9457) that a failure is, or is made."""
    body = reply.body
    if isinstance(body, dict) and body.get("status") == reply.status and "title" in body:
        return body
    problem: dict[str, Any] = {"title": title_of(reply.status), "status": reply.status}
    if body is not None:
        problem.update(body_members(body))
    return problem


def title_of(status: int) -> str:
    """The words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Failed"
