"""`GRIP`: a backend made with gripcontrol, behind a real gateway with real clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gripcontrol
import pytest
import trio

import restsock
from restsock import WebSocketClosed
from restsock.auth import Refused
from restsock.connection import Request, Response
from restsock.gateway import (
    GRIP,
    Action,
    App,
    CallFailed,
    Channel,
    Gateway,
    HTTPBackend,
    HTTPRequest,
    Message,
    Pipe,
    RawDialect,
    WebSocket,
)
from restsock.websockets import connect
from tests.gateway.stand_in import Client, client, message, running
from tests.waiting import until

TYPE = "application/websocket-events"
EVENT = gripcontrol.WebSocketEvent
KEY = "0123456789abcdef0123456789abcdef"


class Backend:
    """Knows nothing from one request to the next, as a backend of Pushpin.

    Attributes:
        requests: What has come, with its events.
        answer: Of the next request, instead of what it would say.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[Request, list[Any]]] = []
        self.answer: Response | None = None
        self.prefix = True

    async def __call__(self, request: Request) -> Response:
        events = gripcontrol.decode_websocket_events(await request.read())
        self.requests.append((request, events))
        if self.answer is not None:
            answer, self.answer = self.answer, None
            return answer
        out: list[Any] = []
        headers = {"Content-Type": TYPE}
        for event in events:
            if event.type == "OPEN":
                headers["Sec-WebSocket-Extensions"] = 'grip; message-prefix="m:"'
                headers["Set-Meta-User"] = "ann"
                out += [EVENT("OPEN"), control("subscribe", channel="news")]
            elif event.type == "CLOSE":
                out.append(event)
            elif event.type in ("TEXT", "BINARY"):
                out += self.say(event, headers)
        return Response(200, headers, gripcontrol.encode_websocket_events(out))

    def say(self, event: Any, headers: dict[str, str]) -> list[Any]:
        text = event.content.decode("latin-1")
        if "leave" in text:
            return [control("unsubscribe", channel="news")]
        if "bye" in text:
            return [EVENT("CLOSE", b"\x0f\xa1so long")]
        if "last" in text:
            return [
                EVENT("TEXT", b"m:one"),
                EVENT("TEXT", b"m:two"),
                EVENT("CLOSE", b"\x0f\xa1bye"),
            ]
        if "detach" in text:
            return [control("detach")]
        if "html" in text:
            headers["Content-Type"] = "text/html"
        if "gone" in text:
            return [EVENT("DISCONNECT")]
        if "ping" in text:
            return [EVENT("PING", b"?"), EVENT("TEXT", b"m:ok")]
        if "keep" in text:
            headers["Keep-Alive-Interval"] = "30"
        if "quiet" in text:
            return [control("keep-alive", content="are you there", timeout=20)]
        if "junk" in text:
            return [EVENT("TEXT", b"c:{"), EVENT("TEXT", b"c:[1]"), control("nothing"),
                    control("subscribe", channel=7), control("subscribe", channel=""),
                    EVENT("TEXT", b"m:ok")]  # fmt: skip
        return [EVENT(event.type, b"m:" + event.content), EVENT("TEXT", b"m:more")]

    def types(self) -> list[str]:
        return [event.type for _, events in self.requests for event in events]


def control(kind: str, **args: Any) -> Any:
    return EVENT("TEXT", "c:" + gripcontrol.websocket_control_message(kind, args))


@asynccontextmanager
async def gateway(
    backend: Backend, dialect: Any = None, *, hooks: bool = True, **options: Any
) -> AsyncIterator[tuple[Gateway, str]]:
    grip = GRIP(App(backend), **options)
    more: Any = {"on_connect": grip.connect, "on_disconnect": grip.disconnect} if hooks else {}
    made = Gateway([Channel("/ws", dialect or RawDialect(), Pipe(grip), **more)])
    async with restsock.listen("127.0.0.1", 0, endpoints=made) as server:
        yield made, f"ws://127.0.0.1:{server.address[1]}/ws"


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of gripcontrol
async def test_a_client_talks_to_a_backend_that_holds_nothing() -> None:
    backend = Backend()
    async with gateway(backend, key=KEY) as (_, url):
        async with connect(url, headers={"Cookie": "a=1"}) as websocket:
            await websocket.send("hello")
            assert {await websocket.receive(), await websocket.receive()} == {"hello", "more"}
            await websocket.send('{"a" : 1e2}')
            both = {await websocket.receive(), await websocket.receive()}
            assert both == {'{"a" : 1e2}', "more"}  # as it is
            await websocket.send(b"\x00\xff")
            assert {await websocket.receive(), await websocket.receive()} == {b"\x00\xff", "more"}
            await websocket.aclose(4000, "done")
        await until(lambda: backend.types()[-1] == "CLOSE")
    assert backend.types() == ["OPEN", "TEXT", "TEXT", "BINARY", "CLOSE"]
    assert backend.requests[-1][1][0].content == b"\x0f\xa0done"
    first, second = backend.requests[0][0], backend.requests[1][0]
    assert (first.method, first.header("content-type"), first.header("accept")) == (
        "POST", TYPE, TYPE,
    )  # fmt: skip
    assert first.header("connection-id") == second.header("connection-id")
    assert first.header("sec-websocket-extensions") == "grip"
    assert first.header("cookie") == "a=1"
    assert (first.header("meta-user"), second.header("meta-user")) == (None, "ann")
    assert gripcontrol.validate_sig(first.header("grip-sig"), KEY, "restsock")
    assert not gripcontrol.validate_sig(first.header("grip-sig"), KEY[::-1], "restsock")


async def test_messages_of_an_answer_keep_their_order_also_before_a_close() -> None:
    """As behind Pushpin."""
    backend = Backend()
    async with gateway(backend) as (_, url):
        async with connect(url) as ws:
            await ws.send("a")
            await ws.send(b"\x00\xff")
            said = [await ws.receive() for _ in range(4)]
            assert said == ["a", "more", b"\x00\xff", "more"]
            await ws.send("last")
            assert [await ws.receive(), await ws.receive()] == ["one", "two"]
            with pytest.raises(WebSocketClosed):
                await ws.receive()
            assert (ws.close_code, ws.close_reason) == (4001, "bye")
        async with gateway(backend, Action()) as (_, other), connect(other) as ws:
            await ws.send('{"action": "x", "id": 1, "text": "last"}')
            assert [await ws.receive(), await ws.receive()] == ['"one"', '"two"']


async def test_the_backend_is_told_the_query_of_the_client() -> None:
    backend = Backend()
    async with gateway(backend, path="/in?a=1") as (_, url):
        async with connect(f"{url}?room=7&b=%20") as ws:
            await ws.send("a")
            await ws.receive()
        async with connect(url) as ws:
            await ws.send("a")
            await ws.receive()
    targets = [request.target for request, _ in backend.requests]
    assert targets == ["/in?a=1&room=7&b=%20"] * 3 + ["/in?a=1"] * 3


async def test_a_client_may_be_detached_and_an_answer_has_to_be_events() -> None:
    backend = Backend()
    async with gateway(backend) as (made, url), connect(url) as ws:
        await ws.send("html")
        assert '"status":502' in await ws.receive()
        await ws.send("detach")
        await until(lambda: backend.types()[-1] == "CLOSE")
        await ws.send("nobody hears this")
        await trio.sleep(0.05)
        made.groups.send("news", "still here")
        assert await ws.receive() == "still here"
    assert backend.types() == ["OPEN", "TEXT", "TEXT", "CLOSE"]


async def test_channels_are_groups_of_the_gateway() -> None:
    backend = Backend()
    async with gateway(backend, prefix="grip-") as (made, url), connect(url) as websocket:
        made.groups.send("grip-news", "extra, extra")
        assert await websocket.receive() == "extra, extra"
        await websocket.send("leave")
        await until(lambda: not made.groups.members("grip-news"))


async def test_the_backend_may_refuse_a_client() -> None:
    backend = Backend()
    async with gateway(backend) as (_, url):
        for status, told in ((401, 401), (500, 500), (302, 502), (200, 403)):
            backend.answer = Response(status, {"Content-Type": TYPE}, b"")
            with pytest.raises(restsock.WebSocketRefused) as caught:
                async with connect(url):
                    raise AssertionError
            assert caught.value.status == told


async def test_a_client_that_was_refused_is_forgotten() -> None:
    backend = Backend()
    grip = GRIP(App(backend))
    async with running(grip):
        session = Client()
        headers = {"Content-Type": TYPE, "Keep-Alive-Interval": "30"}
        backend.answer = Response(200, headers, b"")
        with pytest.raises(Refused):
            await grip.connect(session)
        assert grip._nursery is not None
        assert (len(grip._nursery.child_tasks), len(grip._sessions)) == (0, 0)
        await grip.connect(session)
        await grip.disconnect(session, 1006, "")
        await grip.disconnect(session, 1006, "")
    assert backend.types() == ["OPEN", "OPEN", "DISCONNECT"]


async def test_the_backend_may_close_a_client() -> None:
    backend = Backend()
    async with gateway(backend) as (_, url):
        for text, code, reason in (("bye", 4001, "so long"), ("gone", 1014, "")):
            async with connect(url) as websocket:
                await websocket.send(text)
                with pytest.raises(restsock.WebSocketClosed) as caught:
                    await websocket.receive()
                assert (caught.value.code, caught.value.reason) == (code, reason)
    assert backend.types().count("CLOSE") == 0  # it has closed it, and knows


async def test_without_hooks_the_first_message_asks_and_answers_have_ids() -> None:
    backend = Backend()
    async with gateway(backend, Action(), hooks=False) as (_, url):
        async with connect(url) as websocket:
            assert backend.requests == []
            await websocket.send('{"action": "go", "id": 7, "n": 1}')
            received = [json.loads(await websocket.receive()) for _ in range(2)]
            assert {"id": 7, "status": 200, "body": {"n": 1}} in received
            assert "more" in received
            await websocket.send('{"action": "quiet", "id": 8, "quiet": 1}')
            assert json.loads(await websocket.receive()) == {"id": 8, "status": 204, "body": None}
        await until(lambda: backend.types()[-1] == "CLOSE")
    assert backend.types()[:2] == ["OPEN", "TEXT"]


async def test_a_backend_that_fails_is_an_answer_and_not_the_end() -> None:
    backend = Backend()
    async with gateway(backend, Action()) as (_, url), connect(url) as websocket:
        for n, answer in enumerate(
            (
                Response(500, {}, b"secret"),
                Response(200, {"Content-Type": TYPE}, b"TEXT 5\r\n"),
                Response(200, {"Content-Type": TYPE}, b"x" * 2_000_000),
            )
        ):
            backend.answer = answer
            await websocket.send(json.dumps({"action": "go", "id": n}))
            said = json.loads(await websocket.receive())
            assert said["id"] == n
            assert said["status"] in (500, 502)
            assert said["error"]["may_have_run"] is True
            assert "secret" not in json.dumps(said)
        await websocket.send('{"action": "go", "id": 9, "junk": 1}')
        assert json.loads(await websocket.receive())["body"] == "ok"


async def test_a_ping_of_the_backend_is_answered_with_the_next_request() -> None:
    backend = Backend()
    async with gateway(backend) as (_, url), connect(url) as websocket:
        for _ in range(2):
            await websocket.send("ping")
            assert await websocket.receive() == "ok"
    assert backend.types()[:4] == ["OPEN", "TEXT", "PONG", "TEXT"]


class Canned(HTTPBackend):
    """Answers as `Backend`, without sockets, for a clock that jumps."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(None)
        self._backend = backend

    async def _send(self, message: Message, request: HTTPRequest) -> Response:
        await trio.lowlevel.checkpoint()
        events = gripcontrol.decode_websocket_events(request.body)
        self._backend.requests.append((None, events))  # type: ignore[arg-type]
        headers = {"Content-Type": TYPE}
        out = []
        for event in events:
            if event.type == "OPEN":
                headers["Sec-WebSocket-Extensions"] = "grip"
                out.append(event)
            elif event.type == "TEXT":
                out += self._backend.say(event, headers)
        return Response(200, headers, gripcontrol.encode_websocket_events(out))


async def test_the_backend_is_asked_now_and_then_and_so_is_the_client(autojump_clock: Any) -> None:
    backend = Backend()
    grip = GRIP(Canned(backend))
    async with running(grip):
        async with client() as session:
            await grip.call(message("keep", session=session))
            await trio.sleep(95)
            assert [events for _, events in backend.requests[2:]] == [[], [], []]
            session.sent.clear()
            await grip.call(message("quiet", session=session))
            await trio.sleep(65)
            assert session.sent == ["are you there"] * 3
        await trio.sleep(1)
        assert backend.types()[-1] == "CLOSE"
        asked = len(backend.requests)
        await trio.sleep(300)
        assert len(backend.requests) == asked
        assert len(session.sent) == 3


def test_what_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="path"):
        GRIP("http://127.0.0.1", path="ws")
    with pytest.raises(TypeError, match="URL"):
        GRIP(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_keep_alive"):
        GRIP("http://127.0.0.1", min_keep_alive=0)
    assert "secret" not in repr(GRIP("http://127.0.0.1", key="secret"))


async def test_clients_that_have_sent_nothing_are_forgotten_without_a_hook_for_it(
    autojump_clock: Any,
) -> None:
    backend = Backend()
    grip = GRIP(Canned(backend))
    async with running(grip):
        await grip.connect(Client("stays"))
        for number in range(20):
            leaves = Client(f"leaves-{number}")
            await grip.connect(leaves)
            leaves.end_with(4000)
            await trio.sleep(1)
        assert len(grip._sessions) <= 3
        assert "stays" in grip._sessions
    assert backend.types().count("OPEN") == backend.types().count("CLOSE") == 21


async def test_a_call_of_a_client_that_has_left_is_no_fault_of_the_program() -> None:
    grip = GRIP(Canned(Backend()))
    websocket = WebSocket("ws://127.0.0.1:9")
    async with client() as session:
        pass
    for backend in (grip, websocket):
        async with running(backend):
            with pytest.raises(CallFailed) as caught:
                await backend.call(message({"a": 1}, session=session))
            assert (caught.value.status, caught.value.may_have_run) == (503, False)
    assert not grip._sessions
