"""`Action`: JSON objects with a member that names the action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restsock._strict_json import NoSyntax, NotJSON

from ._dialect import ID, BadMessage, Dialect, Parsed, ParsedCall, body_of, object_of, one_of
from ._json import body_members, checked_name, is_id, problem_of, read, write

if TYPE_CHECKING:
    from restsock.gateway._message import Reply

__all__ = ["Action"]

# The keywords of a schema that others can be merged into.
_PLAIN = {"type", "properties", "required", "description", "title", "additionalProperties"}


class Action(Dialect):
    """JSON objects that name an action, as gateways of the large clouds use them.

        {"action": "pets.find", "id": 1, "tag": "cat"}         is asked
        {"id": 1, "status": 200, "body": [...]}                 is the answer
        {"id": 1, "status": 404, "error": {"title": ...}}       of a failure, a problem (RFC 9457)

    The key is the action, and the body the other members of the object: `{"tag": "cat"}`. Without
    an action, or if the message is not a JSON object, the key is empty, so the default of the
    router gets it; the body is the value, the text or the bytes. An `id` is a text of at most 256
    characters or a number; without one, the answer has none. All parts of an answer but the last
    have `"more": true`. Bytes are base64, with `"encoding": "base64"`. Pushed messages are sent as
    they are.

    Args:
        field: The member that names the action.
        id_field: The member that the answer repeats.

    Raises:
        ValueError: These are not two different texts.
    """

    def __init__(self, field: str = "action", *, id_field: str = "id") -> None:
        self.field = checked_name("the name of a member", field)
        self.id_field = checked_name("the name of a member", id_field)
        if field == id_field:
            raise ValueError(f"{field!r} cannot name both the action and the id")

    def parse(self, data: str | bytes) -> Parsed:
        """See `Dialect.parse`."""
        try:
            value = read(data)
        except NoSyntax:
            return ParsedCall("", data)
        except NotJSON as exc:
            return BadMessage(400, f"the message {exc}")
        if not isinstance(value, dict):
            return ParsedCall("", value)
        id = value.pop(self.id_field, None)
        if id is not None and not is_id(id):
            return BadMessage(400, f"{self.id_field} has to be a text or a number")
        key = value.pop(self.field, "")
        if not isinstance(key, str):
            return BadMessage(400, f"{self.field} has to be a text", id)
        return ParsedCall(key, value, id)

    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """See `Dialect.reply`, also for its errors."""
        said: dict[str, Any] = {} if to.id is None else {self.id_field: to.id}
        said["status"] = reply.status
        if reply.failed:
            said["error"] = problem_of(reply)
        else:
            said.update(body_members(reply.body))
        if more:
            said["more"] = True
        return write(said)

    def call_schema(self, key: Mapping[str, Any], body: Any) -> dict[str, Any]:
        """See `Dialect.call_schema`: the members of the body stand beside the action."""
        own = {self.field: dict(key), self.id_field: ID}
        if not isinstance(body, Mapping) or body.keys() - _PLAIN:
            return {"allOf": [object_of({self.field: dict(key)}, **{self.id_field: ID}), body]}
        return {
            **body,
            "type": "object",
            "required": [self.field, *body.get("required", ())],
            "properties": {**body.get("properties", {}), **own},
        }

    def reply_schema(self, bodies: Mapping[str, Any], problem: Any) -> dict[str, Any]:
        """See `Dialect.reply_schema`."""
        status = {"type": "integer"}
        optional: dict[str, Any] = {self.id_field: ID, "more": {"type": "boolean"}}
        return one_of(
            object_of({"status": status, "body": body_of(bodies)}, **optional),
            object_of({"status": status, "error": problem}, **optional),
        )

    def push(self, body: Any) -> str | bytes:
        """See `Dialect.push`."""
        return body if isinstance(body, bytes) else write(body)
