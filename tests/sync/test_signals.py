"""Signals that come while another one is handled."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, cast

import pytest

import restsock.sync

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal of its own")


class Interrupted:
    """An endpoint that is told of a second signal while it is told of the first."""

    def __init__(self) -> None:
        self.graces: list[float | None] = []

    def _close_soon(self, grace: float | None, tell: Callable[[], object] | None = None) -> None:
        self.graces.append(grace)
        if len(self.graces) == 1:
            signal.raise_signal(signal.SIGUSR1)


def test_a_second_signal_cuts_off_whenever_it_comes() -> None:
    endpoint = Interrupted()
    with restsock.sync.drain_on_signal(cast("Any", endpoint), signals=[signal.SIGUSR1], grace=7):
        signal.raise_signal(signal.SIGUSR1)
    assert endpoint.graces == [7, 0]
