"""Processes that are a family of peers, for each test here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.faults.field import Family


@pytest.fixture
async def family() -> AsyncIterator[Family]:
    async with Family() as family:
        yield family
