"""The calling end, through a real tunnel: nothing wrong leaves, and nothing wrong comes back."""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock.openapi import Contract, load
from tests.openapi.documents import document, operation, write

EDGE = "http://edge-1"
PATIENCE = 20
TOTAL = {"X-Total": "1"}


class Api:
    """A Flask app that answers as it is told, and notes what reached it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[], Any] = lambda: flask.Response(
            "[]", mimetype="application/json", headers={"X-Total": "0"}
        )
        self.app = flask.Flask("api")
        self.app.add_url_rule("/<path:path>", view_func=self.view, methods=["GET", "POST", "PUT"])

    def view(self, path: str) -> Any:
        self.asked.append(path)
        if path == "openapi.json":
            return document()
        return self.answer()


@pytest.fixture(params=[requests.Session, restsock.Session], ids=["requests", "restsock"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with request.param() as made:
        yield made


@pytest.fixture(scope="module")
def tunnel() -> Iterator[tuple[restsock.sync.Server, Api]]:
    api = Api()
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=api.app, name="edge-1"),
    ):
        yield server, api


@pytest.fixture
def api(tunnel: tuple[restsock.sync.Server, Api]) -> Api:
    fresh = Api()
    tunnel[1].asked = []
    tunnel[1].answer = fresh.answer
    return tunnel[1]


@pytest.fixture
def server(tunnel: tuple[restsock.sync.Server, Api]) -> restsock.sync.Server:
    return tunnel[0]


@pytest.fixture
def bound(session: requests.Session, server: restsock.sync.Server, api: Api) -> requests.Session:
    session.mount(EDGE, server.adapter("edge-1", openapi=document()))
    return session


def json_answer(body: Any, status: int = 200, **headers: str) -> Callable[[], Any]:
    fields = {"X-Total": "1", **headers}
    return lambda: flask.Response(json.dumps(body), status, fields, mimetype="application/json")


# --- requests -------------------------------------------------------------------------------------


def test_what_is_right_goes_and_comes(bound: requests.Session, api: Api) -> None:
    api.answer = json_answer([{"name": "Rex"}])
    params: Any = {"limit": 5, "tag": ["a", "b"]}
    response = bound.get(f"{EDGE}/pets", params=params, timeout=PATIENCE)
    assert response.json() == [{"name": "Rex"}]
    api.answer = json_answer({"name": "Rex"}, 201)
    assert bound.post(f"{EDGE}/pets", json={"name": "Rex"}, timeout=PATIENCE).status_code == 201
    assert api.asked == ["pets", "pets"]


WRONG: list[tuple[str, str, dict[str, Any], tuple[str, str]]] = [
    ("GET", "/nope", {}, ("path", "#")),
    ("PUT", "/pets", {}, ("method", "#")),
    ("GET", "/pets?limit=0", {}, ("query", "#")),
    ("GET", "/pets/rex", {}, ("path", "#")),
    ("GET", "/pets", {"headers": {"X-Key": "a"}}, ("header", "#")),
    ("POST", "/pets", {"json": {"name": 5}}, ("body", "#/name")),
    ("POST", "/pets", {"json": {}}, ("body", "#/name")),
    ("POST", "/pets", {}, ("body", "#")),
    ("POST", "/pets", {"data": {"name": "Rex"}}, ("header", "#")),
    ("POST", "/pets", {"data": iter([b"{}"])}, ("header", "#")),
    ("PUT", "/pets/1", {"data": {"name": "Rex", "age": "old"}}, ("body", "#/age")),
]


@pytest.mark.parametrize(("method", "path", "options", "place"), WRONG)
def test_what_is_wrong_does_not_leave(
    bound: requests.Session,
    api: Api,
    method: str,
    path: str,
    options: dict[str, Any],
    place: tuple[str, str],
) -> None:
    with pytest.raises(restsock.RequestValidationError) as caught:
        bound.request(method, EDGE + path, timeout=PATIENCE, **copy.copy(options))
    error = caught.value
    assert isinstance(error, requests.RequestException)
    assert isinstance(error, restsock.ValidationError)
    assert error.request is not None
    assert error.request.method == method
    assert error.may_have_run is False
    (found,) = error.errors
    assert (found["in"], found["pointer"]) == place
    assert str(error).startswith(f"{method} {path.partition('?')[0]} breaks the contract: ")
    assert api.asked == []


def test_bodies_in_pieces_go_unread(bound: requests.Session, api: Api) -> None:
    api.answer = json_answer({"name": "Rex"}, 201)
    headers = {"Content-Type": "application/json"}
    for body in (iter([b'{"name": 5}']), io.BytesIO(b'{"name": 5}')):
        answer = bound.post(f"{EDGE}/pets", data=body, headers=headers, timeout=PATIENCE)
        assert answer.status_code == 201
    with pytest.raises(restsock.RequestValidationError):
        bound.post(f"{EDGE}/pets?x=1", data=iter([b"{}"]), timeout=PATIENCE)


def test_a_wrong_body_is_not_drained(bound: requests.Session) -> None:
    body = iter([b"a", b"b"])
    with pytest.raises(restsock.RequestValidationError):
        bound.put(f"{EDGE}/pets/rex", data=body, timeout=PATIENCE)
    assert list(body) == [b"a", b"b"]


# --- responses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        (json_answer([{"name": 5}]), ("body", "#/0/name")),
        (json_answer([], 200, **{"X-Total": "many"}), ("header", "#")),
        (json_answer([], 202), ("status", "#")),
        (lambda: flask.Response("<p>", mimetype="text/html"), ("header", "#")),
        (
            lambda: flask.Response("[", 200, {"X-Total": "1"}, mimetype="application/json"),
            ("body", "#"),
        ),
    ],
)
def test_a_wrong_response_is_an_error_with_the_response(
    bound: requests.Session, api: Api, answer: Callable[[], Any], place: tuple[str, str]
) -> None:
    api.answer = answer
    with pytest.raises(restsock.ResponseValidationError) as caught:
        bound.get(f"{EDGE}/pets", timeout=PATIENCE)
    error = caught.value
    assert isinstance(error, requests.RequestException)
    assert isinstance(error.response, requests.Response)
    assert error.response.content == answer().get_data()
    assert error.request is error.response.request
    assert error.may_have_run is True
    assert (error.errors[0]["in"], error.errors[0]["pointer"]) == place
    assert str(error).startswith("the response to listPets breaks the contract: ")


def test_coded_bodies_are_decoded_first(bound: requests.Session, api: Api) -> None:
    def coded(body: Any) -> Callable[[], Any]:
        headers = {"X-Total": "1", "Content-Encoding": "gzip"}
        data = gzip.compress(json.dumps(body).encode())
        return lambda: flask.Response(data, 200, headers, mimetype="application/json")

    api.answer = coded([{"name": "Rex"}])
    assert bound.get(f"{EDGE}/pets", timeout=PATIENCE).json() == [{"name": "Rex"}]
    api.answer = coded([{"name": 5}])
    with pytest.raises(restsock.ResponseValidationError):
        bound.get(f"{EDGE}/pets", timeout=PATIENCE)


def test_streams_go_unread_their_heads_do_not(bound: requests.Session, api: Api) -> None:
    api.answer = json_answer([{"name": 5}])
    with bound.get(f"{EDGE}/pets", stream=True, timeout=PATIENCE) as response:
        assert response.raw.read() == b'[{"name": 5}]'
    api.answer = json_answer([], 200, **{"X-Total": "many"})
    with pytest.raises(restsock.ResponseValidationError):
        bound.get(f"{EDGE}/pets", stream=True, timeout=PATIENCE)


def test_errors_of_the_peer_are_no_breach(bound: requests.Session, api: Api) -> None:
    api.answer = lambda: flask.Response("busy", 503)
    assert bound.get(f"{EDGE}/pets", timeout=PATIENCE).text == "busy"


def test_bodiless_responses(bound: requests.Session, api: Api) -> None:
    assert bound.head(f"{EDGE}/pets", timeout=PATIENCE).status_code == 200
    api.answer = lambda: flask.Response(status=204)
    answer = bound.put(f"{EDGE}/pets/1", data={"name": "Rex"}, timeout=PATIENCE)
    assert answer.status_code == 204


# --- options --------------------------------------------------------------------------------------


def test_each_way_can_be_switched_off(
    session: requests.Session, server: restsock.sync.Server, api: Api
) -> None:
    api.answer = json_answer([{"name": 5}])
    only: dict[str, dict[str, Any]] = {
        "requests": {"responses": False},
        "responses": {"requests": False},
    }
    session.mount(EDGE, server.adapter("edge-1", openapi=Contract(document(), **only["requests"])))
    assert session.get(f"{EDGE}/pets", timeout=PATIENCE).json() == [{"name": 5}]
    with pytest.raises(restsock.RequestValidationError):
        session.get(f"{EDGE}/nope", timeout=PATIENCE)
    session.mount(EDGE, server.adapter("edge-1", openapi=Contract(document(), **only["responses"])))
    assert session.get(f"{EDGE}/nope", timeout=PATIENCE).status_code == 200
    with pytest.raises(restsock.ResponseValidationError):
        session.get(f"{EDGE}/pets?limit=0", timeout=PATIENCE)


def test_a_share_of_the_responses(
    session: requests.Session, server: restsock.sync.Server, api: Api
) -> None:
    api.answer = json_answer([{"name": 5}])
    chances = iter([0.5, 0.1])
    contract = Contract(document(), responses=0.2, chance=lambda: next(chances))
    session.mount(EDGE, server.adapter("edge-1", openapi=contract))
    assert session.get(f"{EDGE}/pets", timeout=PATIENCE).status_code == 200
    with pytest.raises(restsock.ResponseValidationError):
        session.get(f"{EDGE}/pets", timeout=PATIENCE)


def test_unknown_paths_and_large_bodies(
    session: requests.Session, server: restsock.sync.Server, api: Api
) -> None:
    contract = Contract(document(), unknown_paths="pass", max_body=100)
    session.mount(EDGE, server.adapter("edge-1", openapi=contract))
    assert session.get(f"{EDGE}/nope", timeout=PATIENCE).status_code == 200
    api.answer = json_answer([{"name": 5}] * 50)
    assert len(session.get(f"{EDGE}/pets", timeout=PATIENCE).json()) == 50
    api.answer = json_answer({"name": "Rex"}, 201)
    answer = session.post(f"{EDGE}/pets", json={"x" * 100: 5}, timeout=PATIENCE)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"responses": 1.5}, "from 0 to 1"),
        ({"unknown_paths": "no"}, "'refuse' or 'pass'"),
        ({"max_body": -1}, "negative"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Contract(document(), **options)


def test_a_false_contract() -> None:
    with pytest.raises(ValueError, match="True, to look"):
        Contract(False)


def test_specs_of_all_kinds(server: restsock.sync.Server, tmp_path: Path) -> None:
    path = write(tmp_path, "spec.json", document())
    for spec in (path, document(), load(document()), Contract(document())):
        assert server.adapter("edge-1", openapi=spec) is not None
    with pytest.raises(restsock.SpecError, match="swagger2openapi"):
        server.adapter("edge-1", openapi={"swagger": "2.0"})


def test_adapters_of_clients_and_connections() -> None:
    api = flask.Flask("hub")
    with (
        restsock.sync.listen("127.0.0.1", 0, app=api) as server,
        restsock.sync.connect(server.url) as client,
        requests.Session() as session,
    ):
        connection = client.connection
        assert connection is not None
        for adapter in (client.adapter(openapi=document()), connection.adapter(openapi=document())):
            session.mount("http://hub/", adapter)
            with pytest.raises(restsock.RequestValidationError):
                session.get("http://hub/nope", timeout=PATIENCE)


async def test_adapters_of_the_async_api() -> None:
    api = flask.Flask("api")
    async with (
        restsock.listen("127.0.0.1", 0, app=api) as server,
        restsock.connect(server.url, app=api, name="edge-1") as client,
    ):
        for adapter in (
            client.adapter(openapi=document()),
            server.adapter("edge-1", openapi=document()),
            server.route("edge-1").adapter(openapi=document()),
        ):
            with requests.Session() as session:
                session.mount(EDGE, adapter)
                with pytest.raises(restsock.RequestValidationError):
                    await trio.to_thread.run_sync(session.get, f"{EDGE}/nope")


# --- the document of the peer ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", [True, "/openapi.json"])
def test_a_document_from_the_peer(
    session: requests.Session, server: restsock.sync.Server, api: Api, spec: Any
) -> None:
    session.mount(EDGE, server.adapter("edge-1", openapi=spec))
    assert api.asked == []  # the peer need not be there yet
    with pytest.raises(restsock.RequestValidationError):
        session.get(f"{EDGE}/pets?limit=0", timeout=PATIENCE)
    assert session.get(f"{EDGE}/pets", timeout=PATIENCE).json() == []
    assert session.get(f"{EDGE}/openapi.json", timeout=PATIENCE).json() == document()
    assert api.asked == ["openapi.json", "pets", "openapi.json"]


def test_calls_at_once_ask_for_it_once(server: restsock.sync.Server, api: Api) -> None:
    adapter = server.adapter("edge-1", openapi=True)
    statuses: list[int] = []

    def call() -> None:
        with requests.Session() as session:
            session.mount(EDGE, adapter)
            statuses.append(session.get(f"{EDGE}/pets", timeout=PATIENCE).status_code)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert api.asked.count("openapi.json") == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda: flask.Response(status=404), "answered 404"),
        (lambda: {"swagger": "2.0"}, "swagger2openapi"),
        (lambda: document({"/a": {"$ref": "/etc/passwd"}}), "that is not a file"),
        (lambda: flask.Response("<html>", mimetype="text/html"), "answered 200"),
    ],
)
def test_a_peer_without_a_contract(
    session: requests.Session,
    server: restsock.sync.Server,
    api: Api,
    answer: Callable[[], Any],
    words: str,
) -> None:
    session.mount(EDGE, server.adapter("edge-1", openapi="/contract"))
    good, api.answer = api.answer, answer
    with pytest.raises(restsock.SpecError, match=words) as caught:
        session.get(f"{EDGE}/pets", timeout=PATIENCE)
    assert isinstance(caught.value, requests.RequestException)
    assert caught.value.request is not None
    assert caught.value.may_have_run is False
    # It is asked for again, as the peer may be another version by now.
    later = iter([document({"/pets": {"get": operation()}})])
    api.answer = lambda: next(later, None) or good()
    assert session.get(f"{EDGE}/pets", timeout=PATIENCE).status_code == 200


def test_a_peer_that_says_nothing_anywhere(
    session: requests.Session, server: restsock.sync.Server
) -> None:
    with restsock.sync.connect(server.url, app=flask.Flask("bare"), name="bare"):
        session.mount("http://bare/", server.adapter("bare", openapi=True))
        with pytest.raises(restsock.SpecError, match="say where it is"):
            session.get("http://bare/pets", timeout=PATIENCE)


def test_a_peer_that_is_away() -> None:
    options = restsock.Options(timeouts=restsock.Timeouts(connect=0.05))
    with (
        restsock.sync.listen("127.0.0.1", 0, options=options) as server,
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1", openapi=True))
        with pytest.raises(requests.exceptions.ConnectTimeout):
            session.get(f"{EDGE}/pets")


def test_responses_can_be_pickled_and_errors_printed(bound: requests.Session, api: Api) -> None:
    api.answer = json_answer([{"name": 5}])
    with pytest.raises(restsock.ResponseValidationError) as caught:
        bound.get(f"{EDGE}/pets", timeout=PATIENCE)
    assert pickle.loads(pickle.dumps(caught.value.response)).json() == [{"name": 5}]
    assert "body at #/0/name" in repr(caught.value)
