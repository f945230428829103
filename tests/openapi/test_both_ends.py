"""Frameworks behind their contract, called by a session that holds it too, in each version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import fastapi
import flask
import pydantic
import pytest
import requests

import restsock
import restsock.sync
from restsock.openapi import OpenAPIHandler
from tests.openapi.documents import VERSIONS, document

EDGE = "http://edge-1"
PATIENCE = 20


@contextmanager
def serving(handler: OpenAPIHandler, openapi: Any = None) -> Iterator[requests.Session]:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=handler, name="edge-1"),
        requests.Session() as session,
    ):
        session.mount(EDGE, server.adapter("edge-1", openapi=openapi))
        yield session


class Pet(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1)]
    age: int | None = None


Tags = Annotated[list[str] | None, fastapi.Query()]


def fastapi_pets() -> fastapi.FastAPI:
    app = fastapi.FastAPI(title="Pets")

    @app.get("/pets/{number}")
    def get(
        number: int, shout: bool = False, tag: Annotated[list[str] | None, fastapi.Query()] = None
    ) -> Pet:
        name = f"Pet {number} {tag}"
        return Pet(name=name.upper() if shout else name)

    @app.post("/pets", status_code=201)
    def post(pet: Pet) -> Pet:
        return pet

    @app.put("/pets")
    def put(name: Annotated[str, fastapi.Form()], file: fastapi.UploadFile) -> int:
        return len(file.file.read())

    @app.get("/wrong", response_model=Pet)
    def wrong() -> fastapi.Response:
        return fastapi.responses.JSONResponse({"nme": "Rex"})

    return app


def flask_pets() -> flask.Flask:
    app = flask.Flask("pets")

    @app.get("/pets")
    def listing() -> Any:
        limit = int(flask.request.args.get("limit", 2))
        return flask.jsonify([{"name": "Rex"}] * limit), 200, {"X-Total": "2"}

    @app.post("/pets")
    def create() -> Any:
        return flask.request.get_json(), 201

    @app.get("/pets/<number>")
    def get(number: str) -> Any:
        if number == "404":
            flask.abort(404)
        return {"nme" if number == "13" else "name": "Rex"}

    return app


@pytest.mark.parametrize("version", VERSIONS)
def test_flask(version: str) -> None:
    spec = document(version=version)
    with serving(OpenAPIHandler(flask_pets(), spec, responses=True)) as session:

        def get(path: str) -> requests.Response:
            return session.get(EDGE + path, timeout=PATIENCE)

        assert len(get("/pets?limit=3").json()) == 3
        assert get("/pets?limit=99").status_code == 400
        assert get("/pets/1").json() == {"name": "Rex"}
        assert get("/pets/404").status_code == 404
        assert get("/pets/13").status_code == 500
        created = session.post(f"{EDGE}/pets", json={"name": "Rex"}, timeout=PATIENCE)
        assert created.json() == {"name": "Rex"}
        wrong = session.post(f"{EDGE}/pets", json={"nme": "Rex"}, timeout=PATIENCE)
        assert [error["pointer"] for error in wrong.json()["errors"]] == ["#/name", "#/nme"]


def test_fastapi() -> None:
    handler = OpenAPIHandler(fastapi_pets(), responses=True)
    with serving(handler) as session:
        answer = session.get(
            f"{EDGE}/pets/5", params={"shout": "true", "tag": ["a", "b"]}, timeout=PATIENCE
        )
        assert answer.json() == {"name": "PET 5 ['A', 'B']", "age": None}
        wrong = session.get(f"{EDGE}/pets/five", params={"shout": "perhaps"}, timeout=PATIENCE)
        assert wrong.headers["Content-Type"] == "application/problem+json"
        assert [error["in"] for error in wrong.json()["errors"]] == ["path", "query"]
        pet = session.post(f"{EDGE}/pets", json={"name": "Rex", "age": "x"}, timeout=PATIENCE)
        assert [error["pointer"] for error in pet.json()["errors"]] == ["#/age"]
        # An upload is larger than what is looked into, and need not be.
        data = b"x" * 3_000_000
        upload = session.put(
            f"{EDGE}/pets", data={"name": "a"}, files={"file": data}, timeout=PATIENCE
        )
        assert upload.json() == len(data)
        assert session.get(f"{EDGE}/wrong", timeout=PATIENCE).status_code == 500


def test_both_ends_hold_the_same_contract() -> None:
    with serving(OpenAPIHandler(fastapi_pets(), responses=True), openapi=True) as session:
        assert session.get(f"{EDGE}/pets/5", timeout=PATIENCE).json()["name"] == "Pet 5 None"
        with pytest.raises(restsock.RequestValidationError):
            session.get(f"{EDGE}/pets/five", timeout=PATIENCE)
        # The refusal of the serving end is an answer like others for the calling one.
        assert session.get(f"{EDGE}/wrong", timeout=PATIENCE).status_code == 500
    with serving(OpenAPIHandler(fastapi_pets()), openapi=True) as session:
        with pytest.raises(restsock.ResponseValidationError):
            session.get(f"{EDGE}/wrong", timeout=PATIENCE)
