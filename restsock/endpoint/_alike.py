"""Signatures and docstrings that all APIs share: written once, in the API for trio.

The APIs for threads and asyncio take both from there, and describe only what differs.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from restsock._exceptions import RestsockError, without_frames

__all__ = ["documented_like", "with_arguments_of"]

P = ParamSpec("P")
A = TypeVar("A")
B = TypeVar("B")
F = TypeVar("F", bound=Callable[..., Any])

# A section of a docstring in Google style, and an entry in it.
_SECTION = re.compile(r"^(Args|Raises):\n((?:    .*\n?|\n(?=    ))+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\S.*?):.*\n?(?:(?:        .*)?\n?)*", re.MULTILINE)


def documented_like(original: Callable[..., Any]) -> Callable[[F], F]:
    """Completes the docstring of a function from the docstring of a similar one.

    It adds the entries under `Args:` and `Raises:` that the function does not have itself; of the
    arguments, only those that the function takes.
    """

    def complete(function: F) -> F:
        own, other = inspect.getdoc(function) or "", inspect.getdoc(original) or ""
        text = _SECTION.sub("", own).rstrip() + "\n"
        taken = inspect.signature(function).parameters
        for title in ("Args", "Raises"):
            theirs, ours = _entries(other, title), _entries(own, title)
            first = {name: entry for name, entry in ours.items() if name not in theirs}
            for name, entry in {**first, **theirs, **ours}.items():
                if title == "Raises" or name in taken:
                    text += ("" if f"\n{title}:\n" in text else f"\n{title}:\n") + entry
        function.__doc__ = text
        return function

    return complete


def _entries(docstring: str, title: str) -> dict[str, str]:
    """The entries of a section by name, each with a line end."""
    body = "".join(body for found, body in _SECTION.findall(docstring) if found == title)
    return {entry[1]: entry[0].rstrip() + "\n" for entry in _ENTRY.finditer(body)}


def with_arguments_of(make: Callable[P, A]) -> Callable[[Callable[[A], B]], Callable[P, B]]:
    """Gives a function the signature of another one, and passes it the result of that.

    Args:
        make: `connect` or `listen` of the API for trio.
    """

    def decorate(function: Callable[[A], B]) -> Callable[P, B]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> B:
            try:
                return function(make(*args, **kwargs))
            except RestsockError as exc:
                raise without_frames(exc)  # noqa: B904  # it is the same error

        signature = inspect.signature(make)
        returns = inspect.signature(function).return_annotation
        call.__signature__ = signature.replace(return_annotation=returns)  # type: ignore[attr-defined]  # for help()
        return documented_like(make)(call)

    return decorate
