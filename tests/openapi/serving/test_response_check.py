"""`ResponseCheck` alone: what it passes on, holds and gives back, step by step."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

import restsock
from restsock.connection import Exchange, ExchangeEvent, Failed, Writable
from restsock.openapi import load
from restsock.openapi.checks._threads import Job, Threads
from restsock.openapi.checks._validator import Validator
from restsock.openapi.document._problems import Problem
from restsock.openapi.serving._response_check import Policy, ResponseCheck
from restsock.protocol import Headers, PlainHead, RequestHead, ResponseHead
from tests.openapi.documents import document

LIMITS = restsock.Limits()
VALIDATOR = Validator(load(document()))
FEED = ResponseHead(200, [(b"Content-Type", b"text/event-stream"), (b"X-Feed", b"a")])
PETS = ResponseHead(200, [(b"Content-Type", b"application/json"), (b"X-Total", b"1")])


class Outer(Exchange):
    """An exchange that notes what it is told."""

    def __init__(self, method: bytes = b"GET") -> None:
        super().__init__(RequestHead(method, b"/", ()), lambda event: None)
        self.said: list[Any] = []
        self.waiting = 0
        carrier = SimpleNamespace(limits=LIMITS, writer=nullcontext())
        self.connection = cast("Any", carrier)

    @property
    def buffered(self) -> int:
        return self.waiting

    def send_head(self, head: ResponseHead, plain: PlainHead | None = None) -> None:
        self.said.append(head.status)

    def send_data(self, data: bytes) -> None:
        self.said.append(data)

    def send_end(self, trailers: Headers = ()) -> None:
        self.said.append(list(trailers))

    def respond(self, head: ResponseHead, body: bytes, plain: PlainHead | None = None) -> None:
        self.send_head(head)
        self.send_data(body)
        self.send_end()

    def consume(self, nbytes: int) -> None:
        self.said.append(("consume", nbytes))

    def reset(self, code: int = 1, reason: str = "") -> None:
        self.said.append("reset")


class Queue(Threads):
    """Takes jobs and does them when it is told."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job, key: object = None) -> None:
        self.jobs.append(job)

    def work(self) -> None:
        for job in self.jobs:
            if job.work is not None and job.done is not None:
                job.done(job.work(), None)
        self.jobs = []


class Stage:
    """A response check and all that is around it."""

    def __init__(
        self, path: str, *, hold: bool = True, max_body: int = 1000, method: bytes = b"GET"
    ) -> None:
        self.outer = Outer(method)
        self.queue = Queue()
        self.wrong: list[tuple[list[Problem], bool]] = []
        policy = Policy(
            VALIDATOR,
            self.queue,
            max_body=max_body,
            hold=hold,
            wrong=lambda exchange, found, error, can: self.wrong.append((found, can)),
        )
        match = VALIDATOR.document.match("GET", path)
        self.check = ResponseCheck(self.outer, credit=100, policy=policy, match=match)
        self.events: list[ExchangeEvent] = []
        self.check.observer = self.events.append

    @property
    def said(self) -> list[Any]:
        return self.outer.said


def test_credit_that_was_given_back_is_not_given_back_again() -> None:
    stage = Stage("/pets")
    for nbytes in (30, 60, 30, 50):
        stage.check.consume(nbytes)
    assert stage.said == [("consume", 20), ("consume", 50)]


def test_a_whole_response_waits_for_its_end_and_its_validation() -> None:
    stage = Stage("/pets")
    stage.check.send_head(ResponseHead(103, []))
    stage.check.send_head(PETS)
    stage.check.send_data(b"[")
    stage.check.send_data(b"]")
    assert stage.check.buffered == 0  # the app is not to wait for its own end
    stage.check.send_end([(b"X-Sum", b"0")])
    assert stage.said == [103]
    stage.queue.work()
    assert stage.said == [103, 200, b"[", b"]", [(b"X-Sum", b"0")]]
    assert stage.wrong == []


def test_what_waits_for_a_head_counts_and_is_told_when_it_leaves() -> None:
    stage = Stage("/files")
    stage.check.send_head(FEED)
    stage.check.send_data(b"x" * LIMITS.send_buffer)
    assert (stage.check.buffered, stage.check.write_paused) == (LIMITS.send_buffer, False)
    stage.check.send_data(b"y")
    assert (stage.check.buffered, stage.check.write_paused) == (LIMITS.send_buffer + 1, True)
    assert stage.said == []
    stage.queue.work()
    assert stage.said[0] == 200
    assert (stage.check.buffered, stage.check.write_paused) == (0, False)
    assert stage.events == [Writable()]
    stage.check.send_data(b"z")
    stage.check.send_end()
    assert stage.said[-2:] == [b"z", []]


@pytest.mark.parametrize("hold", [True, False])
def test_a_body_that_grows_too_large_passes(hold: bool) -> None:
    stage = Stage("/pets", hold=hold, max_body=10)
    stage.check.send_head(PETS)
    stage.check.send_data(b"x" * 10)
    assert stage.said == ([] if hold else [200, b"x" * 10])
    stage.check.send_data(b"y")
    stage.check.send_end()
    assert stage.said == [200, b"x" * 10, b"y", []]
    assert stage.queue.jobs == []


def test_a_wrong_response_never_leaves() -> None:
    stage = Stage("/pets")
    stage.check.send_head(PETS)
    stage.check.send_data(b"{}")
    stage.check.send_end()
    stage.queue.work()
    ((found, can_answer),) = stage.wrong
    assert (found[0]["pointer"], can_answer) == ("#", True)
    stage.check.send_data(b"more")
    stage.check.send_end()
    assert stage.said == []
    assert stage.events == []  # the app has said all it had to say


def test_an_app_that_still_streams_is_told() -> None:
    stage = Stage("/files")
    stage.check.send_head(ResponseHead(200, [(b"Content-Type", b"text/event-stream")]))
    stage.check.send_data(b"x")
    stage.queue.work()
    assert [type(event) for event in stage.events] == [Failed]
    assert stage.check.closed
    assert len(stage.wrong) == 1
    assert stage.said == []


def test_a_copy_is_checked_while_the_response_passes() -> None:
    stage = Stage("/pets", hold=False)
    stage.check.send_head(PETS)
    stage.check.send_data(b"{}")
    stage.check.send_end()
    assert stage.said == [200, b"{}", []]
    stage.queue.work()
    ((found, can_answer),) = stage.wrong
    assert (found[0]["in"], can_answer) == ("body", False)


def test_an_answer_to_head_has_no_body_to_look_into() -> None:
    stage = Stage("/pets", method=b"HEAD")
    stage.check.send_head(PETS)
    stage.check.send_end()
    stage.queue.work()
    assert stage.said == [200, []]


@pytest.mark.parametrize("by_app", [True, False])
def test_what_is_over_is_forgotten(by_app: bool) -> None:
    stage = Stage("/pets")
    stage.check.send_head(PETS)
    stage.check.send_data(b"{}")
    stage.check.send_end()
    (job,) = stage.queue.jobs
    if by_app:
        stage.check.reset()
    else:
        stage.check.receive(Failed(restsock.ConnectionClosed("gone")))
    assert stage.check.closed
    assert job.work is None
    stage.queue.work()
    assert stage.wrong == []
    assert stage.said == (["reset"] if by_app else [])
