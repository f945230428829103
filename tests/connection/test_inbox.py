"""What has come on an exchange, until it is taken."""

from __future__ import annotations

import pytest

from restsock._exceptions import RestsockError
from restsock.connection import Failed, Inbox, Requeued, Started
from restsock.protocol import DataReceived, EndReceived, ResponseHead, ResponseReceived, StopSending

ERROR = RestsockError("gone")


class Counting(Inbox):
    """Counts how often it wakes what waits."""

    woken = 0

    def wake(self) -> None:
        self.woken += 1


def test_data_comes_before_the_end() -> None:
    inbox = Inbox()
    assert inbox.take() is None
    inbox(DataReceived(1, bytes(4096)))
    inbox(DataReceived(1, b"x"))
    inbox(EndReceived(1, [(b"Digest", b"x")]))
    assert (inbox.unread, inbox.received) == (4097, True)
    assert inbox.take() == bytes(4096)
    assert inbox.take() == b"x"
    assert inbox.take() == b""
    assert inbox.unread == 0
    assert inbox.trailers == [(b"Digest", b"x")]


def test_data_comes_before_the_error() -> None:
    inbox = Inbox()
    inbox(DataReceived(1, b"x"))
    inbox(Failed(ERROR))
    assert inbox.take() == b"x"
    with pytest.raises(RestsockError) as caught:
        inbox.take()
    assert caught.value is ERROR
    with pytest.raises(RestsockError):
        inbox.check()


def test_the_head_comes_before_the_error() -> None:
    inbox = Inbox()
    inbox(ResponseReceived(1, ResponseHead(103, [])))
    assert inbox.response is None
    head = ResponseHead(200, [])
    inbox(ResponseReceived(1, head))
    inbox(Failed(ERROR))
    assert inbox.head() is head
    inbox.response = None
    with pytest.raises(RestsockError):
        inbox.head()


def test_all_that_waits_is_taken_at_once() -> None:
    inbox = Inbox()
    assert inbox.add(bytes(4096))
    assert not inbox.add(b"x" * 4096)
    assert inbox.take_all() == bytes(4096) + b"x" * 4096
    assert inbox.add(b"y")
    assert inbox.unread == 1


def test_it_tells_whether_a_long_body_is_on_its_way() -> None:
    inbox = Inbox()
    inbox(DataReceived(1, bytes(16 * 1024)))
    assert inbox.more
    inbox(EndReceived(1, ()))
    assert not inbox.more


def test_a_start_wakes_what_waits_for_it_alone() -> None:
    inbox = Counting()
    inbox.announce = False
    inbox(Started())
    assert inbox.started_at is not None
    assert inbox.woken == 0
    inbox(Requeued(ERROR))
    assert not inbox.started_at
    assert (inbox.requeued, inbox.woken) == (True, 1)
    inbox(Started())
    assert inbox.woken == 2
    inbox(StopSending(1))
    assert (inbox.stopped, inbox.woken) == (True, 3)
