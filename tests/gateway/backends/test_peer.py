"""`Peer`: peers behind a real listener, which come, go, refuse, and die in the middle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

import restsock
from restsock.connection import Exchange, Request, Response
from restsock.gateway import CallFailed, HTTPMapping, Message, Peer, Timeout, reply_to_failure
from restsock.protocol import ResetCode
from tests.gateway.stand_in import message
from tests.waiting import until

Answer = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def listener(**options: Any) -> AsyncIterator[tuple[restsock.Server, str]]:
    async with restsock.listen("127.0.0.1", 0, **options) as server:
        yield server, f"ws://127.0.0.1:{server.address[1]}/"


def saying(words: str, runs: list[str] | None = None) -> Answer:
    async def app(request: Request) -> Response:
        if runs is not None:
            runs.append(words)
        return Response(200, {"Content-Type": "text/plain"}, f"{words} {request.target}")

    return app


def peer(server: restsock.Server, *args: Any, **options: Any) -> Peer:
    backend = Peer(*args, **options)
    backend.bind(server, None)
    return backend


async def test_a_peer_answers() -> None:
    seen: list[Request] = []

    async def app(request: Request) -> Response:
        seen.append(request)
        return Response(201, {"Content-Type": "application/json"}, await request.read())

    async with listener() as (server, url), restsock.connect(url, name="edge-1", app=app):
        backend = peer(server, "edge-1", HTTPMapping(path="/pets/{key}"))
        reply = await backend.call(message({"a": 1}, "rex", within=5))
    assert (reply.status, reply.body) == (201, {"a": 1})
    (request,) = seen
    assert (request.method, request.target, request.scheme) == ("POST", "/pets/rex", "https")
    assert request.header("x-forwarded-for") == "192.0.2.7"
    assert int(request.header("x-request-timeout-ms") or 0) > 4000


async def test_the_name_is_made_of_the_message_and_checked() -> None:
    async with (
        listener() as (server, url),
        restsock.connect(url, name="edge-ulm", app=saying("ulm")),
        restsock.connect(url, name="vault", app=saying("vault")),
    ):
        backend = peer(server, name_from="edge-{body[site]}", allowed="edge-*")
        assert (await backend.call(message({"site": "ulm"}))).body == "ulm /"

        def by_site(asked: Message) -> str:
            name: str = asked.body["site"]
            return name

        chosen = peer(server, name_from=by_site, allowed=["edge-*"])
        assert (await chosen.call(message({"site": "edge-ulm"}))).body == "ulm /"
        for site in ("vault", "", "edge-\n", "x" * 300, 7):
            with pytest.raises(CallFailed) as caught:
                await chosen.call(message({"site": site}))
            assert caught.value.status == 404
        for bad in ("", "\n", None, ["a"]):
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"site": bad}))
            assert caught.value.status in (404, 422)


async def test_a_peer_that_reconnects_is_waited_for() -> None:
    async with listener() as (server, url), trio.open_nursery() as nursery:
        async with restsock.connect(url, name="edge-1", app=saying("first")):
            pass
        backend = peer(server, "edge-1", wait=30)
        answers: list[Any] = []

        async def call() -> None:
            answers.append((await backend.call(message({"buy": 1}))).body)

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        async with restsock.connect(url, name="edge-1", app=saying("second")):
            await until(lambda: answers)
        assert answers == ["second /"]


async def test_the_wait_for_a_peer_is_bounded_by_itself_and_by_the_deadline() -> None:
    async with listener() as (server, url):
        async with restsock.connect(url, name="edge-1", app=saying("x")):
            pass
        for name, wait, within in (("edge-1", 0.1, 60), ("edge-1", 60, 0.1), ("never", 0.1, 60)):
            backend, asked = peer(server, name, wait=wait), message(within=within)
            with trio.fail_after(5), pytest.raises(restsock.RestsockError) as caught:
                await backend.call(asked)
            assert caught.value.may_have_run is False
            reply = reply_to_failure(asked, caught.value)
            assert (reply.status, reply.body["may_have_run"]) == (503, False)


async def test_what_one_peer_refuses_goes_to_another_one_of_the_name() -> None:
    runs: list[str] = []
    begun, go_on = trio.Event(), trio.Event()

    async def busy(request: Request) -> Response:
        runs.append("busy")
        begun.set()
        await go_on.wait()
        return Response(200, {}, b"busy")

    one = restsock.Options(limits=restsock.Limits(max_streams=1))
    async with listener(names="share") as (server, url):
        async with (
            restsock.connect(url, name="edge-1", app=busy, options=one),
            trio.open_nursery() as nursery,
        ):
            backend = peer(server, "edge-1")
            nursery.start_soon(backend.call, message())
            await begun.wait()
            async with restsock.connect(url, name="edge-1", app=saying("free", runs)):
                await until(lambda: len(server.connections.all_by_name("edge-1")) == 2)
                reply = await backend.call(message({"buy": 1}))
                assert reply.body == "free /"
                go_on.set()
    assert runs == ["busy", "free"]


class Refuses:
    """A handler that begins with nothing, as one that is going away."""

    def __init__(self, runs: list[str]) -> None:
        self._runs = runs

    def handle(self, exchange: Exchange) -> None:
        self._runs.append("refused")
        exchange.reset(ResetCode.REFUSED, "going away")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield


@pytest.mark.parametrize("size", [10, 200_000])
async def test_a_refused_post_is_sent_again_whatever_its_size(size: int) -> None:
    runs: list[str] = []

    async def buys(request: Request) -> Response:
        runs.append("bought")
        return Response(200, {"Content-Type": "text/plain"}, str(len(await request.read())))

    async with listener(names="share") as (server, url):
        async with restsock.connect(url, name="edge-1", app=Refuses(runs)):
            backend = peer(server, "edge-1")
            answers: list[Any] = []

            async def call() -> None:
                answers.append((await backend.call(message("x" * size))).body)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await until(lambda: len(runs) >= 2)  # again, at the only one that there is
                async with restsock.connect(url, name="edge-1", app=buys):
                    await until(lambda: answers)
    assert answers == [str(size)]
    assert runs.count("bought") == 1
    assert "refused" in runs


async def test_what_is_refused_for_as_long_as_it_may_take_has_not_run() -> None:
    runs: list[str] = []
    async with (
        listener() as (server, url),
        restsock.connect(url, name="edge-1", app=Refuses(runs)),
    ):
        asked = message("x")
        with trio.fail_after(10), pytest.raises(restsock.RestsockError) as caught:
            await peer(server, "edge-1", wait=0.3).call(asked)
    reply = reply_to_failure(asked, caught.value)
    assert reply.status in (502, 503)
    assert reply.body["may_have_run"] is False
    assert len(runs) > 1


async def test_what_may_have_run_is_not_sent_again() -> None:
    runs: list[str] = []
    async with listener(names="share") as (server, url), trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        begun = trio.Event()

        async def dies(request: Request) -> Response:
            runs.append("dies")
            begun.set()
            await trio.sleep_forever()
            raise AssertionError

        async def first() -> None:
            with scope:
                async with restsock.connect(url, name="edge-1", app=dies):
                    await trio.sleep_forever()

        nursery.start_soon(first)
        await until(lambda: server.connections.by_name("edge-1"))
        backend = peer(server, "edge-1")
        errors: list[restsock.RestsockError] = []

        async def call() -> None:
            with pytest.raises(restsock.RestsockError) as caught:
                await backend.call(message({"buy": 1}))
            errors.append(caught.value)

        nursery.start_soon(call)
        await begun.wait()
        async with restsock.connect(url, name="edge-1", app=saying("other", runs)):
            scope.cancel()
            await until(lambda: errors)
            assert (await backend.call(message())).body == "other /"
    assert runs == ["dies", "other"]
    assert errors[0].may_have_run is True
    reply = reply_to_failure(message(), errors[0])
    assert (reply.status, reply.body["may_have_run"]) == (502, True)


async def test_the_deadline_resets_the_request_at_the_peer() -> None:
    gone = trio.Event()

    async def slow(request: Request) -> Response:
        try:
            await trio.sleep_forever()
        finally:
            gone.set()
        raise AssertionError

    async with listener() as (server, url), restsock.connect(url, name="edge-1", app=slow):
        with pytest.raises(CallFailed) as caught:
            await peer(server, "edge-1").call(message(within=0.2))
        assert (caught.value.status, caught.value.may_have_run) == (504, True)
        await gone.wait()


async def test_an_answer_that_is_too_large_is_cut_off() -> None:
    async def large(request: Request) -> Response:
        return Response(200, {}, b"x" * 2_000_000)

    async with listener() as (server, url), restsock.connect(url, name="edge-1", app=large):
        with pytest.raises(CallFailed, match="more than 1048576"):
            await peer(server, "edge-1").call(message())


@pytest.mark.parametrize(
    "args", [{}, {"name": "a", "name_from": "b"}, {"name_from": 7, "allowed": "a"}]
)
def test_a_peer_has_one_way_to_its_name(args: Any) -> None:
    with pytest.raises(TypeError):
        Peer(**args)


def test_what_is_wrong_is_said_at_once() -> None:
    async def waits(asked: Message) -> str:
        return ""

    with pytest.raises(TypeError, match="must not wait"):
        Peer(name_from=waits, allowed="*")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="allowed="):
        Peer(name_from="{body[site]}")  # a client would name any peer
    with pytest.raises(TypeError, match="allowed="):
        Peer("a", allowed="*")
    with pytest.raises(ValueError, match="no name"):
        Peer("")
    with pytest.raises(ValueError, match="wait"):
        Peer("a", wait=0)
    assert repr(Peer("a")) == "Peer('a')"


async def test_a_peer_that_is_bound_to_no_listener_has_sent_nothing() -> None:
    with pytest.raises(CallFailed) as caught:
        await Peer("a").call(message())
    assert (caught.value.status, caught.value.may_have_run) == (503, False)


async def test_a_time_out_while_the_peer_is_away_has_not_run() -> None:
    async with listener() as (server, _):
        with pytest.raises(CallFailed) as caught:
            await Timeout(0.1)(message(), peer(server, "edge-1").call)
    assert (caught.value.status, caught.value.may_have_run) == (503, False)
