"""Signals that come while another one is handled, and what hears of them after that."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, cast

import pytest

import restsock.sync
from tests.waiting import until

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


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_an_event_loop_hears_of_a_signal_once(kind: str) -> None:
    """It has its own way to signals, and so has heard. Granian hangs at a second one."""
    heard: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, heard.append, 1)
        with (
            restsock.sync.listen("127.0.0.1", 0) as server,
            restsock.sync.drain_on_signal(server, signals=[signal.SIGUSR1], raise_again=True),
        ):
            signal.raise_signal(signal.SIGUSR1)
            assert await asyncio.to_thread(server.wait_closed, 20)
        await asyncio.sleep(0)
        assert heard == [1]
        signal.raise_signal(signal.SIGUSR1)  # the handler of before is there again
        await until(lambda: len(heard) == 2)
        loop.remove_signal_handler(signal.SIGUSR1)

    loop = pytest.importorskip(kind).new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
