"""A property-based API tester finds the same through the tunnel as it does directly.

It is Schemathesis: it makes requests from a document, valid ones and others, and looks for 500s,
for answers that break their schema, for statuses that no document knows, and more. Both apps have
such faults on purpose. Directly, they are behind an HTTP server of their own.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any, NamedTuple

import fastapi
import flask
import hypothesis
import pytest
import requests
import schemathesis
import uvicorn
import waitress
from fastapi.responses import JSONResponse
from schemathesis.core.failures import FailureGroup

import restsock.sync

EXAMPLES = 8  # for each operation
EDGE = "http://edge-1"

# What was planted: what the tester has to find at which operation.
PLANTED = {
    ("GET /pets/{number}", "ServerError"),
    ("GET /owners/{name}", "JsonSchemaError"),
    ("DELETE /owners/{name}", "UndefinedStatusCode"),
    ("POST /pets", "UndefinedContentType"),
}

PET = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


def make_fastapi() -> fastapi.FastAPI:
    app = fastapi.FastAPI(title="Planted")

    @app.get("/pets/{number}")
    def get_pet(number: Annotated[int, fastapi.Path(ge=0, le=1000)]) -> dict[str, int]:
        return {"number": 7 // (number // 500)}

    @app.post("/pets")
    def add_pet(pet: Annotated[dict[str, Any], fastapi.Body(json_schema_extra=PET)]) -> Any:
        return fastapi.Response("thank you", media_type="text/plain")

    @app.get("/owners/{name}", responses={200: {"content": {"application/json": {"schema": PET}}}})
    def get_owner(name: str, full: bool = False) -> Any:
        return JSONResponse({"name": 7 if full else name})

    @app.delete("/owners/{name}")
    def delete_owner(name: str) -> Any:
        return JSONResponse({}, 202)

    @app.get("/fine")
    def fine(limit: int = 3) -> list[int]:
        return [limit]

    return app


def make_flask() -> flask.Flask:
    app = flask.Flask("planted")

    @app.get("/pets/<int:number>")
    def get_pet(number: int) -> Any:
        return {"number": 7 // (number // 500)}

    @app.post("/pets")
    def add_pet() -> Any:
        if not isinstance(flask.request.get_json(), dict):
            return {"detail": "no pet"}, 422
        return flask.Response("thank you", mimetype="text/plain")

    @app.get("/owners/<name>")
    def get_owner(name: str) -> Any:
        return {"name": 7 if flask.request.args.get("full") == "true" else name}

    @app.delete("/owners/<name>")
    def delete_owner(name: str) -> Any:
        return {}, 202

    @app.get("/fine")
    def fine() -> Any:
        return [3]

    return app


def flask_document() -> dict[str, Any]:
    """The same contract as FastAPI's, as it would be written by hand."""
    text = {"type": "string", "minLength": 1, "pattern": "^[a-z]+$"}
    name = {"name": "name", "in": "path", "required": True, "schema": text}
    number = {"type": "integer", "minimum": 0, "maximum": 1000}
    full = {"name": "full", "in": "query", "schema": {"type": "boolean"}}
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    other = {code: {"description": "an error"} for code in ("400", "404", "405", "415", "422")}

    def answer(schema: Any) -> dict[str, Any]:
        content = {"application/json": {"schema": schema}}
        return {"200": {"description": "fine", "content": content}, **other}

    return {
        "openapi": "3.0.3",
        "info": {"title": "Planted", "version": "1"},
        "paths": {
            "/pets/{number}": {
                "get": {
                    "parameters": [
                        {"name": "number", "in": "path", "required": True, "schema": number}
                    ],
                    "responses": answer({"type": "object"}),
                }
            },
            "/pets": {
                "post": {
                    "requestBody": {
                        "required": True,
                        "content": {"application/json": {"schema": PET}},
                    },
                    "responses": answer({}),
                }
            },
            "/owners/{name}": {
                "get": {"parameters": [name, full], "responses": answer(PET)},
                "delete": {"parameters": [name], "responses": answer({})},
            },
            "/fine": {"get": {"parameters": [limit], "responses": answer({"type": "array"})}},
        },
    }


# --- the two ways ---------------------------------------------------------------------------------


class Way(NamedTuple):
    """How an app is reached."""

    session: requests.Session
    url: str


@contextmanager
def tunneled(app: Any) -> Iterator[Way]:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1"))
        yield Way(session, EDGE)


@contextmanager
def by_uvicorn(app: Any) -> Iterator[Way]:
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(20)
        port = server.servers[0].sockets[0].getsockname()[1]
        with requests.Session() as session:
            yield Way(session, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def by_waitress(app: Any) -> Iterator[Way]:
    channels: dict[int, Any] = {}
    server = waitress.create_server(app, host="127.0.0.1", port=0, map=channels, threads=2)
    thread = threading.Thread(target=server.run)

    def close() -> None:  # in its thread, which would still wait for what another one has closed
        server.close()
        for channel in list(channels.values()):
            channel.close()

    thread.start()
    try:
        with requests.Session() as session:
            yield Way(session, f"http://127.0.0.1:{server.effective_port}")
    finally:
        server.trigger.pull_trigger(close)
        thread.join(20)
        server.task_dispatcher.shutdown()


# --- the tester -----------------------------------------------------------------------------------


class Report(NamedTuple):
    """What a run has found, and what it has seen."""

    findings: set[tuple[str, str]]
    statuses: Counter[tuple[str, int]]


def examine(document: dict[str, Any], way: Way) -> Report:
    """Lets the tester loose on an app; the same requests each time."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=way.url)
    report = Report(set(), Counter())
    results: Any = schema.get_all_operations()
    for operation in [result.ok() for result in results]:
        for mode in schemathesis.GenerationMode:
            try:
                probe(operation, mode, way, report)
            except hypothesis.errors.Unsatisfiable:
                pass  # nothing is wrong by this operation's contract
    return report


def probe(operation: Any, mode: schemathesis.GenerationMode, way: Way, report: Report) -> None:
    """Makes requests of one operation: right ones or wrong ones, by its contract."""

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        response = case.call(session=way.session, base_url=way.url, timeout=10)
        report.statuses[operation.label, response.status_code] += 1
        try:
            case.validate_response(response)
        except FailureGroup as group:
            kinds = (type(failure).__name__ for failure in group.exceptions)
            report.findings.update((operation.label, kind) for kind in kinds)

    send()


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_the_same_is_found(framework: str) -> None:
    direct: Callable[[Any], AbstractContextManager[Way]]
    if framework == "fastapi":
        app: Any = make_fastapi()
        document, direct = app.openapi(), by_uvicorn
    else:
        app, document, direct = make_flask(), flask_document(), by_waitress
    with direct(app) as way:
        expected = examine(document, way)
    with tunneled(app) as way:
        found = examine(document, way)
    assert expected.findings >= PLANTED
    assert found.findings == expected.findings
    assert found.statuses == expected.statuses
