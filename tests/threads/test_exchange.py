"""`ThreadExchange`, mostly on the serving side; the tests of `TunnelAdapter` drive the other."""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import Any, cast

import pytest

from restsock._exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    RequestTimeout,
    RestsockError,
    StreamReset,
)
from restsock._options import Limits, Timeouts
from restsock.protocol import RequestHead, ResponseHead
from restsock.threads import ThreadExchange, _driver, _exchange
from tests.adapters.fake_tunnel import FakeExchange, FakeRequester, Loop

REQUEST = RequestHead(b"POST", b"/", [(b"Host", b"edge-1")])
HEAD = ResponseHead(200, [])


@pytest.fixture
def fake(loop: Loop) -> FakeExchange:
    return FakeExchange(REQUEST, lambda event: None)


@pytest.fixture
def served(loop: Loop, fake: FakeExchange) -> ThreadExchange:
    def accept() -> ThreadExchange:
        fake.inbound = True
        return ThreadExchange.accept(cast("Any", fake), token=loop.token, limits=Limits())

    return cast("ThreadExchange", loop.run(accept))


def settle(loop: Loop) -> None:
    loop.run(lambda: None)


def test_a_request_is_read(served: ThreadExchange, fake: FakeExchange, loop: Loop) -> None:
    loop.run(fake.data, b"one")
    loop.run(fake.data, b"two")
    loop.run(fake.data, bytes(4091))
    assert served.receive_data(5) == b"onetwo"  # joined, as long as it is little
    assert served.inbox.unread == 4091
    assert not served.inbox.received
    loop.run(fake.end, [(b"Digest", b"x")])
    assert served.receive_data(5) == bytes(4091)
    assert served.receive_data(5) == b""
    assert served.receive_data(5) == b""
    assert served.inbox.trailers == [(b"Digest", b"x")]


def test_a_response_leaves_in_one_step(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    """Head, body and end that are queued together reach the exchange in one turn of the loop."""
    turns: list[int] = []
    turn = 0

    def on_end(exchange: FakeExchange) -> None:
        turns.append(turn)

    fake.on_end = on_end
    served.send_head(HEAD)
    served.send_data(b"body", flush=False)
    settle(loop)
    assert fake.calls == []
    served.send_end()
    settle(loop)
    assert fake.calls == ["head", "data", "end"]
    assert turns == [0]
    served.close()
    served.close()
    settle(loop)
    assert fake.resets == [1]  # the request was not read to its end


def test_a_complete_exchange_is_not_reset(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    loop.run(fake.end)
    served.send_head(HEAD)
    served.send_end()
    served.close()
    settle(loop)
    assert fake.calls == ["head", "end"]


def test_a_writer_waits_for_room(served: ThreadExchange, fake: FakeExchange, loop: Loop) -> None:
    fake.hold = True
    passed: queue.SimpleQueue[int] = queue.SimpleQueue()

    def write() -> None:
        for number in range(4):
            served.send_data(bytes(40_000))
            assert served.drain(5)
            passed.put(number)
        passed.put(-1)

    thread = threading.Thread(target=write)
    thread.start()
    assert passed.get(timeout=5) == 0
    with pytest.raises(queue.Empty):
        passed.get(timeout=0.05)
    assert not served.writable
    loop.run(fake.take)
    assert passed.get(timeout=5) == 1
    assert passed.get(timeout=5) == 2
    loop.run(fake.take)
    assert passed.get(timeout=5) == 3
    assert passed.get(timeout=5) == -1
    thread.join()


def test_a_writer_without_resistance_never_waits(
    served: ThreadExchange, fake: FakeExchange
) -> None:
    for _ in range(200):
        served.send_data(bytes(40_000))
        assert served.drain(5)
    assert len(fake.sent) >= 199 * 40_000 - 65_536


def test_a_slow_peer_is_not_a_silent_one(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    fake.hold = True
    served.send_data(bytes(200_000))
    done = threading.Event()

    def trickle() -> None:
        while not done.wait(0.1):
            loop.run(fake.take, min(fake.buffered, 20_000))

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert served.drain(0.5)
    finally:
        done.set()
        thread.join()


def test_a_silent_peer(served: ThreadExchange, fake: FakeExchange) -> None:
    fake.hold = True
    served.send_data(bytes(100_000))
    with pytest.raises(RequestTimeout, match="no body bytes taken") as caught:
        served.drain(0.05)
    assert caught.value.phase == "write"


def test_a_failure_wakes_a_reader_and_a_writer(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    fake.hold = True
    loop.run(fake.data, b"before")
    served.send_data(bytes(100_000))
    loop.run(fake.fail, StreamReset("cut", code=1, by_peer=True))
    with pytest.raises(StreamReset):
        served.drain(5)
    assert served.receive_data(5) == b"before"
    with pytest.raises(StreamReset):
        served.receive_data(5)
    served.send_data(b"more")
    served.send_end()
    served.close()
    settle(loop)
    assert fake.resets == []


def test_no_bytes_in_time(served: ThreadExchange) -> None:
    with pytest.raises(RequestTimeout) as caught:
        served.receive_data(0.01)
    assert caught.value.phase == "body"
    assert isinstance(caught.value, TimeoutError)


def test_credit_waits_for_a_batch(served: ThreadExchange, fake: FakeExchange, loop: Loop) -> None:
    for _ in range(8):
        loop.run(fake.data, bytes(4096))
    for _ in range(3):
        served.receive_data(5)
    settle(loop)
    assert fake.calls == []
    for _ in range(5):
        served.receive_data(5)
    settle(loop)
    assert sum(nbytes for _, nbytes in fake.calls) in range(16_384, 32_769)


def test_a_batch_of_credit_grows_with_the_window(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    fake.window = 1 << 20
    for _ in range(21):
        loop.run(fake.data, bytes(16_384))
    for _ in range(21):
        served.receive_data(5)
        settle(loop)
    # The first is that of the initial window.
    assert fake.calls == [("consume", 16_384), ("consume", 131_072), ("consume", 131_072)]


def test_a_loop_that_ended_without_a_word(
    served: ThreadExchange, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange, "LOOK_AFTER", 0.01)
    loop.close()
    with pytest.raises(ConnectionClosed, match="the event loop of this connection has ended"):
        served.receive_data()
    with pytest.raises(ConnectionClosed):
        served.send_end()
    served.close()


def test_a_loop_that_still_runs_is_waited_for(
    served: ThreadExchange,
    fake: FakeExchange,
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_exchange, "LOOK_AFTER", 0.01)
    timer = threading.Timer(0.1, loop.run, (fake.data, b"late"))
    timer.start()
    assert served.receive_data() == b"late"
    timer.join()
    with pytest.raises(RequestTimeout):
        served.receive_data(0.05)


def test_a_loop_that_does_not_answer(
    loop: Loop, tunnel: FakeRequester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the request will start is not known then, and the error says so."""
    monkeypatch.setattr(_exchange, "WITHDRAWAL", 0.05)
    release = threading.Event()
    loop.token.run_sync_soon(release.wait)
    try:
        exchange = ThreadExchange.open(cast("Any", tunnel), REQUEST)
        with pytest.raises(RequestTimeout) as caught:
            exchange.receive_head(0.05, None)
        exchange.close()
    finally:
        release.set()
    assert (caught.value.phase, caught.value.may_have_run) == ("connect", True)
    assert tunnel.settle().resets == [1]


# Python warns of it since 3.12. That it is refused here is the point.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_a_fork(served: ThreadExchange) -> None:
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        said = b""
        try:
            served.receive_data(5)
        except RestsockError as exc:
            said = str(exc).encode()
        finally:
            served.close()
            os.write(write, said)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert b"does not survive a fork" in os.read(read, 1000)
    os.close(read)


def test_on_the_loop(loop: Loop, tunnel: FakeRequester) -> None:
    with pytest.raises(RestsockError, match="loop's own thread"):
        loop.run(ThreadExchange.open, tunnel, REQUEST)


def test_the_start_is_not_announced_unless_asked(tunnel: FakeRequester) -> None:
    tunnel.scripts = [FakeExchange.start]
    exchange = ThreadExchange.open(cast("Any", tunnel), REQUEST, end=False)
    tunnel.settle()
    assert not exchange.wait(0)
    exchange = ThreadExchange.open(cast("Any", tunnel), REQUEST, end=False, announce=True)
    before = time.monotonic()
    exchange.wait_started(5)
    assert time.monotonic() - before < 4


def test_limits_are_those_of_the_requester(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_driver, "Exchange", FakeExchange)
    tunnel = FakeRequester(loop, Limits(send_buffer=1024), Timeouts())
    tunnel.scripts = [FakeExchange.start]
    exchange = ThreadExchange.open(cast("Any", tunnel), REQUEST, end=False)
    tunnel.settle().hold = True
    exchange.send_data(bytes(1024))
    assert exchange.drain(5)
    exchange.send_data(b"1")
    assert not exchange.writable


def test_a_step_that_fails_ends_the_exchange(
    served: ThreadExchange, fake: FakeExchange, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_data(data: bytes) -> None:
        raise LocalProtocolError("longer than announced")

    monkeypatch.setattr(fake, "send_data", send_data)
    served.send_data(b"body")
    with pytest.raises(LocalProtocolError):
        served.receive_data(5)
    settle(loop)
    assert fake.resets == [7]
    assert served.writable


def test_a_close_from_another_thread_wakes_the_reader(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def read() -> None:
        try:
            served.receive_data()
        except StreamReset as exc:
            errors.put(exc)

    reader = threading.Thread(target=read)
    reader.start()
    served.close()
    assert isinstance(errors.get(timeout=5), StreamReset)
    reader.join(5)
    settle(loop)
    assert fake.closed


def test_what_has_moved_to_another_connection_is_left_to_the_loop(
    served: ThreadExchange, fake: FakeExchange, loop: Loop
) -> None:
    # The peer has refused it while a thread was about to send: that thread has the lock of the
    # connection that it had, and of no other.
    threads: list[threading.Thread] = []
    fake.on_data = lambda _: threads.append(threading.current_thread())
    served.send_data(b"x", flush=False)
    had: Any = object()
    served._flow._take_steps(had)
    loop.run(lambda: None)
    assert threads == [loop._thread]
    assert fake.sent == b"x"
