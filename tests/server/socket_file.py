"""A path for a Unix socket, short enough on every system."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["socket_path"]


@pytest.fixture
def socket_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="restsock-") as folder:
        yield Path(folder, "hub.sock")
