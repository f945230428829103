"""`Queue`: calls and answers by their ids, whatever carries them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import trio

from restsock import Principal, StreamRefused
from restsock.gateway import CallFailed, Queue, QueueMessage, Reply
from tests.gateway.stand_in import Client, message, running


class Carrier:
    """What is published, and the answers that a test gives."""

    def __init__(self) -> None:
        self.calls: list[QueueMessage] = []
        self.error: Exception | None = None

    async def publish(self, call: QueueMessage) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.calls.append(call)

    async def next(self) -> QueueMessage:
        await trio.testing.wait_all_tasks_blocked()
        return self.calls.pop(0)


async def test_a_call_is_answered_by_what_comes_back_with_its_id() -> None:
    carrier, replies = Carrier(), []
    queue = Queue(carrier.publish, tell={"user": "principal"})

    async def call(body: Any) -> None:
        session = Client(principal=Principal("ann"))
        headers = {"traceparent": "00-1", "cookie": "a=1", "user": "root"}
        replies.append(await queue.call(message(body, "buy", session=session, headers=headers)))

    async with running(queue), trio.open_nursery() as nursery:
        for body in ({"a": 1}, "text"):
            nursery.start_soon(call, body)
            made = await carrier.next()
            assert uuid.UUID(made.id).version == 4
            assert made.key == "buy"
            assert made.headers.pop("request-timeout-ms")  # type: ignore[attr-defined]
            assert made.headers == {"traceparent": "00-1", "user": "ann"}
            assert 29 < made.seconds <= 30
            queue.answer(made.id, made.body, status=201)
    assert [reply.body for reply in replies] == [b'{"a":1}', b"text"]
    assert replies[0].status == 201


async def test_answers_that_nobody_waits_for_are_counted_and_harmless() -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish)
    got: list[Reply] = []

    async def call() -> None:
        got.append(await queue.call(message()))

    async with running(queue):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            made = await carrier.next()
            queue.answer(made.id, 1)
            queue.answer(made.id, 2)  # twice
        queue.answer("never given out", 3)
        queue.answer("", 4)
        assert [reply.body for reply in got] == [1]
        assert (queue.late, queue.waiting) == (3, 0)
        with trio.move_on_after(0.05):
            await queue.call(message())
        queue.answer((await carrier.next()).id, 5)
        assert (queue.late, queue.waiting) == (4, 0)
        with pytest.raises(ValueError, match="no status"):
            queue.answer("x", status=99)


async def test_there_is_a_time_for_an_answer(autojump_clock: Any) -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish, timeout=10)
    async with running(queue):
        for within, seconds in ((60, 10), (3, 3)):
            begun = trio.current_time()
            with pytest.raises(CallFailed) as caught:
                await queue.call(message(within=within))
            assert (caught.value.status, caught.value.may_have_run) == (504, True)
            assert trio.current_time() - begun == pytest.approx(seconds)
        with pytest.raises(CallFailed) as caught:
            await queue.call(message(within=0))
        assert caught.value.may_have_run is False


async def test_another_thread_may_answer() -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish)
    async with running(queue), trio.open_nursery() as nursery:

        async def answer() -> None:
            made = await carrier.next()
            await trio.to_thread.run_sync(queue.answer, made.id, "from there")

        nursery.start_soon(answer)
        assert (await queue.call(message())).body == "from there"
    queue.answer("x")  # after its end, too


async def test_a_plain_function_may_publish() -> None:
    def publish(call: QueueMessage) -> None:
        queue.answer(call.id, "at once")

    queue = Queue(publish)
    async with running(queue):
        assert (await queue.call(message())).body == "at once"


async def test_what_cannot_be_published_says_whether_it_may_have_run() -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish)
    async with running(queue):
        carrier.error = OSError("secret")
        with pytest.raises(CallFailed) as caught:
            await queue.call(message())
        assert (caught.value.status, caught.value.may_have_run) == (502, True)
        assert "secret" not in str(caught.value)
        carrier.error = CallFailed(503, "full")
        with pytest.raises(CallFailed, match="full"):
            await queue.call(message())
        carrier.error = StreamRefused("no")
        with pytest.raises(StreamRefused):
            await queue.call(message())
        assert queue.waiting == 0


async def test_how_many_wait_is_bounded() -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish, max_waiting=2)
    async with running(queue), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(queue.call, message())
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(CallFailed, match="too many") as caught:
            await queue.call(message())
        assert (caught.value.status, caught.value.may_have_run) == (503, False)
        nursery.cancel_scope.cancel()


async def test_calls_without_answers_are_over_when_they_are_published() -> None:
    carrier = Carrier()
    queue = Queue(carrier.publish, answers=False)
    async with running(queue):
        assert (await queue.call(message(1))).status == 202
    with_answers = Queue(carrier.publish)
    async with running(with_answers):
        assert (await with_answers.call(message(2, answered=False))).status == 202
    assert [call.id for call in carrier.calls] == ["", ""]


async def test_the_end_of_the_gateway_ends_what_waits() -> None:
    queue = Queue(Carrier().publish)
    errors: list[CallFailed] = []

    async def call() -> None:
        with pytest.raises(CallFailed) as caught:
            await queue.call(message())
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        async with running(queue):
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
    assert errors[0].may_have_run
    with pytest.raises(CallFailed, match="not open"):
        await queue.call(message())


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(TypeError, match="function"):
        Queue("amqp://x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        Queue(print, timeout=0)
    with pytest.raises(ValueError, match="no part"):
        Queue(print, tell={"user": "nobody"})
    with pytest.raises(ValueError, match="name of a field"):
        Queue(print, headers=["a b"])
