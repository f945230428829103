"""The tracebacks of the usual errors: one line of restsock's, below the caller's own."""

from __future__ import annotations

import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock import Options, Principal, RestsockError, Timeouts
from restsock.auth import BearerTokens

OPTIONS = Options(timeouts=Timeouts(connect=0.2))
PACKAGE = str(Path(restsock.__file__).parent)
TOKENS = BearerTokens({"a-token-of-good-length-1": Principal("edge")})


def frames_of(error: BaseException) -> int:
    """How many frames of restsock are printed with an error, those of its causes among them."""
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert shown.count("Traceback (most recent call last)") <= 2
    return shown.count(f'File "{PACKAGE}')


def pieces() -> Iterator[bytes]:
    yield b"piece"


async def async_pieces() -> AsyncIterator[bytes]:
    yield b"piece"


def mounted(session: requests.Session, adapter: Any) -> requests.Session:
    session.mount("http://edge-1/", adapter)
    return session


def read(response: Any) -> None:
    with response:
        response.receive()


BLOCKING: dict[str, Callable[[Any], Any]] = {
    "request": lambda route: route.request("GET", "/", timeout=0.2),
    "upload": lambda route: route.request("PUT", "/", body=pieces(), timeout=0.2),
    "stream": lambda route: read(route.stream("GET", "/", timeout=0.2)),
    "requests": lambda route: mounted(requests.Session(), route.adapter()).get(
        "http://edge-1/", timeout=0.2
    ),
    "requests, upload": lambda route: mounted(requests.Session(), route.adapter()).put(
        "http://edge-1/", data=pieces(), timeout=0.2
    ),
    "Session": lambda route: mounted(restsock.Session(), route.adapter()).get(
        "http://edge-1/", timeout=0.2
    ),
    "httpx": lambda route: httpx.Client(transport=route.transport()).get(
        "http://edge-1/", timeout=0.2
    ),
}


@pytest.mark.parametrize("call", BLOCKING)
@pytest.mark.parametrize("case", ["offline", "silent", "broken", "closed"])
def test_of_blocking_calls(call: str, case: str) -> None:
    go_on = threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        go_on.wait(5)
        start_response("200 OK", [])
        return [b""]

    with restsock.sync.listen("127.0.0.1", 0, options=OPTIONS) as server:
        with restsock.sync.connect(server.url, app=app, name="edge-1", options=OPTIONS) as client:
            if case == "closed":
                client.close(grace=0)
            route = server.route("edge-1" if case != "offline" else "off")
            if case == "broken":
                threading.Timer(0.05, client.close, kwargs={"grace": 0}).start()
            try:
                with pytest.raises((RestsockError, OSError, httpx.HTTPError)) as caught:
                    BLOCKING[call](route)
            finally:
                go_on.set()
    # A session of ours is a part of what requests calls: it has two frames more.
    assert frames_of(caught.value) <= (3 if call == "Session" else 1)


ASYNC: dict[str, Callable[[Any], Awaitable[Any]]] = {}


def asynchronous(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    ASYNC[function.__name__] = function
    return function


@asynchronous
async def request(route: Any) -> None:
    await route.request("GET", "/", timeout=0.2)


@asynchronous
async def upload(route: Any) -> None:
    await route.request("PUT", "/", body=async_pieces(), timeout=0.2)


@asynchronous
async def stream(route: Any) -> None:
    async with route.stream("GET", "/") as response:
        await response.read()


@asynchronous
async def call_of_httpx(route: Any) -> None:
    async with httpx.AsyncClient(transport=route.transport()) as client:
        await client.get("http://edge-1/", timeout=0.2)


@pytest.mark.parametrize("call", ASYNC)
@pytest.mark.parametrize("case", ["offline", "silent", "broken"])
async def test_of_async_calls(call: str, case: str) -> None:
    async def app(request: restsock.Request) -> restsock.Response:
        await trio.sleep_forever()
        raise AssertionError

    async with restsock.listen("127.0.0.1", 0, options=OPTIONS) as server:
        async with (
            restsock.connect(server.url, app=app, name="edge-1", options=OPTIONS) as client,
            trio.open_nursery() as nursery,
        ):
            if case == "broken" or call == "stream":

                async def leave() -> None:
                    await trio.sleep(0.05)
                    await client.aclose(grace=0)

                nursery.start_soon(leave)
            route = server.route("off" if case == "offline" else "edge-1")
            with pytest.raises((RestsockError, httpx.HTTPError)) as caught:
                await ASYNC[call](route)
    assert frames_of(caught.value) <= 1


def test_what_the_caller_was_handling_is_left_alone() -> None:
    with restsock.sync.listen("127.0.0.1", 0, options=OPTIONS) as server:
        try:
            try:
                raise KeyError("the caller's")
            except KeyError:
                server.route("off").request("GET", "/", timeout=0.1)
        except RestsockError as exc:
            context = exc.__context__
    assert isinstance(context, KeyError)
    assert context.__traceback__ is not None


async def test_of_a_refused_dial() -> None:
    async with restsock.listen("127.0.0.1", 0, auth=TOKENS) as server:
        with pytest.raises(restsock.HandshakeError) as caught:
            async with restsock.connect(server.url, name="edge-1"):
                pass
        assert frames_of(caught.value) <= 1


def test_of_a_refused_blocking_dial() -> None:
    with restsock.sync.listen("127.0.0.1", 0, auth=TOKENS) as server:
        with pytest.raises(restsock.HandshakeError) as caught:
            restsock.sync.connect(server.url, name="edge-1")
    assert frames_of(caught.value) <= 1


TARGETS = {
    "slow": 'the target must begin with "/"',
    "": 'the target must begin with "/"',
    "*": 'the target must begin with "/"',
    "http://user:secret@edge-1/slow?key=secret": "this is a URL",
    "slow?key=secret": 'the target must begin with "/"',
    "/gr\u00fc\u00dfe?key=secret": "percent-encode",
}


@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_that_cannot_be_sent(target: str) -> None:
    """Said at once, by each end and each kind of call, although the peer is not there."""
    async with restsock.listen("127.0.0.1", 0) as server:
        async with restsock.connect(server.url, name="edge-1") as client:
            connection = client.connection
            assert connection is not None
            for where in (connection, client, server.route("off")):
                with pytest.raises(restsock.LocalProtocolError) as caught:
                    await where.request("GET", target)
                assert TARGETS[target] in str(caught.value)
                assert "secret" not in str(caught.value)
                with pytest.raises(restsock.LocalProtocolError, match="target"):
                    async with where.stream("GET", target):
                        pass


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_cannot_be_sent_by_a_thread(target: str) -> None:
    with restsock.sync.listen("127.0.0.1", 0) as server:
        with restsock.sync.connect(server.url, name="edge-1") as client:
            for where in (client.connection, client, server.route("off")):
                assert where is not None
                for call in (where.request, where.stream):
                    with pytest.raises(restsock.LocalProtocolError) as caught:
                        call("GET", target)
                    assert TARGETS[target] in str(caught.value)
                    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("G\u00cbT", {}),
        ("", {}),
        ("GET", {"X-A": "\u2603 secret"}),
        ("GET", {"Host": "a b"}),
        ("GET", {"Content-Length": "five"}),
        ("GET", {"X A": "secret"}),
    ],
)
async def test_a_head_that_cannot_be_sent(method: str, headers: dict[str, str]) -> None:
    async with restsock.listen("127.0.0.1", 0) as server:
        async with restsock.connect(server.url, name="edge-1") as client:
            with pytest.raises(restsock.LocalProtocolError) as caught:
                await client.request(method, "/", headers=headers)
            assert "secret" not in str(caught.value)
            assert caught.value.may_have_run is False
