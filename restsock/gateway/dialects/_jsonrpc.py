"""`JSONRPC`: JSON-RPC 2.0, with batches and notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restsock._options import between
from restsock._strict_json import NotJSON
from restsock.gateway._errors import NO_ROUTE

from ._dialect import ID, BadMessage, Batch, Dialect, Parsed, ParsedCall, body_of, object_of, one_of
from ._json import checked_name, is_id, problem_of, read, said, write

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["JSONRPC"]

# Section 5.1.
_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600
_METHOD_NOT_FOUND = -32601
_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603
_SERVER_ERROR = -32000

_CODES = {400: _INVALID_PARAMS, 422: _INVALID_PARAMS, 500: _INTERNAL_ERROR}


class JSONRPC(Dialect):
    """JSON-RPC 2.0. The key is the method, the body its params.

    A call without `id` is a notification and is never answered. A failure is an error object:
    -32601 for an unknown method, -32602 for 400 and 422, -32603 for 500, -32000 for all others; its
    `data` is the problem (RFC 9457), with the status.

    A batch is answered in one message when all its calls are done. JSON-RPC has no answers in
    parts, so all parts but the last are notifications: `{"method": "more", "params": {"id": 1,
    "body": ...}}`. Pushed messages are notifications, too: an object with a text `method` (and
    `params`) is sent as such, anything else as the params of `push_method`.

    Args:
        push_method: The method of pushed messages that name none.
        max_batch: Calls of a batch, at most. A longer one is an invalid request.

    Raises:
        ValueError: There is no such method or number.
    """

    def __init__(self, *, push_method: str = "push", max_batch: int = 100) -> None:
        self.push_method = checked_name("a method", push_method)
        self.max_batch = max_batch
        between(self, "max_batch", 1, 2**31)

    def parse(self, data: str | bytes) -> Parsed:
        """See `Dialect.parse`."""
        try:
            value = read(data)
        except NotJSON as exc:
            return BadMessage(400, f"the message {exc}", code=_PARSE_ERROR)
        if not isinstance(value, list):
            return _call_of(value)
        if not value:
            return _invalid("the batch is empty")
        if len(value) > self.max_batch:
            return _invalid(f"the batch has more than {self.max_batch} calls")
        return Batch(tuple(map(_call_of, value)))

    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """See `Dialect.reply`, also for its errors."""
        if more:
            params = {"id": to.id, "body": said(reply.body)}
            return write({"jsonrpc": "2.0", "method": "more", "params": params})
        if not reply.failed:
            return write({"jsonrpc": "2.0", "id": to.id, "result": said(reply.body)})
        problem = problem_of(reply)
        if isinstance(to, BadMessage):
            code = to.code
        elif problem.get("type") == NO_ROUTE:
            code = _METHOD_NOT_FOUND
        else:
            code = _CODES.get(reply.status, _SERVER_ERROR)
        message = problem.get("detail") or problem["title"]
        error = {"code": code, "message": message, "data": problem}
        return write({"jsonrpc": "2.0", "id": to.id, "error": error})

    def call_schema(self, key: Mapping[str, Any], body: Any) -> dict[str, Any]:
        """See `Dialect.call_schema`."""
        return object_of({"jsonrpc": {"const": "2.0"}, "method": dict(key)}, id=ID, params=body)

    def reply_schema(self, bodies: Mapping[str, Any], problem: Any) -> dict[str, Any]:
        """See `Dialect.reply_schema`."""
        version = {"const": "2.0"}
        error = object_of(
            {"code": {"type": "integer"}, "message": {"type": "string"}}, data=problem
        )
        return one_of(
            object_of({"jsonrpc": version, "id": ID, "result": body_of(bodies)}),
            object_of({"jsonrpc": version, "id": {}, "error": error}),
        )

    def push(self, body: Any) -> str | bytes:
        """See `Dialect.push`."""
        if isinstance(body, dict) and isinstance(body.get("method"), str):
            return write({"jsonrpc": "2.0", **body})
        params = body if isinstance(body, (dict, list)) else [said(body)]
        return write({"jsonrpc": "2.0", "method": self.push_method, "params": params})

    def join(self, replies: Sequence[str | bytes]) -> str | bytes:
        """See `Dialect.join`."""
        return "[" + ",".join(map(str, replies)) + "]"


def _call_of(value: object) -> ParsedCall | BadMessage:
    if not isinstance(value, dict):
        return _invalid("a call has to be an object")
    id = value.get("id")
    if id is not None and not is_id(id):
        return _invalid("id has to be a text or a number")
    if value.get("jsonrpc") != "2.0":
        return _invalid('jsonrpc has to be "2.0"', id)
    method = value.get("method")
    if not isinstance(method, str):
        return _invalid("method has to be a text", id)
    params = value.get("params")
    if not isinstance(params, (dict, list)) and "params" in value:
        return _invalid("params has to be an object or an array", id)
    return ParsedCall(method, params, id, answered="id" in value)


def _invalid(detail: str, id: Any = None) -> BadMessage:
    return BadMessage(400, detail, id, _INVALID_REQUEST)
