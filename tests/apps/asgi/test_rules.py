"""What the ASGI specification forbids is an error to the app, in every state, on each loop."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from restsock.apps import BadResponseError, make_handler
from restsock.connection import Request, Response
from restsock.protocol import CloseReceived
from restsock.testing import connected_pair
from tests.apps.asgi.on_asyncio import Mark
from tests.apps.asgi.test_websocket import websocket

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def start(**more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, **more}


def body(more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"x", "more_body": more}


def trailers(more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.trailers", "headers": [(b"x-t", b"1")], "more_trailers": more}


HINT = {"type": "http.response.early_hint", "links": [b"</a>"]}
BEGUN = [start(trailers=True), body(more=True)]
ENDED = [start(trailers=True), body()]


@LOOPS
@pytest.mark.parametrize(
    ("messages", "bad", "rest"),
    [
        ([], body(), [start(), body()]),
        ([], trailers(), [start(), body()]),
        ([start()], trailers(), [body()]),
        ([start(trailers=True)], trailers(), [body(), trailers()]),
        (BEGUN, trailers(), [body(), trailers()]),
        (BEGUN, start(), [body(), trailers()]),
        (BEGUN, HINT, [body(), trailers()]),
        (ENDED, body(), [trailers()]),
        (ENDED, body(more=True), [trailers()]),
        (ENDED, start(), [trailers()]),
        (ENDED, HINT, [trailers()]),
        ([*ENDED, trailers(more=True)], body(), [trailers()]),
        ([*ENDED, trailers()], trailers(), []),
        ([*ENDED, trailers()], trailers(more=True), []),
        ([*ENDED, trailers()], body(), []),
        ([start(), body()], body(), []),
        ([start(), body()], start(), []),
        ([start(), body()], trailers(), []),
        ([start(), body()], HINT, []),
        ([], {"type": "http.response.pathsend", "path": "/"}, [start(), body()]),
        ([], {"type": "websocket.accept"}, [start(), body()]),
    ],
)
async def test_http(loop: str, messages: list[Any], bad: Any, rest: list[Any]) -> None:
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        for message in messages:
            await send(message)
        try:
            await send(bad)
        except BadResponseError as error:
            raised.append(error)
        for message in rest:
            await send(message)

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        response = await dialer.request("GET", "/")  # which the error leaves as it was
        assert response.status == 200
        assert response.content == b"x" * [m["type"] for m in (*messages, *rest)].count(
            "http.response.body"
        )
    assert len(raised) == 1


@LOOPS
@pytest.mark.parametrize(
    "code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65536, -1, "1000", 1000.0]
)
async def test_a_close_code_that_no_endpoint_sends(loop: str, code: Any) -> None:
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        for accept in (True, False):  # before it is accepted, and after
            try:
                await send({"type": "websocket.close", "code": code})
            except BadResponseError as error:
                raised.append(error)
            if accept:
                await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 3001, "reason": None})

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        closed = await client.next()
        assert isinstance(closed, CloseReceived)
        assert closed.code == 3001
    assert len(raised) == 2


@LOOPS
@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1012, 3000, 4999, None])
async def test_a_close_code_that_one_may_send(loop: str, code: int | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": code})

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        closed = await client.next()
        assert isinstance(closed, CloseReceived)
        assert closed.code == (code or 1000)


ACCEPT = {"type": "websocket.accept"}
SEND = {"type": "websocket.send", "text": "x"}
CLOSE = {"type": "websocket.close"}
REFUSE = {"type": "websocket.http.response.start", "status": 404}
REFUSE_BODY = {"type": "websocket.http.response.body", "body": b"x"}


@LOOPS
@pytest.mark.parametrize(
    ("messages", "bad"),
    [
        ([], SEND),
        ([], REFUSE_BODY),
        ([ACCEPT], ACCEPT),
        ([ACCEPT], REFUSE),
        ([ACCEPT], REFUSE_BODY),
        ([ACCEPT], {"type": "websocket.send"}),
        ([ACCEPT], {**SEND, "bytes": b"x"}),
        ([ACCEPT], start()),
        ([ACCEPT, CLOSE], CLOSE),
        ([ACCEPT, CLOSE], SEND),
        ([ACCEPT, CLOSE], ACCEPT),
        ([CLOSE], CLOSE),
        ([CLOSE], ACCEPT),
        ([CLOSE], SEND),
        ([CLOSE], REFUSE),
        ([REFUSE], CLOSE),
        ([REFUSE], ACCEPT),
        ([REFUSE, REFUSE_BODY], CLOSE),
        ([REFUSE, REFUSE_BODY], REFUSE_BODY),
    ],
)
async def test_websocket(loop: str, messages: list[Any], bad: Any) -> None:
    raised: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        for message in messages:
            await send(message)
        try:
            await send(bad)
        except BadResponseError as error:
            raised.append(error)
        if messages == [REFUSE]:
            await send(REFUSE_BODY)
        elif not messages:
            await send(CLOSE)

        done.set()

    done = Mark()
    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        expected = 101 if messages[:1] == [ACCEPT] else 404 if messages[:1] == [REFUSE] else 403
        assert client.head.status == expected
        await done.wait()
    assert len(raised) == 1


@LOOPS
async def test_a_close_after_the_peers_is_harmless(loop: str) -> None:
    codes: list[int] = []
    done = Mark()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await send(ACCEPT)
        await receive()
        codes.append((await receive())["code"])
        await send({"type": "websocket.close", "code": codes[0]})  # though nobody may send that
        with pytest.raises(OSError, match="the peer has left"):
            await send(SEND)
        done.set()

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        await client.exchange.send_data(b"\x88\x80mask")  # a close frame without a code
        await client.next()
        await done.wait()
    assert codes == [1005]


STARTED = {"type": "lifespan.startup.complete"}
NOT_STARTED = {"type": "lifespan.startup.failed"}
STOPPED = {"type": "lifespan.shutdown.complete"}
NOT_STOPPED = {"type": "lifespan.shutdown.failed"}


@LOOPS
async def test_lifespan(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def forbidden(*messages: Any) -> None:
            for message in messages:
                with pytest.raises(BadResponseError):
                    await send(message)
                raised.append(message["type"])

        assert await receive() == {"type": "lifespan.startup"}
        await forbidden(STOPPED, NOT_STOPPED, start())
        await send(STARTED)
        await forbidden(STARTED, NOT_STARTED, STOPPED)
        assert await receive() == {"type": "lifespan.shutdown"}
        await forbidden(STARTED)
        await send(STOPPED)
        await forbidden(STOPPED, NOT_STOPPED)
        await receive()  # nothing comes any more: it waits, instead of keeping the loop busy
        raise AssertionError("the lifespan goes on")

    async with make_handler(app, loop=loop).running():
        pass
    assert len(raised) == 9
    assert not caplog.records


@LOOPS
async def test_each_scope_is_the_apps_own(loop: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["type"], dict(scope["asgi"])))
        scope["asgi"]["mine"] = True
        scope["extensions"] = scope.get("extensions", {})
        scope["extensions"].setdefault("http.response.trailers", {})["mine"] = True
        if scope["type"] == "http":
            await send(start())
            await send(body())
        else:
            raise ValueError("no lifespan")

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _):
        for _ in range(2):
            await dialer.request("GET", "/")
    http = ("http", {"version": "3.0", "spec_version": "2.5"})
    assert seen == [("lifespan", {"version": "3.0", "spec_version": "2.0"}), http, http]


# --- no Content-Length where RFC 9110, section 8.6, has none --------------------------------------


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    status = int(environ["QUERY_STRING"])
    start_response(f"{status} x", [("Content-Length", "3")])
    return [b"abc"]


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        status = int(scope["query_string"])
        await send(start(status=status, headers=[(b"Content-Length", b"3")]))
        await send({"type": "http.response.body", "body": b"abc"})


async def function(request: Request) -> Response:
    return Response(int(request.query), [("content-LENGTH", "3")], b"abc")


@pytest.mark.parametrize("app", [wsgi, asgi, function])
async def test_no_length_with_a_204(app: Any) -> None:
    async with connected_pair(app_b=app) as (dialer, _):
        for status, length in ((204, None), (304, "3"), (200, "3")):
            for method in ("GET", "HEAD"):
                response = await dialer.request(method, f"/?{status}")
                assert (response.status, response.header("content-length")) == (status, length)
                expected = b"abc" if (status, method) == (200, "GET") else b""
                assert response.content == expected


@pytest.mark.parametrize("field", [b"Content-Length", b"content-length"])
@LOOPS
async def test_no_length_with_a_101(field: bytes, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            with pytest.raises(BadResponseError):
                await send({**ACCEPT, "headers": [(field, b"3")]})
            await send(CLOSE)

    async with connected_pair(app_b=app, loop_b=loop) as (dialer, _), websocket(dialer) as client:
        assert client.head.status == 403
