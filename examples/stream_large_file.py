"""Stream a large file both ways: neither peer ever holds more than a few windows of it."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import flask
import requests

import restsock.sync

SIZE = 32 * 1024 * 1024
PIECE = 64 * 1024

app = flask.Flask(__name__)
store = tempfile.TemporaryDirectory()
stored = Path(store.name, "stored")


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


@app.put("/file")
def upload() -> dict[str, object]:
    digest = hashlib.sha256()
    with stored.open("wb") as file:
        for piece in pieces(flask.request.stream):
            digest.update(piece)
            file.write(piece)
    return {"bytes": stored.stat().st_size, "sha256": digest.hexdigest()}


@app.get("/file")
def download() -> flask.Response:
    def body() -> Iterator[bytes]:
        with stored.open("rb") as file:
            yield from pieces(file)

    return flask.Response(body(), mimetype="application/octet-stream")


def main() -> None:
    with (
        store,
        tempfile.TemporaryFile() as original,
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        requests.Session() as session,
    ):
        session.mount("http://edge-1/", server.adapter("edge-1"))
        digest = hashlib.sha256()
        for number in range(SIZE // PIECE):
            piece = bytes([number % 256]) * PIECE
            digest.update(piece)
            original.write(piece)

        original.seek(0)
        start = time.perf_counter()
        sent = session.put("http://edge-1/file", data=original, timeout=(3, 30)).json()
        rate = SIZE / 1e6 / (time.perf_counter() - start)
        print(f"up:   {sent['bytes']} bytes, {rate:.0f} MB/s,", check(sent["sha256"], digest))

        received = hashlib.sha256()
        start = time.perf_counter()
        with session.get("http://edge-1/file", stream=True, timeout=(3, 30)) as answer:
            for piece in answer.iter_content(PIECE):
                received.update(piece)
        rate = SIZE / 1e6 / (time.perf_counter() - start)
        print(f"down: {SIZE} bytes, {rate:.0f} MB/s,", check(received.hexdigest(), digest))


def check(found: str, wanted: "hashlib._Hash") -> str:
    if found != wanted.hexdigest():
        raise SystemExit("the file was changed on the way")
    return "same SHA-256"


if __name__ == "__main__":
    main()
