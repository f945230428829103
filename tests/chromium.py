"""A page in a real Chromium. There is no driver: a page says what it sees to what it dials."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

__all__ = ["PATIENCE", "chromium", "needs_chromium"]

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

needs_chromium = pytest.mark.skipif(_CHROMIUM is None, reason="chromium is not installed")

# Seconds. Its first start on a busy machine has taken most of a minute.
PATIENCE = 120


@asynccontextmanager
async def chromium(url: str, profile: Path) -> AsyncIterator[None]:
    """Chromium with this page, until the end of the block."""
    assert _CHROMIUM is not None
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += ["--no-first-run", "--disable-extensions", "--disable-background-networking"]
    flags += ["--no-proxy-server", f"--user-data-dir={profile}"]
    run = partial(
        trio.run_process,
        [_CHROMIUM, *flags, url],
        check=False,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    async with trio.open_nursery() as nursery:
        process = await nursery.start(run)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its children are in the same group
