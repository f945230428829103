from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bottle

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site


def make(site: Site) -> Any:
    app = bottle.Bottle()

    def hello() -> Any:
        return HELLO

    def json() -> Any:
        name = bottle.request.environ["restsock.connection"].name
        return {"number": bottle.request.json["number"] + 1, "name": name}

    def upload() -> Any:
        digest = Digest()
        body = bottle.request.body  # each time it is asked for, it is at its beginning
        while data := body.read(64 * 1024):
            digest.feed(data)
        return digest.result()

    def download() -> Any:
        return (PIECE for _ in range(PIECES))

    def events() -> Iterator[str]:
        bottle.response.content_type = "text/event-stream"
        yield ":\n\n"  # Bottle fixes the head with the first piece
        for number in range(EVENTS):
            site.wait()
            yield f"data: {number}\n\n"

    def error() -> Any:
        raise ZeroDivisionError

    app.route("/hello", "GET", hello)
    app.route("/json", "POST", json)
    app.route("/upload", "POST", upload)
    app.route("/download", "GET", download)
    app.route("/events", "GET", events)
    app.route("/error", "GET", error)
    return app
