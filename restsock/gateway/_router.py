"""`Router` and `Pipe`: which backend answers a message, and what stands before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from ._backend import Backend, Part, as_backend
from ._errors import NO_ROUTE, CallFailed
from ._message import Message, Reply
from ._middleware import Middleware, chain, checked_middleware

__all__ = ["Answers", "Pipe", "Router"]

Answers: TypeAlias = Backend | Callable[[Message], Any]
"""What answers messages: a backend, or a function that becomes one."""


class Pipe(Backend):
    """Passes all messages on to one backend, through middleware.

        Router({"orders.*": Pipe(orders, [Limit(5), Retry(3)])})

    Args:
        backend: A backend, or a function.
        middleware: What stands before it; the first is the outermost.

    Raises:
        TypeError: One of these is something else.
    """

    def __init__(self, backend: Answers, middleware: Sequence[Middleware] = ()) -> None:
        self.backend = as_backend(backend)
        self.middleware = checked_middleware(middleware)
        self._call = chain(self.middleware, self.backend.call)

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return (*self.middleware, self.backend)

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`, also for its errors."""
        return await self._call(message)


class Router(Backend):
    """Passes each message on to the backend for its key.

        Router({"pets.find": find, "orders.*": Pipe(orders, [Retry(3)])}, default=other)

    A route that ends with `*` is for all keys with that prefix. A message goes to the backend of
    exactly its key, or else of the longest prefix, or else to the default. Without a default it
    gets a 404.

    Args:
        routes: Backends, or functions, by key: a mapping, or pairs.
        default: What answers all other messages.

    Attributes:
        routes: The backends by key, in the order in which they were given. It cannot be changed.
        default: The backend of all other keys, or `None`.

    Raises:
        TypeError: A key is not a str, or a backend is not a backend. ValueError: A key is a
            duplicate, is empty, or has a `*` before its end; or there are neither routes nor a
            default.
    """

    def __init__(
        self,
        routes: Mapping[str, Answers] | Iterable[tuple[str, Answers]] = (),
        default: Answers | None = None,
    ) -> None:
        found: dict[str, Backend] = {}
        for key, backend in routes.items() if isinstance(routes, Mapping) else routes:
            _check_key(key)
            if key in found:
                raise ValueError(f"the key {key!r} is there twice")
            found[key] = as_backend(backend)
        if default is not None and "*" in found:
            raise ValueError('a default and the key "*" are for the same messages')
        self.routes: Mapping[str, Backend] = MappingProxyType(found)
        self.default = None if default is None else as_backend(default)
        if not found and self.default is None:
            raise ValueError("a router needs a route, or a default")
        self._beginnings = {key[:-1]: to for key, to in found.items() if key.endswith("*")}
        self._lengths = sorted({len(key) for key in self._beginnings}, reverse=True)

    def find(self, key: str) -> Backend | None:
        """The backend of a key; `None` where it is for none."""
        if (exact := self.routes.get(key)) is not None and not key.endswith("*"):
            return exact
        for length in self._lengths:
            if len(key) >= length and (found := self._beginnings.get(key[:length])) is not None:
                return found
        return self.default

    def parts(self) -> Iterable[Part]:
        """See `Backend.parts`."""
        return (*self.routes.values(), *(() if self.default is None else (self.default,)))

    async def call(self, message: Message) -> Reply:
        """See `Backend.call`.

        Raises:
            CallFailed: With 404: the key is for no backend.
        """
        backend = self.find(message.key)
        if backend is None:
            raise CallFailed(
                404, "there is nothing here that answers this", members={"type": NO_ROUTE}
            )
        return await backend.call(message)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    if not key:
        raise ValueError("a key is not empty: what has none is for the default")
    if "*" in key[:-1]:
        raise ValueError(f"* may only be the end of a key, not {key!r}")
