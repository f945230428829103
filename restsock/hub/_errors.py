"""`ConfigError`: a configuration is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["ConfigError", "unquoted"]

# What is shorter is no secret, and its letters are in other words, too.
_SHORT = 4


class ConfigError(ValueError):
    """A configuration cannot be used. Nothing was changed.

    Attributes:
        key: the wrong key, as in `peers.listen` or `route[2].host`; empty for the file as a whole.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self._problem = problem

    def without(self, variables: Iterable[str]) -> ConfigError:
        """The same error, which names environment variables in the place of what they hold."""
        problem = self._problem
        values = {os.environ.get(name, ""): name for name in variables}
        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _SHORT:
                for quoted in (value, repr(value)[1:-1]):
                    problem = problem.replace(quoted, f"${{{values[value]}}}")
        return ConfigError(self.key, problem)


@contextmanager
def unquoted(variables: Mapping[str, str]) -> Iterator[None]:
    """Has a `ConfigError` of the block not quote what environment variables hold.

    Args:
        variables: by the keys whose values they are; looked at when there is an error.
    """
    try:
        yield
    except ConfigError as exc:
        raise exc.without(variables.values()) from None
