"""The plugin for pytest, found where restsock is installed: the fixture `restsock_pair`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from restsock.testing import PairFactory

__all__ = ["restsock_pair"]


@pytest.fixture
def restsock_pair() -> Iterator[PairFactory]:
    """Connects a client and a server in memory, for one test: see `restsock.testing.sync_pair`.

    def test_stock(restsock_pair):
        client, server = restsock_pair(app)

    async def test_stock(restsock_pair):
        async with restsock_pair.aio(app) as (client, server): ...    # or restsock_pair.trio
    """
    # Only now: every run of pytest loads this module, whatever it tests.
    from restsock.testing import PairFactory

    pairs = PairFactory()
    try:
        yield pairs
    finally:
        pairs.close()
