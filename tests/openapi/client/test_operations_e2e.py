"""Operations over the real tunnel, blocking and async: the same calls, the same results."""

from __future__ import annotations

import asyncio
import functools
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import fastapi
import pydantic
import pytest
import requests
import trio
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

import restsock
import restsock.sync
from restsock import RequestValidationError, ResponseValidationError
from restsock.openapi import (
    APIClient,
    AsyncOperation,
    BadBody,
    BlockingOperation,
    Contract,
    Document,
    MissingParameter,
    OpenAPIHandler,
    OperationFailed,
    UnknownOperation,
    discover,
    load,
)

EDGE = "http://edge-1/"
BIG = bytes(range(256)) * 4096  # 1 MiB


class Pet(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    age: int = 3


left = threading.Event()  # the reader of the feed has left it
kept: list[Any] = []  # responses, so that it is not their garbage collection that ends them


def make_app() -> fastapi.FastAPI:
    app = fastapi.FastAPI(title="Pets", root_path="")

    @app.get("/pets/{name}", operation_id="getPet")
    def get_pet(
        name: str,
        limit: Annotated[int, fastapi.Query(ge=1)] = 7,
        tags: Annotated[list[str], fastapi.Query()] = [],  # noqa: B006  # FastAPI copies it
        x_trace: Annotated[str | None, fastapi.Header()] = None,
        token: Annotated[str | None, fastapi.Cookie()] = None,
        other: Annotated[str | None, fastapi.Cookie()] = None,
    ) -> dict[str, Any]:
        return {
            "name": name,
            "limit": limit,
            "tags": tags,
            "trace": x_trace,
            "token": token,
            "other": other,
        }

    @app.post("/pets", operation_id="addPet", status_code=201)
    def add_pet(pet: Pet) -> Pet:
        return pet

    @app.post("/login", operation_id="login")
    def login(user: Annotated[str, fastapi.Form()], response: fastapi.Response) -> str:
        response.set_cookie("other", user)
        return user

    @app.post("/photo", operation_id="addPhoto")
    def add_photo(
        photo: fastapi.UploadFile, note: Annotated[str, fastapi.Form()]
    ) -> dict[str, Any]:
        return {"same": photo.file.read() == BIG, "name": photo.filename, "note": note}

    @app.put(
        "/raw",
        operation_id="putRaw",
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}}},
    )
    async def put_raw(request: fastapi.Request) -> dict[str, Any]:
        return {"same": await request.body() == BIG, "type": request.headers["content-type"]}

    @app.get(
        "/feed",
        operation_id="feed",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def feed() -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            try:
                yield "0\n1\n"
                await asyncio.Event().wait()
            finally:
                left.set()

        return StreamingResponse(lines(), media_type="text/plain")

    @app.get("/broken", operation_id="broken")
    def broken(status: int) -> Any:
        if status == 410:
            problem = {"title": "Gone", "detail": "sold\nyesterday", "status": 410, "buyer": "Ada"}
            return JSONResponse(problem, 410, media_type="application/problem+json")
        raise fastapi.HTTPException(status, "no luck")

    @app.get("/moved", operation_id="moved", response_model=list[int])
    def moved() -> Any:
        return RedirectResponse("/pets/Rex", 302)

    @app.get(
        "/cookies",
        operation_id="cookies",
        openapi_extra={
            "parameters": [
                {
                    "name": "ids",
                    "in": "cookie",
                    "schema": {"type": "array", "items": {"type": "integer"}},
                }
            ]
        },
    )
    def cookies(request: fastapi.Request) -> str:
        return request.headers["cookie"]

    @app.get("/wrong", operation_id="wrong", response_model=Pet)
    def wrong() -> Any:
        return JSONResponse({"name": "", "age": "old"})

    return app


@functools.cache
def spec() -> Document:
    return load(make_app().openapi())


Call = Callable[..., Any]


class Api:
    """Calls an operation by the way under test: `api("getPet", name="Rex")`."""

    def __init__(self, call: Call, client: APIClient[Any], raw: Any) -> None:
        self.call = call
        self.client = client
        self.raw = raw

    def __call__(self, name: str, /, *, using: Any = None, **arguments: Any) -> Any:
        operation = self.client.operation(name)
        return self.call(operation.using(**using) if using else operation, **arguments)

    def json(self, name: str, /, **arguments: Any) -> Any:
        return self(name, **arguments).json()

    def head(self, name: str, /, **arguments: Any) -> bytes:
        """The first bytes of an answer that has no end."""
        got: bytes = self.call(self.client.operation(name), _head=True, **arguments)
        return got


@pytest.fixture(params=["blocking", "restsock.Session", "async"])
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=make_app(), name="edge-1"),
    ):
        if request.param == "async":
            yield from over_a_route(server)
        else:
            kind = requests.Session if request.param == "blocking" else restsock.Session
            with kind() as session:
                session.mount(EDGE, server.adapter("edge-1"))
                yield Api(blocking, APIClient(session, spec(), base_url=EDGE, timeout=20), session)


def blocking(operation: BlockingOperation, _head: bool = False, **arguments: Any) -> Any:
    if not _head:
        return operation(**arguments)
    with operation.stream(**arguments) as response:
        kept.append(response)
        return next(response.iter_content(4))


def over_a_route(server: restsock.sync.Server) -> Iterator[Api]:
    """A second hub on a trio loop of its own in another thread, since the first is for threads."""
    ready: list[Any] = []
    started, stop = threading.Event(), trio.Event()

    async def run() -> None:
        async with (
            restsock.listen("127.0.0.1", 0) as hub,
            restsock.connect(hub.url, app=make_app(), name="edge-1"),
        ):
            client = APIClient(hub.route("edge-1"), spec(), timeout=20)
            ready.extend([trio.lowlevel.current_trio_token(), client])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert started.wait(20)
    token, client = ready

    async def asynchronous(operation: AsyncOperation, _head: bool = False, **arguments: Any) -> Any:
        if not _head:
            return await operation(**arguments)
        async with operation.stream(**arguments) as response:
            return (await response.receive())[:4]

    def call(operation: AsyncOperation, **arguments: Any) -> Any:
        def bound() -> Any:
            return asynchronous(operation, **arguments)

        return trio.from_thread.run(bound, trio_token=token)

    try:
        yield Api(call, client, None)
    finally:
        token.run_sync_soon(stop.set)
        thread.join(20)


def status_of(response: Any) -> int:
    found: int = getattr(response, "status_code", None) or response.status
    return found


def test_arguments_arrive(api: Api) -> None:
    arguments = {"name": "Käfer ?&%", "limit": 3, "tags": ["a b", "ü,&"]}
    assert api.json("getPet", **arguments, x_trace="t 1", token="ab/c==") == {
        **arguments,
        "trace": "t 1",
        "token": "ab/c==",
        "other": None,
    }
    assert api.json("getPet", name="Rex")["limit"] == 7


def test_cookies_of_one_name_arrive(api: Api) -> None:
    assert api.json("cookies", ids=[1, 2]) == "ids=1; ids=2"


def test_bodies_arrive(api: Api) -> None:
    response = api("addPet", body={"name": "Rëx"})
    assert (status_of(response), response.json()) == (201, {"name": "Rëx", "age": 3})
    assert api.json("addPet", body=Pet(name="Tom", age=9)) == {"name": "Tom", "age": 9}
    assert api.json("login", body={"user": "ada & bob"}) == "ada & bob"
    expected = {"same": True, "name": "a.bin", "note": "ü"}
    assert api.json("addPhoto", body={"photo": ("a.bin", BIG), "note": "ü"}) == expected
    file = ("a.bin", io.BytesIO(BIG))
    assert api.json("addPhoto", body={"photo": file, "note": "ü"}) == expected
    raw = {"same": True, "type": "application/octet-stream"}
    assert api.json("putRaw", body=BIG) == raw
    assert api.json("putRaw", body=io.BytesIO(BIG)) == raw
    assert api.json("putRaw", body=(BIG[at : at + 9999] for at in range(0, len(BIG), 9999))) == raw


def test_a_wrong_call_is_not_sent(api: Api) -> None:
    with pytest.raises(MissingParameter):
        api("getPet")
    with pytest.raises(RequestValidationError, match=r"limit.*at least 1") as caught:
        api("getPet", name="Rex", limit=0)
    assert caught.value.may_have_run is False
    assert caught.value.errors[0]["name"] == "limit"
    with pytest.raises(RequestValidationError, match="#/age"):
        api("addPet", body={"name": "Rex", "age": "old"})
    with pytest.raises(BadBody):
        api("addPet")
    with pytest.raises(UnknownOperation):
        api("nothing")


def test_a_wrong_answer_is_found(api: Api) -> None:
    with pytest.raises(ResponseValidationError, match="wrong breaks the contract") as caught:
        api("wrong")
    assert caught.value.response.json() == {"name": "", "age": "old"}
    assert {error["pointer"] for error in caught.value.errors} == {"#/name", "#/age"}


def test_an_error_status_is_an_error(api: Api) -> None:
    with pytest.raises(OperationFailed, match="broken: 404 Not Found") as caught:
        api("broken", status=404)
    assert caught.value.problem is None
    assert caught.value.response.json() == {"detail": "no luck"}
    assert (caught.value.status, caught.value.operation) == (404, "broken")
    with pytest.raises(OperationFailed, match="broken: 410 Gone: sold yesterday") as caught:
        api("broken", status=410)
    assert caught.value.problem is not None
    assert caught.value.problem["buyer"] == "Ada"
    with pytest.raises(OperationFailed, match="503"):
        api.head("broken", status=503)


def test_an_endless_answer_is_streamed(api: Api) -> None:
    left.clear()
    assert api.head("feed") == b"0\n1\n"
    assert left.wait(20)
    kept.clear()
    assert api.json("getPet", name="Rex")["name"] == "Rex"


def test_options_of_a_call(api: Api) -> None:
    using = {"headers": {"X-Trace": "mine"}}
    assert api.json("getPet", using=using, name="Rex")["trace"] == "mine"
    # What `requests` raises when it waits for more of a body.
    with pytest.raises((requests.ConnectionError, restsock.RequestTimeout), match=r"0\.05"):
        api("feed", using={"timeout": 0.05})


def test_what_only_a_session_does() -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=make_app(), name="edge-1"),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1"))
        # The document comes from the peer.
        api = APIClient(session, "/openapi.json", base_url=EDGE, timeout=20)
        assert APIClient(session, True, base_url=EDGE).operations == api.operations
        api.login(body={"user": "ada"})
        found = api.getPet(name="Rex", token="t").json()
        assert (found["token"], found["other"]) == ("t", "ada")
        # What another operation has answered is not held to the contract of this one.
        assert api.moved().json()["name"] == "Rex"
        with pytest.raises(restsock.SpecError, match="404"):
            APIClient(session, "/nothing.json", base_url=EDGE)

        async def pieces() -> AsyncIterator[bytes]:
            yield b""

        with pytest.raises(BadBody, match="async iterable"):
            api.putRaw(body=pieces())


def test_a_contract_says_how_strict_it_is() -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=make_app(), name="edge-1"),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1"))
        contract = Contract(spec(), requests=False, responses=False)
        api = APIClient(session, contract, base_url=EDGE)
        with pytest.raises(OperationFailed, match="422"):
            api.getPet(name="Rex", limit=0)
        assert api.wrong().json()["age"] == "old"
        # An adapter with a contract of its own has the say, and does it once.
        session.mount(EDGE, server.adapter("edge-1", openapi=spec()))
        with pytest.raises(RequestValidationError):
            api.getPet(name="Rex", limit=0)
        session.mount(EDGE, server.adapter("edge-1", openapi=contract))
        strict = APIClient(session, spec(), base_url=EDGE)
        with pytest.raises(OperationFailed, match="422"):
            strict.getPet(name="Rex", limit=0)


async def test_what_only_the_loop_does() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=make_app(), name="edge-1"),
    ):
        route = server.route("edge-1")
        with pytest.raises(ValueError, match="discover"):
            APIClient(route, "/openapi.json")
        api = APIClient(route, await discover(route))
        assert repr(api).endswith("async>")

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(BIG), 9999):
                yield BIG[at : at + 9999]

        assert (await api.putRaw(body=pieces())).json()["same"]
        results = []

        async def get(number: int) -> None:
            results.append((await api.getPet(name=str(number))).json()["name"])

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(get, number)
        assert sorted(results, key=int) == [str(number) for number in range(20)]
        # A base path in place of the document's.
        moved = APIClient(route, api.document, base_url="http://anything/v2/")
        with pytest.raises(OperationFailed, match="404"):
            await moved.getPet(name="Rex")


async def test_a_validated_app_called_by_operation() -> None:
    """Both ends hold to the contract, so the caller sees a problem with pointers."""
    app = make_app()
    handler = OpenAPIHandler(app, spec(), responses=True)
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=handler, name="edge-1"),
    ):
        contract = Contract(spec(), requests=False, responses=False)
        api = APIClient(server.route("edge-1"), contract)
        with pytest.raises(OperationFailed, match="400 Bad Request: ") as caught:
            await api.addPet(body={"name": ""})
        assert caught.value.problem is not None
        assert caught.value.problem["errors"][0]["pointer"] == "#/name"
        with pytest.raises(OperationFailed, match="500"):
            await api.wrong()
