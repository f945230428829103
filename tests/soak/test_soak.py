"""Ten seconds of it, so that the long run does not fail for a trifle."""

from __future__ import annotations

import os
import signal

import pytest

from tests.soak.run import soak

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not hasattr(signal, "SIGSTOP"), reason="needs fork and SIGSTOP"
)


@pytest.mark.timeout(120)
async def test_ten_seconds() -> None:
    figures = await soak(10, warm_up=3, every=0.5, seed=3, memory=False)
    assert not figures.problems, figures.text()
    assert figures.counts.answered > 50
    assert sum(figures.faults.values()) >= 3
