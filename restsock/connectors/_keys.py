"""Errors that name the key of a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from restsock.hub import ConfigError

__all__ = ["at_key"]


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """Says which key it is whose value cannot be used.

    Raises:
        ConfigError: a `ValueError` or an `OSError` was raised in the block.
    """
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError) as exc:
        raise ConfigError(key, str(exc)) from None
