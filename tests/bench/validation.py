"""What validation adds to a request, through the tunnel, at either end.

    python -m tests.bench.validation           prints the table
    python -m tests.bench.validation serve URL the other process: the app, under one name each way

One thread calls all ways in turn, so what is compared are neighbours in time; figures are medians
of single calls and of the differences within each turn.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import flask

from tests.bench.processes import hide_c_masking, python, running

_PET = {
    "type": "object",
    "required": ["name", "kind"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string", "minLength": 1},
        "kind": {"type": "string", "enum": ["dog", "cat", "parrot"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
        "born": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    },
}
_PETS = {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


SPEC: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pets", "version": "1"},
    "paths": {
        "/pets/{number}": {
            "get": {
                "operationId": "getPet",
                "parameters": [
                    {
                        "in": "path",
                        "name": "number",
                        "required": True,
                        "schema": {"type": "integer"},
                    },
                    {"in": "query", "name": "full", "schema": {"type": "boolean"}},
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1}},
                ],
                "responses": {
                    "200": {
                        "description": "the pet",
                        "headers": {"X-Total": {"schema": {"type": "integer"}}},
                        **_json({"$ref": "#/components/schemas/Pet"}),
                    }
                },
            }
        },
        "/pets": {
            "post": {
                "operationId": "createPets",
                "requestBody": {"required": True, **_json(_PETS)},
                "responses": {"200": {"description": "the same", **_json(_PETS)}},
            }
        },
    },
    "components": {"schemas": {"Pet": _PET}},
}

_ONE = {"id": 7, "name": "Rex", "kind": "dog", "tags": ["good", "old"], "born": "2019-02-03"}
_MANY = [{**_ONE, "id": number} for number in range(12)]  # about 1 KB

app = flask.Flask("pets")


@app.get("/pets/<number>")
def get_pet(number: str) -> flask.Response:
    response = flask.jsonify(_ONE)
    response.headers["X-Total"] = "1"
    return response


@app.post("/pets")
def create_pets() -> flask.Response:
    return flask.Response(flask.request.get_data(), mimetype="application/json")


# How the serving end validates, by the name under which it dials.
SERVED: dict[str, dict[str, Any]] = {
    "plain": {},
    "requests": {"requests": True},
    "responses": {"requests": False, "responses": True},
    "both": {"requests": True, "responses": True},
}

# What is compared: the name that is called, and what the caller validates.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "not validated": ("plain", {}),
    "serving end: requests": ("requests", {}),
    "serving end: responses": ("responses", {}),
    "serving end: both": ("both", {}),
    "calling end: requests": ("plain", {"requests": True, "responses": False}),
    "calling end: responses": ("plain", {"requests": False, "responses": True}),
    "calling end: both": ("plain", {"requests": True, "responses": True}),
    "both ends: both": ("both", {"requests": True, "responses": True}),
}
_BASE = "not validated"


def serve(url: str) -> None:
    """Dials once for each of `SERVED`, until stdin ends."""
    import restsock.sync
    from restsock.openapi import OpenAPIHandler

    with ExitStack() as stack:
        for name, options in SERVED.items():
            handler: Any = OpenAPIHandler(app, SPEC, workers=2, **options) if options else app
            more: dict[str, Any] = {} if options else {"workers": 2}
            stack.enter_context(restsock.sync.connect(url, app=handler, name=name, **more))
        sys.stdin.read()


@contextmanager
def _callers() -> Iterator[dict[str, Callable[..., Any]]]:
    """A session for each way, connected."""
    import restsock.sync
    from restsock.openapi import Contract

    with ExitStack() as stack:
        server = stack.enter_context(restsock.sync.listen("127.0.0.1", 0))
        stack.enter_context(running(python("validation", "serve", server.url)))
        callers: dict[str, Callable[..., Any]] = {}
        for way, (name, options) in WAYS.items():
            session = stack.enter_context(restsock.Session())
            contract = Contract(SPEC, **options) if options else None
            session.mount("http://pets/", server.adapter(name, openapi=contract))
            callers[way] = session.request
        yield callers


def _workloads() -> dict[str, tuple[str, str, Any]]:
    return {
        "GET, 3 parameters, 130 B back": ("GET", "http://pets/pets/7?full=true&limit=5", None),
        "POST 1 KB JSON, the same back": ("POST", "http://pets/pets", _MANY),
    }


def measure(seconds: float) -> list[dict[str, Any]]:
    """Microseconds of a call, by workload and way; `seconds` for each workload."""
    rows = []
    with _callers() as callers:
        for workload, (method, url, body) in _workloads().items():
            took: dict[str, list[float]] = {way: [] for way in callers}

            def once(
                call: Callable[..., Any], method: str = method, url: str = url, body: Any = body
            ) -> float:
                begin = time.perf_counter()
                response = call(method, url, json=body, timeout=30)
                elapsed = time.perf_counter() - begin
                assert response.status_code == 200, response.text
                return elapsed * 1e6

            for call in callers.values():
                for _ in range(20):
                    once(call)  # everybody is warm
            end = time.perf_counter() + seconds
            turn = 0
            while time.perf_counter() < end or turn < 2:
                ways = list(callers)
                for way in ways if turn % 2 else reversed(ways):
                    took[way].append(once(callers[way]))
                turn += 1
            for way, times in took.items():
                added = [mine - base for mine, base in zip(times, took[_BASE], strict=True)]
                rows.append(
                    {
                        "workload": workload,
                        "way": way,
                        "us": statistics.median(times),
                        "added_us": None if way == _BASE else statistics.median(added),
                        "calls": len(times),
                    }
                )
    return rows


def main() -> None:
    hide_c_masking()
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
        return
    from tests.bench.tables import validation_table

    print(validation_table(measure(float(sys.argv[1]) if sys.argv[1:] else 5.0)).text())


if __name__ == "__main__":
    main()
