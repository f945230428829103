"""What the APIs beside that for trio take from it: arguments, and the words about them."""

from __future__ import annotations

import inspect

import pytest

import restsock
import restsock.sync
from restsock.endpoint import documented_like, with_arguments_of


def original(name: str, *, size: int = 1, wake: object = None) -> int:
    """Does it for trio.

    Args:
        name: Of it,
            on two lines.
        size: In bytes.
        wake: Not for others.

    Returns:
        A number.

    Raises:
        ValueError: It is wrong.
        OSError: It has failed.

    If cancelled, nothing is left.
    """
    if size < 0:
        raise restsock.RestsockError("negative")
    return len(name) * size


def test_a_docstring_gets_what_it_does_not_say_itself() -> None:
    @documented_like(original)
    def other(more: int, name: str, size: int = 1) -> None:
        """Do it for threads.

        Or not.

        Args:
            more: Of that.
            size: In lines.

        Raises:
            OSError: It broke.
        """

    assert (
        other.__doc__
        == """Do it for threads.

Or not.

Args:
    more: Of that.
    name: Of it,
        on two lines.
    size: In lines.

Raises:
    ValueError: It is wrong.
    OSError: It broke.
"""
    )


def test_without_sections_of_its_own_it_gets_them_all() -> None:
    @documented_like(original)
    def other(name: str) -> None:
        """Do it."""

    assert (other.__doc__ or "").startswith("Do it.\n\nArgs:\n    name: Of it,\n        on two")
    assert "size" not in (other.__doc__ or "")


def test_arguments_are_those_of_the_original() -> None:
    @with_arguments_of(original)
    def other(made: int) -> str:
        """Do it for threads."""
        return f"made {made}"

    assert other("four", size=2) == "made 8"
    assert str(inspect.signature(other)) == (
        "(name: 'str', *, size: 'int' = 1, wake: 'object' = None) -> 'str'"
    )
    assert "size: In bytes." in (other.__doc__ or "")
    with pytest.raises(restsock.RestsockError) as caught:
        other("four", size=-1)
    assert len(caught.traceback) == 2  # the test, and the function that it has called


@pytest.mark.parametrize(
    "function",
    [
        restsock.Server.request,
        restsock.sync.connect,
        restsock.sync.listen,
        *(restsock.sync.Client.request, restsock.sync.Client.stream, restsock.sync.Client.close),
        *(restsock.sync.Server.request, restsock.sync.Server.events, restsock.sync.Server.close),
        *(restsock.sync.Connection.close, restsock.sync.Connection.drain),
    ],
    ids=lambda function: f"{function.__module__}.{function.__qualname__}",
)
def test_each_argument_is_described(function: object) -> None:
    assert callable(function)
    described = inspect.getdoc(function) or ""
    for name in inspect.signature(function).parameters:
        assert name == "self" or described.count(f"\n    {name}: ") == 1, name
