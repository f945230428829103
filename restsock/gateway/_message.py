"""`Message` and `Reply`: a question of a client, and its answer. Both are values."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ._session import Session

__all__ = ["Message", "Reply", "nothing"]

_SHOWN = 100  # characters of a key, which is the client's
_NOTHING: Mapping[str, str] = MappingProxyType({})


def nothing() -> Mapping[str, str]:
    """No header fields, of which there is one object."""
    return _NOTHING


class Message(NamedTuple):
    """What a client asks. It never changes: `replace` makes another one.

    Attributes:
        session: The client.
        key: What the router looks at: an action, a method, a path; `""` if the dialect has none.
        body: A value of JSON, or text or bytes of a dialect without structure.
        id: The client's id of the message, repeated in the answer; `None` if it gave none.
        answered: Whether the client expects an answer. A notification of JSON-RPC is not answered.
        headers: Fields that the client has sent with it, names in lower case.
        method: That of HTTP, where the dialect has one.
        path: Path and query of HTTP, where the dialect has them.
        deadline: The time after which nobody needs the answer, on trio's clock.
    """

    session: Session
    key: str
    body: Any = None
    id: Any = None
    answered: bool = True
    headers: Mapping[str, str] = _NOTHING
    method: str | None = None
    path: str | None = None
    deadline: float = math.inf

    def replace(self, **changes: Any) -> Message:
        """The same with other attributes.

        Raises:
            ValueError: There is no such attribute. From Python 3.13 on it is a TypeError.
        """
        return self._replace(**changes)

    def __repr__(self) -> str:
        key = self.key if len(self.key) <= _SHOWN else f"{self.key[:_SHOWN]}..."
        return f"<Message {key!r} of {self.session!r}>"  # a body may hold a secret


class Reply(NamedTuple):
    """The answer to a `Message`.

    Attributes:
        body: A value of JSON, text or bytes.
        status: As of HTTP: 400 and above is a failure, and reaches the client as one.
        headers: Further fields, names in lower case; few dialects have a place for them.
        parts: Bodies that are sent before `body`, each as a message of its own, as they arrive. The
            client is told that more follows. They end early with the session.
        silent: Whether a client that gave no id gets no answer: its message was passed on, and any
            response is pushed.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = _NOTHING
    parts: AsyncIterable[Any] | None = None
    silent: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is a failure."""
        return self.status >= 400

    def replace(self, **changes: Any) -> Reply:
        """The same with other attributes.

        Raises:
            ValueError: There is no such attribute. From Python 3.13 on it is a TypeError.
        """
        return self._replace(**changes)

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"
