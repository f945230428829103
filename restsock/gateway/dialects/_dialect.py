"""What a dialect is: from a message of a WebSocket to calls, and from their answers back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from restsock.gateway._message import Reply, nothing

__all__ = ["BadMessage", "Batch", "Dialect", "Parsed", "ParsedCall"]


class ParsedCall(NamedTuple):
    """A call, as read from a message. The attributes are those of `Message`."""

    key: str
    body: Any = None
    id: Any = None
    answered: bool = True
    headers: Mapping[str, str] = nothing()
    method: str | None = None
    path: str | None = None

    def __repr__(self) -> str:
        return f"<ParsedCall {self.key!r}>"  # a body may hold a secret


class BadMessage(NamedTuple):
    """A message that the dialect cannot read. The client is told so.

    Attributes:
        status: 400 to 499.
        detail: What is wrong, for the client.
        id: The client's id of the message, if it could be read.
        code: That of JSON-RPC.
    """

    status: int
    detail: str
    id: Any = None
    code: int = 0


class Batch(NamedTuple):
    """Several calls in one message, whose answers are sent in one message.

    Attributes:
        calls: These; at least one.
    """

    calls: tuple[ParsedCall | BadMessage, ...]


Parsed: TypeAlias = ParsedCall | BadMessage | Batch
"""What a message has said."""


class Dialect(ABC):
    """The format of calls and answers on a channel. It has no state: one object serves all clients.

    Messages may be hostile: `parse` never raises an error, and its time is proportional to the
    length of the message.
    """

    @abstractmethod
    def parse(self, data: str | bytes) -> Parsed:
        """Reads a message of the WebSocket.

        Args:
            data: Text, or bytes of a binary message.
        """

    @abstractmethod
    def reply(
        self, to: ParsedCall | BadMessage, reply: Reply, *, more: bool = False
    ) -> str | bytes:
        """The message that carries an answer.

        Args:
            to: The call.
            reply: The answer. `parts` of it do not count.
            more: Whether this is a part, and more follows.

        Raises:
            TypeError: The body is nothing that can be said in this dialect.
            ValueError: Likewise.
        """

    @abstractmethod
    def push(self, body: Any) -> str | bytes:
        """The message that pushes a body.

        Raises:
            TypeError: The body is nothing that can be said in this dialect.
            ValueError: Likewise.
        """

    def join(self, replies: Sequence[str | bytes]) -> str | bytes:
        """One message with the answers to a `Batch`. For dialects that have these.

        Args:
            replies: What `reply` has given, at least one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no batches")

    def call_schema(self, key: Mapping[str, Any], body: Any) -> dict[str, Any]:
        """The JSON schema of a message that asks something, for the contract of a channel.

        Args:
            key: The schema of the key.
            body: That of the body.
        """
        return {}

    def reply_schema(self, bodies: Mapping[str, Any], problem: Any) -> dict[str, Any]:
        """The JSON schema of an answer, likewise.

        Args:
            bodies: Those of the bodies, by status: `"200"`, `"2XX"`, `"default"`.
            problem: That of a failure.
        """
        return {}


def body_of(bodies: Mapping[str, Any]) -> Any:
    """The schema of what an answer holds that is no failure."""
    found = [schema for status, schema in bodies.items() if status[:1] in "123d"]
    if not found:
        return {}
    return found[0] if len(found) == 1 else {"anyOf": found}


def one_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of what is one of these."""
    return {"oneOf": list(schemas)}


def object_of(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    """The schema of an object with these members."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
    }


ID: Mapping[str, Any] = {"type": ["string", "number"]}
"""The schema of an id."""
