"""`OpenAPIHandler` behind a connection in memory: what it refuses, what passes, and how."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import fastapi
import flask
import pytest
import trio
import trio.testing

import restsock
from restsock.connection import Connection, Exchange, ExchangeEvent, Request, Response
from restsock.openapi import OpenAPIHandler
from restsock.protocol import RequestHead, ResponseReceived
from restsock.testing import connected_pair
from tests.apps.serving import served
from tests.openapi.documents import document, operation, parameter

JSON = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"
EXPECTS = (b"Expect", b"100-continue")

Answer = Callable[[Request], Any]


class App:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, answer: Answer | Response | None = None) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.answer = answer

    async def __call__(self, request: Request) -> Response:
        upgrade = request.header("upgrade") is not None  # its half of the stream stays open
        body = b"" if upgrade else await request.read()
        self.asked.append((request.method, request.target, body))
        if isinstance(self.answer, Response):
            return self.answer
        if self.answer is not None:
            made: Response = await self.answer(request)
            return made
        return Response(200, {"X-Total": "0", **JSON}, b"[]")


@asynccontextmanager
async def serving(
    app: Any, spec: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Connection]:
    async with served(OpenAPIHandler(app, spec or document(), **options)) as connection:
        yield connection


def problem_of(response: Response) -> dict[str, Any]:
    assert response.header("content-type") == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status
    return body


# --- requests -------------------------------------------------------------------------------------


async def test_what_is_right_reaches_the_app() -> None:
    app = App(Response(201, JSON, b'{"name": "Rex"}'))
    async with serving(app) as peer:
        response = await peer.request("POST", "/pets", headers=JSON, body=b'{"name": "Rex"}')
        assert (response.status, response.json()) == (201, {"name": "Rex"})
    assert app.asked == [("POST", "/pets", b'{"name": "Rex"}')]


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status", "pointers"),
    [
        ("GET", "/nope", {}, b"", 404, []),
        ("DELETE", "/pets/1", {}, b"", 405, []),
        ("GET", "/pets?limit=0&tag=c", {}, b"", 400, ["#", "#/0"]),
        ("GET", "/pets/rex", {}, b"", 400, ["#"]),
        ("HEAD", "/pets/rex", {}, b"", 400, []),
        ("POST", "/pets", JSON, b'{"name": 5, "age": -1}', 400, ["#/name", "#/age"]),
        ("POST", "/pets", JSON, b"{", 400, ["#"]),
        ("POST", "/pets", JSON, b"", 400, ["#"]),
        ("POST", "/pets", {}, b"{}", 415, []),
        ("POST", "/pets", {"Content-Type": "text/plain"}, b"{}", 415, []),
        ("POST", "/pets", JSON, b" " * 2000 + b"{}", 413, []),
    ],
)
async def test_what_is_wrong_does_not(
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    pointers: list[str],
) -> None:
    app = App()
    async with serving(app, max_body=1000) as peer:
        response = await peer.request(method, target, headers=headers, body=body)
        assert response.status == status
        if method != "HEAD":
            problem = problem_of(response)
            assert [error["pointer"] for error in problem.get("errors", [])] == pointers
        # The connection, and the handler, go on.
        assert (await peer.request("GET", "/pets?limit=5")).status == 200
    assert [asked[1] for asked in app.asked] == ["/pets?limit=5"]


async def test_bodies_that_come_in_pieces() -> None:
    app = App(Response(201, JSON, b'{"name": "Rex"}'))

    async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            await trio.lowlevel.checkpoint()

    async with serving(app, max_body=200_000) as peer:

        async def post(*parts: bytes, headers: dict[str, str] = JSON) -> Response:
            return await peer.request("POST", "/pets", headers=headers, body=pieces(*parts))

        # More than the first window, so the credit has to go back before the app is reached.
        name = b"x" * 150_000
        good = await post(
            b'{"name": "', *[name[at : at + 999] for at in range(0, 150_000, 999)], b'"}'
        )
        assert good.status == 201
        assert (await post(b'{"name":', b" 5}")).status == 400
        assert (await post(b'{"name": "', name, name, b'"}')).status == 413
        assert (await post()).status == 400
        assert (await post(b"{}", headers={"Content-Type": "text/plain"})).status == 415
        assert (await peer.request("GET", "/pets")).status == 201
    assert len(app.asked[0][2]) == 150_012
    assert [method for method, _, _ in app.asked] == ["POST", "GET"]


def flask_echo() -> Any:
    app = flask.Flask("app")

    def create() -> Any:
        return flask.request.get_json(), 201

    app.add_url_rule("/pets", view_func=create, methods=["POST"])
    return app


def fastapi_echo() -> Any:
    app = fastapi.FastAPI()

    async def create(request: fastapi.Request) -> Any:
        return await request.json()

    app.add_api_route("/pets", create, methods=["POST"], status_code=201)
    return app


@pytest.mark.parametrize("make", [flask_echo, fastapi_echo])
async def test_credit_is_given_back_once(make: Callable[[], Any]) -> None:
    """The app gives credit for all it reads; twice would be a fault that costs the connection."""
    api = make()
    pet = {"name": "x" * 300_000}
    async with serving(api) as peer:
        for _ in range(3):
            response = await peer.request(
                "POST", "/pets", headers=JSON, body=json.dumps(pet).encode(), timeout=20
            )
            assert (response.status, response.json()) == (201, pet)


async def test_a_stream_up_passes_as_it_comes() -> None:
    send, receive = trio.open_memory_channel[bytes](0)
    arrived: list[bytes] = []

    async def app(request: Request) -> Response:
        async for data in request:
            arrived.append(data)
            event.set()
        return Response(200, {"Content-Type": "text/plain"}, str(sum(map(len, arrived))))

    async with serving(app) as peer, trio.open_nursery() as nursery:
        event = trio.Event()
        headers = {"Content-Type": "application/octet-stream"}

        async def upload() -> None:
            response = await peer.request("POST", "/files", headers=headers, body=receive)
            assert (response.status, response.text) == (200, "6")

        nursery.start_soon(upload)
        await send.send(b"abc")
        with trio.fail_after(10):
            await event.wait()  # the app has the first bytes while the last are not made yet
        await send.send(b"def")
        send.close()


async def test_continue_is_said_where_the_body_is_wanted() -> None:
    app = App(Response(201, JSON, b'{"name": "Rex"}'))
    async with serving(app) as peer:
        seen: list[int] = []
        changed = trio.Event()

        def observe(event: ExchangeEvent) -> None:
            if isinstance(event, ResponseReceived):
                seen.append(event.head.status)
                changed.set()

        fields = [(b"Host", b"a"), (b"Content-Type", b"application/json"), EXPECTS]
        exchange = Exchange(RequestHead(b"POST", b"/pets", fields), observe, end=False)
        peer.submit(exchange)
        with trio.fail_after(10):
            await changed.wait()
            changed = trio.Event()
            exchange.send_data(b'{"name": "Rex"}')
            exchange.send_end()
            await changed.wait()
        assert seen == [100, 201]


async def test_405_and_415_say_what_there_is() -> None:
    async with serving(App()) as peer:
        assert (await peer.request("DELETE", "/pets")).header("allow") == "GET, POST"
        response = await peer.request("POST", "/pets", body=b"x")
        assert response.header("accept") == "application/json"


async def test_what_is_no_use_of_a_path_goes_to_the_app() -> None:
    app = App()
    async with serving(app) as peer:
        await peer.request("OPTIONS", "/pets")
        await peer.request("OPTIONS", "*")
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket"}
        await peer.request("GET", "/live", headers=upgrade)
    assert [target for _, target, _ in app.asked] == ["/pets", "*", "/live"]


async def test_unknown_paths_may_pass() -> None:
    app = App()
    async with serving(app, unknown_paths="pass") as peer:
        assert (await peer.request("GET", "/docs")).status == 200
        assert (await peer.request("GET", "/pets/rex")).status == 400


async def test_requests_may_go_unvalidated() -> None:
    app = App()
    async with serving(app, requests=False) as peer:
        for target in ("/pets?limit=0", "/nope"):
            assert (await peer.request("GET", target)).status == 200
        assert (await peer.request("DELETE", "/pets")).status == 200


async def test_the_document_is_published() -> None:
    async with serving(App()) as peer:
        response = await peer.request("GET", "/openapi.json")
        assert response.json() == document()
        assert (await peer.request("HEAD", "/openapi.json")).content == b""
    async with serving(App(), publish=None) as peer:
        assert (await peer.request("GET", "/openapi.json")).status == 404


async def test_a_secret_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    app = App(Response(200, {"X-Total": "hunter2"}, b"hunter2"))
    async with serving(app, responses=True) as peer:
        for target, body in [("/pets?limit=hunter2", b""), ("/pets?limit=5", b"")]:
            response = await peer.request("GET", target, body=body)
            assert "hunter2" not in response.text
        body = b'{"name": 5, "age": "hunter2", "tags": ["a", ["hunter2"]]}'
        response = await peer.request("POST", "/pets", headers=JSON, body=body)
        assert "hunter2" not in response.text
        assert len(response.json()["errors"]) == 3
    assert "hunter2" not in caplog.text
    assert "refused GET /pets with 400" in caplog.text


async def test_many_at_once() -> None:
    app = App(Response(201, JSON, b'{"name": "Rex"}'))
    async with serving(app, responses=True) as peer:
        statuses: list[int] = []

        async def post(number: int) -> None:
            name: Any = "Rex" if number % 2 else 5
            body = json.dumps({"name": name}).encode()
            response = await peer.request("POST", "/pets", headers=JSON, body=body)
            assert response.status == (201 if number % 2 else 400)
            statuses.append(response.status)

        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(post, number)
    assert len(statuses) == 64
    assert len(app.asked) == 32


# --- responses ------------------------------------------------------------------------------------

WRONG = [
    Response(200, {"X-Total": "1", **JSON}, b'[{"nme": "Rex"}]'),
    Response(200, {"X-Total": "1", **JSON}, b"["),
    Response(200, {"X-Total": "many", **JSON}, b"[]"),
    Response(200, JSON, b"[]"),
    Response(200, {"X-Total": "1", "Content-Type": "text/html"}, b"[]"),
    Response(202, {"X-Total": "1", **JSON}, b"[]"),
]


@pytest.mark.parametrize("answer", WRONG)
async def test_a_wrong_response_is_a_500(
    answer: Response, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(App(answer), responses=True) as peer:
        problem = problem_of(await peer.request("GET", "/pets"))
        assert problem["status"] == 500
        assert "errors" not in problem
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name == "restsock.openapi"
    assert "the response to GET /pets breaks the contract: " in record.getMessage()


@pytest.mark.parametrize("answer", WRONG)
async def test_or_only_a_record(answer: Response, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(App(answer), responses=True, wrong_response="log") as peer:
        response = await peer.request("GET", "/pets")
        assert (response.status, response.content) == (answer.status, answer.body)
    # Leaving has waited for the validation.
    assert "breaks the contract" in caplog.text


async def test_right_responses_pass_with_their_trailers() -> None:
    answer = Response(200, {"X-Total": "1", **JSON}, b'[{"name": "Rex"}]', {"X-Sum": "5"})
    modes: list[dict[str, Any]] = [{}, {"wrong_response": "log"}]
    for options in modes:
        async with serving(App(answer), responses=True, **options) as peer:
            response = await peer.request("GET", "/pets")
            assert (response.status, response.content) == (200, b'[{"name": "Rex"}]')
            assert list(response.trailers) == [(b"X-Sum", b"5")]
            assert (await peer.request("HEAD", "/pets")).status == 200
            assert (await peer.request("OPTIONS", "/pets")).status == 200


async def test_a_share_of_the_responses() -> None:
    chances = iter([0.1, 0.9, 0.3])
    options: dict[str, Any] = {"responses": 0.25, "chance": lambda: next(chances)}
    async with serving(App(WRONG[0]), **options) as peer:
        statuses = [(await peer.request("GET", "/pets")).status for _ in range(3)]
    assert statuses == [500, 200, 200]


async def test_errors_that_the_contract_does_not_know_pass() -> None:
    async with serving(App(Response(418, {}, b"teapot")), responses=True) as peer:
        assert (await peer.request("GET", "/pets")).status == 418


@pytest.mark.parametrize("known", [True, False])
async def test_large_responses_pass(known: bool) -> None:
    big = json.dumps([{"nme": "x" * 5000}]).encode()

    async def answer(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for at in range(0, len(big), 100):
                yield big[at : at + 100]

        length = {"Content-Length": str(len(big))} if known else {}
        return Response(200, {"X-Total": "1", **JSON, **length}, parts())

    modes: list[dict[str, Any]] = [{}, {"wrong_response": "log"}]
    for options in modes:
        async with serving(App(answer), responses=True, max_body=1000, **options) as peer:
            response = await peer.request("GET", "/pets")
            assert (response.status, response.content) == (200, big)


@pytest.mark.parametrize("mode", ["refuse", "log"])
async def test_a_stream_down_passes_as_it_is_made(mode: str) -> None:
    send, receive = trio.open_memory_channel[bytes](0)

    async def answer(request: Request) -> Response:
        headers = {"Content-Type": "text/event-stream", "X-Feed": "a"}
        return Response(200, headers, receive)

    async with serving(App(answer), responses=True, wrong_response=mode) as peer:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send.send, b"data: 0\n\n")  # the head leaves with it
                async with peer.stream("GET", "/files") as response:
                    assert await response.receive() == b"data: 0\n\n"
                    await send.send(b"data: 1\n\n")
                    assert await response.receive() == b"data: 1\n\n"
                    send.close()
                    assert await response.receive() == b""


async def test_a_stream_with_a_wrong_head_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    stopped = trio.Event()

    async def answer(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1000
                    await trio.lowlevel.checkpoint()
            finally:
                stopped.set()

        return Response(200, {"Content-Type": "text/event-stream"}, parts())

    async with serving(App(answer), responses=True) as peer:
        with trio.fail_after(10):
            assert (await peer.request("GET", "/files")).status == 500
            await stopped.wait()
    assert "header X-Feed: is required" in caplog.text


async def test_a_fast_stream_waits_for_its_reader() -> None:
    """What is held while the head is checked counts, and `Writable` comes when it is let go."""
    total = 3_000_000

    async def answer(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(total // 10_000):
                yield b"x" * 10_000

        return Response(200, {"Content-Type": "text/event-stream", "X-Feed": "a"}, parts())

    async with serving(App(answer), responses=True) as peer:
        response = await peer.request("GET", "/files", timeout=20)
        assert len(response.content) == total


async def test_an_app_that_fails_is_answered_as_without() -> None:
    async def answer(request: Request) -> Response:
        raise ValueError("on purpose")

    async with serving(App(answer), responses=True) as peer:
        response = await peer.request("GET", "/pets")
        assert (response.status, response.header("content-type")) == (
            500,
            "text/plain; charset=utf-8",
        )


@pytest.mark.parametrize("mode", ["refuse", "log"])
async def test_wsgi_responses(mode: str) -> None:
    api = flask.Flask("app")
    body: Any = [{"name": "Rex"}]

    @api.get("/pets")
    def pets() -> Any:
        return flask.Response(
            iter([json.dumps(body)]), mimetype="application/json", headers={"X-Total": "1"}
        )

    async with serving(api, responses=True, wrong_response=mode) as peer:
        assert (await peer.request("GET", "/pets")).json() == body
        body = [{"nme": 5}]
        expected = 500 if mode == "refuse" else 200
        assert (await peer.request("GET", "/pets")).status == expected


# --- life ---------------------------------------------------------------------------------------


async def test_a_request_that_times_out_frees_its_thread() -> None:
    """Its validation would go on for a quarter of an hour."""
    app = App()
    options = restsock.Options(timeouts=restsock.Timeouts(request=0.3))
    handler = OpenAPIHandler(app, slow_document(28), threads=1, max_time=1000, options=options)
    async with connected_pair(app_b=handler, options=options) as (peer, _):
        response = await peer.request("GET", "/slow?q=1", timeout=30)
        assert response.status == 504
        # The one thread there is has to be free for this one.
        assert (await peer.request("GET", "/fast?q=1", timeout=30)).status == 200
    assert [target for _, target, _ in app.asked] == ["/fast?q=1"]


async def test_a_peer_that_leaves_frees_its_thread() -> None:
    app = App()
    async with serving(app, slow_document(28), threads=1, max_time=1000) as peer:
        with trio.move_on_after(0.05):
            await peer.request("GET", "/slow?q=1")
        assert (await peer.request("GET", "/fast?q=1", timeout=30)).status == 200
    assert [target for _, target, _ in app.asked] == ["/fast?q=1"]


async def test_what_takes_too_much_work_is_refused() -> None:
    app = App()
    async with serving(app, slow_document(28), threads=1, max_time=0.05) as peer:
        response = await peer.request("GET", "/slow?q=1", timeout=30)
        assert response.status == 400
        (error,) = response.json()["errors"]
        assert error["detail"] == "takes more than 0.05 s of processor time to check"
    assert app.asked == []


async def test_the_loop_goes_on_meanwhile() -> None:
    """A message that takes its time has a thread, and not the loop."""
    app = App()
    async with (
        serving(app, slow_document(28), threads=4, max_time=0.3) as peer,
        trio.open_nursery() as nursery,
    ):
        done: list[str] = []

        async def ask(target: str) -> None:
            await peer.request("GET", target, timeout=30)
            done.append(target)

        nursery.start_soon(ask, "/slow?q=1")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "/fast?q=1")
    assert done[0] == "/fast?q=1"


def slow_document(depth: int) -> dict[str, Any]:
    """Of schemas each of which asks for the next one twice."""
    step = "#/components/schemas/S{}"
    schemas: dict[str, Any] = {
        f"S{at}": {"allOf": [{"$ref": step.format(at + 1)}] * 2} for at in range(depth)
    }
    schemas[f"S{depth}"] = {"type": "integer"}
    slow = parameter("query", "q", {"type": "integer", "allOf": [{"$ref": step.format(0)}]})
    fast = parameter("query", "q", {"type": "integer"})
    paths = {
        "/slow": {"get": operation(parameters=[slow])},
        "/fast": {"get": operation(parameters=[fast])},
    }
    return document(paths, components={"schemas": schemas})


async def test_threads_end_with_the_handler() -> None:
    before = threading.active_count()
    handler = OpenAPIHandler(App(), document(), threads=2)
    for _ in range(2):
        async with served(handler) as peer:
            assert (await peer.request("GET", "/pets?limit=1")).status == 200
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("restsock-openapi")]
    assert threading.active_count() <= before + 1  # trio keeps one for a while


async def test_it_runs_once_at_a_time() -> None:
    handler = OpenAPIHandler(App(), document())
    async with handler.running():
        with pytest.raises(RuntimeError, match="running already"):
            async with handler.running():
                pass


async def test_a_validation_that_fails_is_a_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    app = App()
    handler = OpenAPIHandler(app, document(), responses=True)
    async with served(handler) as peer:
        monkeypatch.setattr(handler._policy.validator, "check_response", broken)
        assert (await peer.request("GET", "/pets?limit=1")).status == 500
        monkeypatch.setattr(handler._policy.validator, "check_request", broken)
        assert problem_of(await peer.request("GET", "/pets?limit=1"))["status"] == 500
    assert len(app.asked) == 1
    assert caplog.text.count("could not be validated") == 2


async def test_a_handler_stands_where_an_app_does() -> None:
    app = App()
    inner = OpenAPIHandler(app, document())
    outer = OpenAPIHandler(inner, document({"/pets": {"get": operation()}}))
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=outer, name="edge-1"),
    ):
        with trio.fail_after(10):
            assert (await server.request("edge-1", "GET", "/pets?limit=1")).status == 200
            assert (await server.request("edge-1", "GET", "/pets?limit=0")).status == 400
            assert (await server.request("edge-1", "GET", "/pets/1")).status == 404
    assert len(app.asked) == 1


def test_a_fastapi_tells_its_contract() -> None:
    assert OpenAPIHandler(fastapi.FastAPI(title="Mine")).document.title == "Mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"responses": 2}, "from 0 to 1"),
        ({"responses": -0.5}, "from 0 to 1"),
        ({"wrong_response": "no"}, "'refuse' or 'log'"),
        ({"unknown_paths": "no"}, "'refuse' or 'pass'"),
        ({"max_body": -1}, "negative"),
        ({"threads": 0}, "at least 1"),
        ({"publish": "x"}, "begins with /"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        OpenAPIHandler(App(), document(), **options)


def test_no_contract_at_all() -> None:
    with pytest.raises(TypeError, match="pass `spec`"):
        OpenAPIHandler(flask.Flask("app"))
    with pytest.raises(TypeError, match="already a handler"):
        OpenAPIHandler(OpenAPIHandler(App(), document()), document(), interface="asgi")
