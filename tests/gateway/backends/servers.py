"""Real servers of HTTP, with the same pets in each, in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flask

from tests.apps.forward.upstreams import process

__all__ = ["make_app", "uvicorn", "waitress"]

_FLASK = """
import waitress
from tests.gateway.backends.servers import make_app
server = waitress.create_server(
    make_app(), host="127.0.0.1", port=0, clear_untrusted_proxy_headers=False
)
print(server.effective_port, flush=True)
server.run()
"""

_FASTAPI = """
import socket, uvicorn
from fastapi import FastAPI, Request
app = FastAPI()

@app.get("/pets/{number}")
async def pet(number: int, request: Request):
    return {"id": number, "for": request.headers.get("x-forwarded-for")}

@app.post("/pets")
async def buy(request: Request):
    return {"bought": await request.json()}

sock = socket.socket()
sock.bind(("127.0.0.1", 0))
sock.listen()
print(sock.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[sock])
"""


@contextmanager
def waitress() -> Iterator[str]:
    with process(sys.executable, "-c", _FLASK) as url:
        yield url


@contextmanager
def uvicorn() -> Iterator[str]:
    with process(sys.executable, "-c", _FASTAPI) as url:
        yield url


def make_app() -> Any:
    """A Flask app with pets."""
    app = flask.Flask("pets")

    @app.get("/pets/<int:number>")
    def pet(number: int) -> Any:
        if number == 404:
            return {"title": "no such pet"}, 404
        if number == 500:
            return "broken", 500
        return {"id": number, "for": flask.request.headers.get("X-Forwarded-For")}

    @app.post("/pets")
    def buy() -> Any:
        return {"bought": flask.request.get_json()}, 201

    @app.get("/large")
    def large() -> Any:
        return b"x" * 2_000_000

    return app
