"""`EnvelopeDialect`: requests and replies as messaging over restsock.v1 has them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ._dialect import BadMessage, Dialect, Parsed, ParsedCall, body_of, object_of, one_of
from ._json import body_members, checked_name, problem_of, read_object, said, write

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["EnvelopeDialect"]

# Those after which the same may work later.
_PASSING = {408, 409, 425, 429}
_MAX_NAME = 255


def _now() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return str(uuid.uuid4())


class EnvelopeDialect(Dialect):
    """Envelopes `{type, id, timestamp, payload}`: requests, and replies to them.

    The payload of a request is `{method, params}`, which are the key and the body; that of the
    reply is `{status: "ok", result}`, or `{status: "error", error, kind, problem}` with a problem
    (RFC 9457) (spec/protocol.md, section 20.8). All parts of an answer but the last have `"more":
    true` in the payload. A pushed message is an envelope of the type `data`.

    Args:
        channel: The channel of pushed messages.
        clock: Gives milliseconds since 1970.
        new_id: Gives the id of what is pushed.

    Raises:
        ValueError: The channel is no text, or empty.
    """

    def __init__(
        self,
        *,
        channel: str = "push",
        clock: Callable[[], int] = _now,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self.channel = checked_name("a channel", channel)
        self._clock = clock
        self._new_id = new_id

    def parse(self, data: str | bytes) -> Parsed:
        """See `Dialect.parse`."""
        value = read_object(data, "an envelope")
        if isinstance(value, BadMessage):
            return value
        id = value.get("id")
        if not _is_name(id):
            return BadMessage(400, "id has to be 1 to 255 printable characters")
        if value.get("type") != "request":
            return BadMessage(400, "type has to be request", id)
        timestamp, payload = value.get("timestamp"), value.get("payload")
        if isinstance(timestamp, bool) or not isinstance(timestamp, int):
            return BadMessage(400, "timestamp has to be a whole number", id)
        if not isinstance(payload, dict):
            return BadMessage(400, "payload has to be an object", id)
        method = payload.get("method")
        if not _is_name(method):
            return BadMessage(400, "method has to be 1 to 255 printable characters", id)
        return ParsedCall(str(method), payload.get("params"), id)

    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """See `Dialect.reply`, also for its errors."""
        payload: dict[str, Any]
        if reply.failed:
            problem = problem_of(reply)
            lasting = reply.status < 500 and reply.status not in _PASSING
            payload = {
                "status": "error",
                "error": str(problem.get("detail") or problem["title"]),
                "kind": "invalid" if lasting else "transient",
                "problem": problem,
            }
        else:
            payload = {"status": "ok", "result": said(reply.body)}
        if more:
            payload["more"] = True
        return self._envelope("reply", to.id or "", payload)

    def call_schema(self, key: Mapping[str, Any], body: Any) -> dict[str, Any]:
        """See `Dialect.call_schema`."""
        return _envelope_schema("request", object_of({"method": dict(key)}, params=body))

    def reply_schema(self, bodies: Mapping[str, Any], problem: Any) -> dict[str, Any]:
        """See `Dialect.reply_schema`."""
        good = object_of({"status": {"const": "ok"}, "result": body_of(bodies)})
        bad = object_of(
            {"status": {"const": "error"}, "error": {"type": "string"}}, problem=problem
        )
        return _envelope_schema("reply", one_of(good, bad))

    def push(self, body: Any) -> str | bytes:
        """See `Dialect.push`."""
        payload = {"channel": self.channel, "delivery": "at_most_once", **body_members(body)}
        return self._envelope("data", self._new_id(), payload)

    def _envelope(self, type: str, id: str, payload: dict[str, Any]) -> str:
        return write({"type": type, "id": id, "timestamp": self._clock(), "payload": payload})


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()


def _envelope_schema(type: str, payload: dict[str, Any]) -> dict[str, Any]:
    return object_of(
        {
            "type": {"const": type},
            "id": {"type": "string", "minLength": 1, "maxLength": _MAX_NAME},
            "timestamp": {"type": "integer"},
            "payload": payload,
        }
    )
