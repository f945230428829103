"""The environment variables that the command reads, and those that were meant to be one."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from difflib import get_close_matches

import click

__all__ = ["check_variables"]

_PREFIX = "RESTSOCK_"
_KNOWN = ("RESTSOCK_ADMIN", "RESTSOCK_HUB", "RESTSOCK_NATS", "RESTSOCK_TOKEN")
# What Kubernetes sets by itself for services whose names begin with "restsock".
_OF_SERVICES = re.compile(
    r"RESTSOCK_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_[A-Z]+(?:_\w+)?)?)"
)


def check_variables(others: Collection[str] = ()) -> None:
    """Refuses variables that look like ours and that nothing reads.

    A token or a setting in one would not count, and nobody would notice.

    Args:
        others: Those that the file of a hub names.

    Raises:
        UsageError: There is one.
    """
    for name in sorted(os.environ):
        if (
            name.startswith(_PREFIX)
            and name not in _KNOWN
            and name not in others
            and not _OF_SERVICES.fullmatch(name)
        ):
            near = get_close_matches(name, _KNOWN, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_KNOWN)}"
            raise click.UsageError(f"nothing reads the environment variable {name}; {hint}")
