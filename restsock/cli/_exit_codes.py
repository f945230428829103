"""What the command exits with."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """The exit codes of all verbs."""

    OK = 0
    FAILURE = 1
    USAGE = 2  # click's own, too
    NO_PEER = 3
    REFUSED = 4
    TIMEOUT = 5
    INTERRUPTED = 130  # 128 and the number of SIGINT, as in a shell
