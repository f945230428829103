"""The Flask app that every WSGI server serves."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Flask, Response, jsonify, request

from tests.bench.workloads import EVENT_PAUSE, MIB, ONE_MIB, PIECE, SMALL, TEN_KB

app = Flask("bench")


@app.get("/pets/<int:pet>")
def pet(pet: int) -> Response:
    return jsonify({**SMALL, "id": pet})


@app.get("/ten")
def ten() -> Response:
    return Response(TEN_KB, mimetype="application/octet-stream")


@app.get("/mib")
def mib() -> Response:
    return Response(ONE_MIB, mimetype="application/octet-stream")


@app.post("/pets")
def new_pet() -> Response:
    return jsonify(id=len(request.get_data()))


@app.get("/download/<int:mib>")
def download(mib: int) -> Response:
    size = mib * MIB

    def pieces() -> Iterator[bytes]:
        for _ in range(size // len(PIECE)):
            yield PIECE

    return Response(
        pieces(), headers={"Content-Length": str(size)}, mimetype="application/octet-stream"
    )


@app.get("/events/<int:count>")
def events(count: int) -> Response:
    """Events that say when they were made, on a clock that all processes of the machine have."""

    def stream() -> Iterator[str]:
        for _ in range(count):
            time.sleep(EVENT_PAUSE)
            yield f"data: {time.monotonic()!r}\n\n"

    # The field is for nginx, which would keep them until there is more.
    return Response(stream(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


@app.post("/upload")
def upload() -> Response:
    received = 0
    while data := request.stream.read(len(PIECE)):
        received += len(data)
    return jsonify(id=received)
