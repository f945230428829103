"""`Validate`: refuses messages that break their schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from restsock._options import positive
from restsock._patterns import like
from restsock.gateway._errors import CallFailed
from restsock.gateway._middleware import Middleware

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply
    from restsock.openapi.document import Problem, Schema

__all__ = ["Validate"]

# What is so small is checked on the loop, for so many seconds of processor time; a thread would
# take longer to start than most of it.
_SMALL = 64
_AT_ONCE = 0.002


class Validate(Middleware):
    """Checks the bodies of messages against a JSON Schema (2020-12, or what its `$schema` names).

        Validate({"orders.create": {"type": "object", "required": ["pet"]}, "orders.*": True})

    A message that breaks its schema gets a 422, whose `errors` say where and how. A schema applies
    to a key, or to all keys that match a pattern; an exact key takes precedence over patterns, and
    a longer pattern over a shorter one. A message without a schema passes; `{"*": False}` refuses
    it. A schema can refer only to itself. Its patterns run in linear time, and the work for one
    message is bounded.

    Args:
        schemas: By key, or by a pattern in which `*` stands for any text.
        seconds: Of processor time for one message. One that takes more is refused.

    Attributes:
        schemas: As they were given.

    Raises:
        TypeError: A schema is of a wrong type.
        ValueError: There is no schema.
        SpecError: One cannot be used.
    """

    def __init__(self, schemas: Mapping[str, Mapping[str, Any] | bool], *, seconds: float = 1.0):
        from restsock.openapi.document import Schema  # takes a while to load

        self.seconds = seconds
        positive(self, "seconds")
        if not isinstance(schemas, Mapping):
            raise TypeError(f"schemas must be a mapping of keys, not {type(schemas).__name__}")
        if not schemas:
            raise ValueError("Validate needs a schema")
        self.schemas: Mapping[str, Mapping[str, Any] | bool] = dict(schemas)
        made = {key: Schema(schema, source=f"schemas[{key!r}]") for key, schema in schemas.items()}
        self._schemas = made
        self._patterns = sorted((key for key in made if "*" in key), key=len, reverse=True)

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`.

        Raises:
            CallFailed: With 422 the body breaks its schema. It has not run.
        """
        schema = self._schema(message.key)
        if schema is not None:
            errors = await self._check(schema, message.body)
            if errors:
                text = "the message breaks its schema"
                raise CallFailed(422, text, members={"errors": errors})
        return await call_next(message)

    def schema_of(self, key: str) -> Mapping[str, Any] | bool | None:
        """The schema that counts for a key; `None` if there is none."""
        pattern = self._pattern(key)
        return None if pattern is None else self.schemas[pattern]

    def _schema(self, key: str) -> Schema | None:
        pattern = self._pattern(key)
        return None if pattern is None else self._schemas[pattern]

    def _pattern(self, key: str) -> str | None:
        if key in self._schemas:
            return key
        return next((pattern for pattern in self._patterns if like(pattern, key)), None)

    async def _check(self, schema: Schema, body: Any) -> list[Problem]:
        from restsock.openapi.checks import beside_the_loop
        from restsock.openapi.document import TooMuchWork, problem

        if _is_small(body):
            try:
                return schema.problems(body, seconds=_AT_ONCE)
            except TooMuchWork:
                pass  # a schema that takes long whatever the body
        try:
            return await beside_the_loop(schema.problems, body, seconds=self.seconds)
        except TooMuchWork as exc:
            return [problem("body", str(exc))]


def _is_small(body: Any) -> bool:
    """Whether it has few values, and short ones."""
    left = [body]
    seen = 0
    while left and seen < _SMALL:
        one = left.pop()
        seen += 1
        if isinstance(one, Mapping):
            left += one.keys()
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, (str, bytes)):
            seen += len(one) // 64
    return not left and seen < _SMALL
