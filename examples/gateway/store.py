"""The pet store: a Flask app over SQLite. It opens no port; it dials the gateway, and serves it.

Run by the example, as ``python -m examples.gateway.store ws://HOST:PORT/ DATABASE``. Several of
them share a name, and the database.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
import time
from typing import Any

import flask

import restsock.sync
from restsock import Backoff
from restsock.auth import Bearer

NAME = "store"
TOKEN = "token-of-stores"
_ID = {"name": "petId", "in": "path", "required": True, "schema": {"type": "integer"}}
# What of it the gateway shows to its clients.
SPEC: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Pet store", "version": "1"},
    "paths": {
        "/pets": {"get": {"operationId": "listPets", "responses": {"200": {"description": "all"}}}},
        "/pets/{petId}/sale": {
            "post": {
                "operationId": "buyPet",
                "parameters": [_ID],
                "responses": {"200": {"description": "it"}, "409": {"description": "it is sold"}},
            }
        },
    },
}


def make_database(path: str, pets: int) -> None:
    """A database with so many pets to sell."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE pets (id INTEGER PRIMARY KEY, sold INTEGER DEFAULT 0)")
        connection.executemany("INSERT INTO pets (id) VALUES (?)", [(n + 1,) for n in range(pets)])


def sales(path: str) -> int:
    """How often a pet was sold; one that was sold twice counts twice."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("SELECT sum(sold) FROM pets").fetchone()[0]
        return found


def make_app(database: str) -> flask.Flask:
    """The app."""
    app = flask.Flask(__name__)

    @app.get("/pets")
    def list_pets() -> Any:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT id, sold FROM pets ORDER BY id LIMIT 5").fetchall()
        return [{"id": id, "name": f"pet {id}", "sold": bool(sold)} for id, sold in rows]

    @app.post("/pets/<int:number>/sale")
    def buy_pet(number: int) -> Any:
        time.sleep(0.02)  # to count the money
        with contextlib.closing(sqlite3.connect(database, timeout=10)) as connection, connection:
            query = "UPDATE pets SET sold = sold + 1 WHERE id = ?"
            if not connection.execute(query, [number]).rowcount:
                flask.abort(404)
        return {"id": number, "name": f"pet {number}"}

    return app


def main() -> None:
    url, database = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    client = restsock.sync.connect(
        url,
        name=NAME,
        auth=Bearer(TOKEN),
        app=make_app(database),
        backoff=Backoff(initial=0.05, cap=0.5),
    )
    with client, restsock.sync.drain_on_signal(client):
        client.wait_closed()


if __name__ == "__main__":
    main()
