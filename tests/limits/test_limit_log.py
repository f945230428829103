"""What goes over a limit is counted each time and logged once a second."""

from __future__ import annotations

import logging
import threading

import pytest

from restsock._limit_log import LimitLog

LOGGER = logging.getLogger("restsock.tests.limits")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_one_line_a_second_of_each_kind(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    for number in range(5):
        log.note("max_streams", "stream %d", number)
        log.note("max_head", "head %d", number)
        clock.now += 0.1
    assert caplog.messages == ["stream 0", "head 0"]
    clock.now = 101.0
    log.note("max_streams", "stream %d", 5)
    clock.now = 101.99
    log.note("max_streams", "stream %d", 6)
    clock.now = 102.0
    log.note("max_streams", "stream %d", 7)
    assert caplog.messages[2:] == [
        "stream 5 (and 4 more like it)",
        "stream 7 (and 1 more like it)",
    ]
    assert log.counts == {"max_streams": 8, "max_head": 5}


def test_nothing_left_out_nothing_said(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    for _ in range(3):
        log.note("max_head", "a head", level=logging.ERROR)
        clock.now += 1.0
    assert caplog.messages == ["a head"] * 3
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_who_wants_to_know_hears_of_all(clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    heard: list[str] = []
    log.on_hit = heard.append
    assert log.last_hit is None
    log.note("a", "x")
    log.note("a", "x")
    clock.now = 107.0
    log.note("b", "x")
    assert heard == ["a", "a", "b"]
    assert log.last_hit == ("b", 107.0)


def test_counts_are_a_copy(clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    log.note("a", "x")
    log.counts["a"] = 7
    assert log.counts == {"a": 1}


def test_from_any_thread() -> None:
    log = LimitLog(LOGGER)

    def flood() -> None:
        for _ in range(2000):
            log.note("a", "x")

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.counts == {"a": 8000}


def test_a_burst_and_then_one_a_second(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    for number in range(1000):
        log.say("failed", "failure %d", number, burst=3)
        clock.now += 0.001
    assert caplog.messages == ["failure 0", "failure 1", "failure 2"]
    clock.now = 101.0
    log.say("failed", "failure %d", 1000, burst=3)
    log.say("failed", "failure %d", 1001, burst=3)
    assert caplog.messages[3:] == ["failure 1000 (and 997 more like it)"]
    clock.now = 200.0
    for number in range(5):
        log.say("failed", "later %d", number, burst=3)
    assert caplog.messages[4:] == ["later 0 (and 1 more like it)", "later 1", "later 2"]
    # It is a line, and no limit.
    assert log.counts == {}
    assert log.last_hit is None


def test_what_is_not_written_uses_nothing_up(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    log = LimitLog(LOGGER, clock)
    caplog.set_level(logging.WARNING, LOGGER.name)
    log.say("a", "quiet", level=logging.INFO)
    log.say("a", "loud")
    assert caplog.messages == ["loud"]


def test_a_count_is_no_line(caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    log = LimitLog(LOGGER, clock)
    log.count("a")
    log.note("a", "x")
    assert caplog.messages == ["x"]
    assert log.counts == {"a": 2}
