"""`JSONIds`: calls and answers over one WebSocket, told apart by an id in objects of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

from restsock._strict_json import read_json
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Reply

from ._payload import json_text

if TYPE_CHECKING:
    from restsock.gateway._message import Message

__all__ = ["JSONIds"]


@dataclass(frozen=True)
class JSONIds:
    """How calls are written for a server that repeats an id in its answers.

        JSONIds()                                        {..., "id": "7f-1"}
        JSONIds(key="action")                            {"action": "...", ..., "id": "7f-1"}
        JSONIds(key="method", body="params", answer="result", error="error",
                extra={"jsonrpc": "2.0"})                JSON-RPC

    The ids are the gateway's own, so that many clients can share a connection. If a client has put
    an id into the body, the answer has the client's id.

    Args:
        id: The member with the id; the server has to repeat it as it is.
        key: The member for the key of the message; `None` leaves it out.
        body: The member for the body of the message; `None` puts the members of an object next to
            the id, and anything else into `"body"`.
        status: The member of an answer with its HTTP status; `None` if there is none.
        answer: The member of an answer with its body; `None` takes everything except the id.
        error: The member that an answer has if the call has failed. It is then the body of the
            failure, which is a 502 unless there is a status.
        extra: Further members of each call.

    Raises:
        ValueError: Two of the members of a call have the same name.
    """

    id: str = "id"
    _: KW_ONLY
    key: str | None = None
    body: str | None = None
    status: str | None = None
    answer: str | None = None
    error: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name for name in (self.id, self.key, self.body, *self.extra) if name is not None]
        if len(set(names)) < len(names):
            raise ValueError(f"two members of one name: {', '.join(names)}")

    def encode(self, message: Message, id: str) -> str:
        """The call, as text.

        Raises:
            CallFailed: The body is none of JSON: 422.
        """
        call: dict[str, Any] = {}
        if self.body is not None:
            if message.body is not None:
                call[self.body] = message.body
        elif isinstance(message.body, Mapping):
            call.update(message.body)
        elif message.body is not None:
            call["body"] = message.body
        call.update(self.extra)
        if self.key is not None:
            call[self.key] = message.key
        call[self.id] = id
        return json_text(call)

    def decode(self, data: str | bytes) -> tuple[str | None, Any]:
        """The id of an answer, `None` of what is none, and what has come.

        Raises:
            ValueError: It is not JSON.
        """
        value = read_json(data)
        if isinstance(value, dict):
            id = value.get(self.id)
            if isinstance(id, str):
                return id, value
        return None, value

    def reply_to(self, message: Message, answer: dict[str, Any]) -> Reply:
        """The reply that an answer is."""
        rest = {name: value for name, value in answer.items() if name != self.id}
        status = 200
        if self.status is not None:
            found = rest.pop(self.status, 200)
            if type(found) is not int or not 200 <= found <= 599:
                raise CallFailed(502, "an answer without a valid status", may_have_run=True)
            status = found
        if self.error is not None and rest.get(self.error) is not None:
            return Reply(rest[self.error], status if status >= 400 else 502)
        if self.answer is not None:
            return Reply(rest.get(self.answer), status)
        if self.body is None and isinstance(message.body, Mapping) and self.id in message.body:
            rest[self.id] = message.body[self.id]
        return Reply(rest, status)
