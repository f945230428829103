"""The pet store: a FastAPI app over SQLite. It opens no port; it dials the hub and serves it there.

Run by the demo, as ``python -m examples.petstore.store ws://HOST:PORT/ DATABASE``.
"""

import contextlib
import json
import logging
import sqlite3
import sys
import time
from collections.abc import Iterator

import fastapi
import pydantic
import requests
from fastapi.responses import JSONResponse, StreamingResponse

import restsock
import restsock.sync
from restsock.openapi import OpenAPIHandler

SCHEMA = """
CREATE TABLE IF NOT EXISTS pets (id INTEGER PRIMARY KEY, name TEXT, kind TEXT, home TEXT);
INSERT INTO pets (name, kind) VALUES ('Rex', 'dog'), ('Tom', 'cat'), ('Kiki', 'parrot');
"""


class NewPet(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    kind: str


class Pet(NewPet):
    id: int
    home: str | None = None


class Weight(pydantic.BaseModel):
    kilos: float


class Lines(StreamingResponse):
    media_type = "application/x-ndjson"


def make_app(database: str, hub: requests.Session) -> fastapi.FastAPI:
    """The app. Its endpoints are plain functions, so they run in threads, and may block there."""
    app = fastapi.FastAPI(title="Pet store", version="1.0")

    @contextlib.contextmanager
    def rows(query: str, *values: object) -> Iterator[sqlite3.Cursor]:
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.row_factory = sqlite3.Row
            yield connection.execute(query, values)

    def find(number: int) -> Pet:
        with rows("SELECT * FROM pets WHERE id = ?", number) as found:
            row = found.fetchone()
        if row is None:
            raise fastapi.HTTPException(404, f"there is no pet {number}")
        return Pet(**row)

    @app.get("/pets", operation_id="listPets")
    def list_pets() -> list[Pet]:
        with rows("SELECT * FROM pets ORDER BY id") as found:
            return [Pet(**row) for row in found]

    @app.post("/pets", operation_id="createPet", status_code=201)
    def create_pet(pet: NewPet) -> Pet:
        query = "INSERT INTO pets (name, kind) VALUES (?, ?) RETURNING *"
        with rows(query, pet.name, pet.kind) as found:
            return Pet(**found.fetchone())

    @app.get("/pets/feed", operation_id="followPets", response_class=Lines)
    def feed(every: float = 0.1) -> Lines:
        """One pet a line, without end: only the reader ends the stream."""

        def lines() -> Iterator[str]:
            while True:
                for pet in list_pets():
                    yield json.dumps({"name": pet.name, "home": pet.home}) + "\n"
                    time.sleep(every)

        return Lines(lines())

    @app.get("/pets/{number}", operation_id="getPet")
    def get_pet(number: int) -> Pet:
        return find(number)

    @app.get("/pets/{number}/weight", operation_id="weighPet", response_model=Weight)
    def weigh(number: int) -> JSONResponse:
        """Breaks the contract on purpose: the handler around the app notices."""
        return JSONResponse({"kilos": f"{find(number).name} did not keep still"})

    @app.post("/pets/{number}/adopt", operation_id="adoptPet")
    def adopt(number: int) -> Pet:
        """The hub knows who adopts, so the store asks it, over this same WebSocket."""
        pet = find(number)
        answer = hub.post("http://hub/adoptions", json={"pet": pet.name}, timeout=(3, 10))
        answer.raise_for_status()
        with rows("UPDATE pets SET home = ? WHERE id = ?", answer.json()["home"], number):
            pass
        return find(number)

    return app


def main() -> None:
    url, database = sys.argv[1:]
    logging.basicConfig(format="           the store's log: %(message)s")
    logging.getLogger("restsock").setLevel(logging.ERROR)  # the hub reports the cut
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(SCHEMA)

    hub = requests.Session()
    client = restsock.sync.connect(
        url,
        app=OpenAPIHandler(make_app(database, hub), responses=True),
        name="petstore",
        metadata={"city": "Ghent"},
        backoff=restsock.Backoff(initial=0.3),
    )
    # SIGTERM and Ctrl-C: what is in flight is finished before the end.
    with client, restsock.sync.drain_on_signal(client):
        hub.mount("http://hub/", client.adapter())
        client.wait_closed()


if __name__ == "__main__":
    main()
