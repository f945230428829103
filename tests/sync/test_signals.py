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

    def _close_soon(self, grace: float | None, *told: Callable[[], object]) -> None:
        self.graces.append(grace)
        if len(self.graces) == 1:
            signal.raise_signal(signal.SIGUSR1)


def test_a_second_signal_cuts_off_whenever_it_comes() -> None:
    endpoint = Interrupted()
    with restsock.sync.drain_on_signal(cast("Any", endpoint), signals=[signal.SIGUSR1], grace=7):
        signal.raise_signal(signal.SIGUSR1)
    assert endpoint.graces == [7, 0]


def test_a_signal_is_raised_again_once_all_are_closed() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with (
            restsock.sync.listen("127.0.0.1", 0) as server,
            restsock.sync.connect(server.url) as client,
            restsock.sync.drain_on_signal(
                server, client, signals=[signal.SIGUSR1], raise_again=True
            ),
        ):
            signal.raise_signal(signal.SIGUSR1)
            while not heard:
                assert client.wait_closed(20)
                assert server.wait_closed(20)
        assert heard == [signal.SIGUSR1]
        assert client.closed
        signal.raise_signal(signal.SIGUSR1)  # the handler of before is there again
        assert heard == [signal.SIGUSR1] * 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_is_raised_again_when_the_block_ends_first() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    endpoint = Interrupted()
    try:
        with restsock.sync.drain_on_signal(
            cast("Any", endpoint), signals=[signal.SIGUSR1], raise_again=True
        ):
            signal.raise_signal(signal.SIGUSR1)
            assert not heard
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_is_raised_again_if_all_have_closed_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with restsock.sync.listen("127.0.0.1", 0) as server:
            pass
        with restsock.sync.drain_on_signal(server, signals=[signal.SIGUSR1], raise_again=True):
            signal.raise_signal(signal.SIGUSR1)
            assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
