from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flask

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    app = flask.Flask("app")

    @app.get("/hello")
    def hello() -> Any:
        return HELLO

    @app.post("/json")
    def json() -> Any:
        name = flask.request.environ["restsock.connection"].name
        return {"number": flask.request.get_json()["number"] + 1, "name": name}

    @app.post("/upload")
    def upload() -> Any:
        digest = Digest()
        while data := flask.request.stream.read(64 * 1024):
            digest.feed(data)
        return digest.result()

    @app.get("/download")
    def download() -> Any:
        return flask.Response(PIECE for _ in range(PIECES))

    @app.get("/events")
    def events() -> Any:
        def made() -> Iterator[str]:
            for number in range(EVENTS):
                site.wait()
                yield f"data: {number}\n\n"

        return flask.Response(made(), mimetype="text/event-stream")

    @app.get("/error")
    def error() -> Any:
        raise ZeroDivisionError

    return app
