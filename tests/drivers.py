"""The two ways in which a thread's bytes leave, for tests that have to hold of both.

Over a socket a thread uses the connection itself; where there is no direct socket (in memory,
Windows) the loop does it for the thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from restsock.connection import _writer

DRIVERS = ["threads", "loop"]


@contextmanager
def driven_by(driver: str) -> Iterator[None]:
    """Connections that are opened in the block have, or have not, a direct socket."""
    with pytest.MonkeyPatch.context() as patch:
        if driver == "loop":
            patch.setattr(_writer, "direct_socket_of", lambda stream: None)
        yield
