"""`Arrivals`: which sockets have something to read."""

from __future__ import annotations

import select

import pytest
import trio
import trio.testing

from restsock.apps.forward import _arrivals
from restsock.apps.forward._arrivals import Arrivals


@pytest.fixture(params=[True, False], ids=["epoll", "no epoll"], autouse=True)
def _epoll(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not hasattr(select, "epoll"):
        pytest.skip("there is no epoll")
    monkeypatch.setattr(_arrivals, "_HAS_EPOLL", request.param)


async def test_what_has_come_is_seen_in_the_next_pass_at_the_latest() -> None:
    arrivals = Arrivals()
    pairs = [trio.socket.socketpair() for _ in range(3)]
    for near, _ in pairs:
        arrivals.add(near)
    assert not any(arrivals.has(near) for near, _ in pairs)
    await pairs[1][1].send(b"x")
    await trio.lowlevel.checkpoint()
    assert [arrivals.has(near) for near, _ in pairs] == [False, True, False]
    pairs[2][1].close()
    await trio.lowlevel.checkpoint()
    assert [arrivals.has(near) for near, _ in pairs] == [False, True, True]
    for near, far in pairs:
        arrivals.remove(near)
        near.close()
        far.close()


async def test_one_that_was_removed_makes_room_for_another_with_its_number() -> None:
    arrivals = Arrivals()
    near, far = trio.socket.socketpair()
    arrivals.add(near)
    await far.send(b"x")
    await trio.lowlevel.checkpoint()
    assert arrivals.has(near)
    arrivals.remove(near)
    arrivals.remove(near)
    near.close()
    far.close()
    arrivals.remove(near)
    near, far = trio.socket.socketpair()
    arrivals.add(near)
    await trio.lowlevel.checkpoint()
    assert not arrivals.has(near)
    arrivals.remove(near)
    near.close()
    far.close()


async def test_one_that_is_not_looked_after_is_asked_for_by_itself() -> None:
    """No descriptor was left for that."""
    arrivals = Arrivals()
    near, far = trio.socket.socketpair()
    assert not arrivals.has(near)
    await far.send(b"x")
    assert arrivals.has(near)
    near.close()
    far.close()
