"""The states of a connection, and what is said of its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from restsock.connection import Closed
from restsock.connection._lifecycle import CLOSED, CLOSING, DRAINING, OPEN, Lifecycle
from restsock.protocol import WebSocket

LOST = Closed(False, 1006, "lost", by_peer=True)


def lifecycle(*, sent: bool = False, received: bool = False, answers: bool = True) -> Lifecycle:
    websocket = SimpleNamespace(close_sent=sent, close_received=received, answers_close=answers)
    return Lifecycle(None, cast("WebSocket", websocket), 1)


def test_it_drains_closes_and_is_closed() -> None:
    life = lifecycle(sent=True, received=True)
    assert life.state is OPEN
    assert life.drain(1001, "later")
    assert (life.state, life.announced, life.closing) == (DRAINING, (1001, "later"), None)
    assert life.close(1000, "now")
    assert (life.state, life.announced, life.closing) == (CLOSING, (1000, "now"), (1000, "now"))
    assert life.finish() == Closed(True, 1000, "now", by_peer=False)
    assert life.state is CLOSED


def test_there_is_no_way_back() -> None:
    life = lifecycle()
    assert life.close(1000, "")
    assert not life.drain(1001, "")
    assert not life.close(1001, "")
    assert life.closing == (1000, "")
    life.finish()
    assert not life.drain(1001, "")
    assert not life.close(1001, "")
    with pytest.raises(AssertionError, match="CLOSED does not lead to CLOSED"):
        life.finish()


def test_the_first_word_on_its_end_counts() -> None:
    life = lifecycle()
    life.drain(1001, "")
    life.end(LOST)
    life.end(Closed(True, 1000, "", by_peer=True))
    assert (life.state, life.closing) == (CLOSING, None)  # no close frame of ours is due
    assert life.finish() is LOST


def test_one_that_just_ends_was_cancelled() -> None:
    assert lifecycle().finish() == Closed(False, 1006, "cancelled", by_peer=False)


@pytest.mark.parametrize("answers", [True, False])
def test_the_end_of_the_socket_answers_a_close_where_nothing_else_does(answers: bool) -> None:
    life = lifecycle(sent=True, answers=answers)
    assert life.lost("gone") == Closed(False, 1006, "gone", by_peer=True)
    life.close(1000, "")
    assert life.lost("gone").clean is not answers


@pytest.mark.parametrize(("sent", "received"), [(False, False), (True, False), (True, True)])
def test_whose_close_it_was(sent: bool, received: bool) -> None:
    life = lifecycle(sent=sent, received=received)
    assert life.closed_by_peer(1000, "bye\n") == Closed(True, 1000, "bye?", by_peer=True)
    assert life.lost("gone") == Closed(False, 1006, "gone", by_peer=True)
    life.close(1001, "mine")
    mine = Closed(received, 1001, "mine", by_peer=False)
    assert life.closed_by_peer(1000, "") == mine
    assert life.lost("gone") == (mine if sent else Closed(False, 1006, "gone", by_peer=True))
