"""The whole contract of `requests`, over a real connection, beside the same calls on a socket.

Each call of the differential test goes to one Flask app twice: through the tunnel, and directly to
werkzeug's server. What `requests` makes of it has to be the same.
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import logging
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import flask
import pytest
import requests
import trio
from requests.adapters import BaseAdapter
from werkzeug.serving import WSGIRequestHandler, make_server

import restsock.sync
from restsock._exceptions import ConnectionClosed, RequestTimeout
from restsock.adapters import TunnelAdapter
from tests.drivers import DRIVERS, driven_by

TUNNEL = "http://edge-1"


class Gates:
    """What makes a view wait, until the test lets it go on; and what a view saw."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.seen = threading.Event()


def make_app(gates: Gates) -> flask.Flask:
    app = flask.Flask("e2e")
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @app.route("/echo", methods=methods, provide_automatic_options=False)
    @app.route("/echo/<path:rest>", methods=methods, provide_automatic_options=False)
    def echo(rest: str = "") -> Any:
        request = flask.request
        hops = {"connection", "transfer-encoding", "host"}
        headers = sorted([k, v] for k, v in request.headers.items() if k.lower() not in hops)
        return {
            "method": request.method,
            "path": request.path,
            "query": request.query_string.decode("latin-1"),
            "headers": headers,
            "body": request.get_data(cache=False).decode("latin-1"),
        }

    @app.route("/form", methods=["POST"])
    def form() -> Any:
        files = flask.request.files.items()
        return {
            "form": flask.request.form.to_dict(flat=False),
            "files": {key: [file.filename, file.read().decode()] for key, file in files},
        }

    @app.route("/hash", methods=["POST", "PUT"])
    def digest() -> Any:
        sha = hashlib.sha256()
        size = 0
        while data := flask.request.stream.read(50_000):
            sha.update(data)
            size += len(data)
        return {"sha256": sha.hexdigest(), "size": size}

    @app.route("/status/<int:status>")
    def status(status: int) -> Any:
        return ("" if status in (204, 304) else f"status {status}", status)

    @app.route("/redirect/<int:left>")
    def redirect(left: int) -> Any:
        if not left:
            return "arrived"
        response = flask.redirect(f"/redirect/{left - 1}")
        response.set_cookie(f"step{left}", "seen")
        return response

    @app.route("/again/<int:status>", methods=["GET", "POST", "PUT"])
    def again(status: int) -> Any:
        return flask.redirect("/echo", status)

    @app.route("/cookies")
    def cookies() -> Any:
        response = flask.jsonify(dict(flask.request.cookies))
        response.set_cookie("plain", "1")
        response.set_cookie("deep", "2", path="/cookies/deep")
        response.set_cookie("quoted", 'a "b"; c')
        return response

    @app.route("/cookies/deep")
    def deep() -> Any:
        return dict(flask.request.cookies)

    @app.route("/repeated")
    def repeated() -> Any:
        response = flask.Response("x")
        for value in ("one", "two", "three"):
            response.headers.add("X-Many", value)
            response.headers.add("Link", f"</{value}>; rel={value}")
        return response

    @app.route("/coding/<coding>")
    def coding(coding: str) -> Any:
        content = b"the same again, " * 5_000
        encode: dict[str, Callable[[bytes], bytes]] = {
            "gzip": gzip.compress,
            "deflate": zlib.compress,
            "br": pytest.importorskip("brotli").compress,
        }
        return flask.Response(
            encode[coding](content),
            content_type="text/plain; charset=utf-8",
            headers={"Content-Encoding": coding},
        )

    @app.route("/stream/<int:pieces>")
    def stream(pieces: int) -> Any:
        return flask.Response(b"%06d\n" % number for number in range(pieces))

    @app.route("/bytes/<int:size>")
    def sized(size: int) -> Any:
        return flask.Response(random.Random(size).randbytes(size))

    @app.route("/private")
    def private() -> Any:
        auth = flask.request.authorization
        if auth is None or (auth.username, auth.password) != ("user", "sécret"):
            return "who?", 401, {"WWW-Authenticate": 'Basic realm="r"'}
        return f"hello {auth.username}"

    @app.route("/broken")
    def broken() -> Any:
        raise LookupError("a view that fails")

    @app.route("/wait", methods=["GET", "POST"])
    def wait() -> Any:
        gates.seen.set()
        gates.open.wait(30)
        return "waited"

    @app.route("/events")
    def events() -> Any:
        def make() -> Iterator[str]:
            yield "data: 1\n\n"
            gates.open.wait(30)
            yield "data: 2\n\n"

        return flask.Response(make(), content_type="text/event-stream")

    @app.route("/endless")
    def endless() -> Any:
        def make() -> Iterator[bytes]:
            try:
                while True:
                    yield bytes(10_000)
            finally:
                gates.seen.set()

        return flask.Response(make())

    @app.route("/refuse", methods=["POST"])
    def refuse() -> Any:
        return "too much", 413

    @app.route("/mirror", methods=["POST"])
    def mirror() -> Any:
        stream = flask.request.stream

        def make() -> Iterator[bytes]:
            while data := stream.read(30_000):
                yield data

        return flask.Response(flask.stream_with_context(make()))

    @app.route("/nested/<int:depth>")
    def nested(depth: int) -> Any:
        """Asks the other side, which asks this side, and so on."""
        if not depth:
            return "bottom"
        caller = flask.current_app.config[flask.request.host]
        return f"{flask.request.host} " + caller(f"/nested/{depth - 1}")

    @app.route("/delay/<int:millis>/<token>")
    def delay(millis: int, token: str) -> Any:
        time.sleep(millis / 1000)
        return token

    return app


class Sides(NamedTuple):
    """The same app twice, and what the tunnel is made of."""

    direct: str
    server: Any
    client: Any
    gates: Gates


def _caller(base: str, adapter: BaseAdapter) -> Callable[[str], str]:
    def call(path: str) -> str:
        with requests.Session() as session:
            session.trust_env = False
            session.mount(base + "/", adapter)
            return session.get(base + path, timeout=20).text

    return call


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module", params=DRIVERS)
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    gates = Gates()
    app = make_app(gates)
    app.logger.setLevel(logging.CRITICAL)
    direct = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=direct.serve_forever)
    thread.start()
    try:
        with (
            driven_by(request.param),
            restsock.sync.listen("127.0.0.1", 0, app=app) as server,
        ):
            with restsock.sync.connect(server.url, app=app, name="edge-1") as client:
                # What a view on one side calls the other side with.
                app.config["edge-1"] = _caller("http://hub", client.adapter())
                app.config["hub"] = _caller(TUNNEL, server.adapter("edge-1"))
                yield Sides(f"http://127.0.0.1:{direct.server_port}", server, client, gates)
    finally:
        direct.shutdown()
        thread.join()
        direct.server_close()


@pytest.fixture
def gates(sides: Sides) -> Iterator[Gates]:
    sides.gates.open.clear()
    sides.gates.seen.clear()
    yield sides.gates
    sides.gates.open.set()


@pytest.fixture
def session(sides: Sides) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount(TUNNEL + "/", sides.server.adapter("edge-1"))
        yield session


# --- the same as on a socket ------------------------------------------------------------------

Call = Callable[[requests.Session, str], requests.Response]


def _generator() -> Iterator[bytes]:
    for number in range(100):
        yield b"%d," % number


def _at_position() -> io.BytesIO:
    file = io.BytesIO(b"skipped and sent")
    file.seek(12)
    return file


def _head(session: requests.Session, base: str) -> requests.Response:
    return session.head(base + "/bytes/1000")


def _status(status: int, session: requests.Session, base: str) -> requests.Response:
    return session.get(f"{base}/status/{status}")


CALLS: dict[str, Call] = {
    "get": lambda s, base: s.get(base + "/echo"),
    "query": lambda s, base: s.get(base + "/echo?x=%20&x=+&y=%E2%98%83", params={"z": "ä&b"}),
    "path": lambda s, base: s.get(base + "/echo/a%2Fb/c%20d/%C3%A4/;e"),
    "headers": lambda s, base: s.get(
        base + "/echo", headers={"X-A": "a", "x-bytes": b"b", "Accept": None, "X-Empty": ""}
    ),
    "no-encoding": lambda s, base: s.get(base + "/echo", headers={"Accept-Encoding": None}),
    "head": _head,
    "options": lambda s, base: s.options(base + "/echo"),
    "delete": lambda s, base: s.delete(base + "/echo"),
    "post-empty": lambda s, base: s.post(base + "/echo"),
    "post-text": lambda s, base: s.post(base + "/echo", data="snow \u2603"),
    "post-form": lambda s, base: s.post(base + "/echo", data={"a": ["1", "2"], "b": "ü"}),
    "post-json": lambda s, base: s.post(base + "/echo", json={"a": [1, None, "\u2603"]}),
    "post-generator": lambda s, base: s.post(base + "/hash", data=_generator()),
    "post-file": lambda s, base: s.put(base + "/hash", data=_at_position()),
    "post-large": lambda s, base: s.post(base + "/hash", data=bytes(3_000_000)),
    "multipart": lambda s, base: s.post(
        base + "/form", data={"k": "v\u00e4"}, files={"f": ("\u00e4.txt", b"content")}
    ),
    **{
        f"status-{status}": partial(_status, status)
        for status in (200, 201, 204, 304, 400, 404, 418, 429, 431, 500, 503)
    },
    "error": lambda s, base: s.get(base + "/broken"),
    "redirects": lambda s, base: s.get(base + "/redirect/3"),
    "not-redirected": lambda s, base: s.get(base + "/redirect/3", allow_redirects=False),
    "again-307": lambda s, base: s.post(base + "/again/307", data=_at_position()),
    "again-308": lambda s, base: s.put(base + "/again/308", data="text"),
    "again-303": lambda s, base: s.post(base + "/again/303", data="text"),
    "again-302": lambda s, base: s.post(base + "/again/302", data="text"),
    "cookies": lambda s, base: (s.get(base + "/cookies"), s.get(base + "/cookies/deep"))[1],
    "set-cookies": lambda s, base: s.get(base + "/cookies", cookies={"mine": "0"}),
    "repeated": lambda s, base: s.get(base + "/repeated"),
    "gzip": lambda s, base: s.get(base + "/coding/gzip"),
    "deflate": lambda s, base: s.get(base + "/coding/deflate"),
    "br": lambda s, base: s.get(base + "/coding/br"),
    "stream": lambda s, base: s.get(base + "/stream/10000"),
    "bytes": lambda s, base: s.get(base + "/bytes/1000000"),
    "no-bytes": lambda s, base: s.get(base + "/bytes/0"),
    "private": lambda s, base: s.get(
        base + "/private", auth=("user", cast("Any", "sécret".encode()))
    ),
    "not-private": lambda s, base: s.get(base + "/private"),
    "continue": lambda s, base: s.post(
        base + "/hash", data="body", headers={"Expect": "100-continue"}
    ),
}


def summary(response: requests.Response, session: requests.Session, base: str) -> dict[str, Any]:
    """All that a caller sees of a response, bar what names the server or the hop."""
    hop = {"date", "server", "connection", "transfer-encoding"}
    return {
        "status": (response.status_code, response.reason, response.ok),
        "headers": {k.lower(): v for k, v in response.headers.items() if k.lower() not in hop},
        "repeated": sorted(response.raw.headers.getlist("X-Many")),
        "links": response.links,
        "content": response.content.replace(base.encode(), b"BASE"),
        "encoding": response.encoding,
        "url": response.url.replace(base, "BASE"),
        "history": [(one.status_code, one.url.replace(base, "BASE")) for one in response.history],
        "cookies": sorted((c.name, c.value, c.path) for c in response.cookies),
        "jar": sorted((c.name, c.value, c.path) for c in session.cookies),
        "request": (response.request.method, (response.request.url or "").replace(base, "BASE")),
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_on_a_socket(sides: Sides, session: requests.Session, name: str) -> None:
    call = CALLS[name]
    through = summary(call(session, TUNNEL), session, TUNNEL)
    with requests.Session() as plain:
        plain.trust_env = False
        direct = summary(call(plain, sides.direct), plain, sides.direct)
    assert through == direct


# --- streams ----------------------------------------------------------------------------------


def test_the_first_event_does_not_wait_for_the_second(
    session: requests.Session, gates: Gates
) -> None:
    with session.get(TUNNEL + "/events", stream=True, timeout=10) as response:
        lines = response.iter_lines()
        assert next(lines) == b"data: 1"
        gates.open.set()
        assert [line for line in lines if line] == [b"data: 2"]


def test_a_download_in_pieces(session: requests.Session) -> None:
    with session.get(TUNNEL + "/bytes/5000000", stream=True) as response:
        pieces = list(response.iter_content(100_000))
    assert {len(piece) for piece in pieces} == {100_000}
    assert b"".join(pieces) == random.Random(5_000_000).randbytes(5_000_000)


def test_raw_is_a_file(session: requests.Session) -> None:
    response = session.get(TUNNEL + "/bytes/100000", stream=True)
    assert len(response.raw.read(10)) == 10
    assert len(response.raw.read()) == 99_990
    assert response.raw.read() == b""


def test_closing_a_response_ends_the_view(session: requests.Session, gates: Gates) -> None:
    response = session.get(TUNNEL + "/endless", stream=True)
    assert response.raw.read(100_000)
    response.close()
    assert gates.seen.wait(10)


def test_forgetting_a_response_ends_the_view(session: requests.Session, gates: Gates) -> None:
    response = session.get(TUNNEL + "/endless", stream=True)
    assert response.raw.read(100_000)
    del response
    gc.collect()
    assert gates.seen.wait(10)


def test_an_upload_that_is_answered_early(session: requests.Session) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(2_000):
            yield bytes(50_000)

    response = session.post(TUNNEL + "/refuse", data=body(), timeout=20)
    assert (response.status_code, response.text) == (413, "too much")


def test_an_upload_that_comes_back_while_it_is_sent(session: requests.Session) -> None:
    piece = bytes(range(256)) * 64
    body = (piece for _ in range(300))
    response = session.post(TUNNEL + "/mirror", data=body, stream=True, timeout=20)
    assert hashlib.sha256(response.content).digest() == hashlib.sha256(piece * 300).digest()


def test_a_file_both_ways(session: requests.Session, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(1).randbytes(2_000_000))
    with path.open("rb") as file:
        told = session.post(TUNNEL + "/hash", data=file).json()
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# --- failures ---------------------------------------------------------------------------------


def test_a_view_that_does_not_answer(session: requests.Session, gates: Gates) -> None:
    with pytest.raises(requests.ReadTimeout) as caught:
        session.get(TUNNEL + "/wait", timeout=(10, 0.1))
    cause = caught.value.__cause__
    assert isinstance(cause, RequestTimeout)
    assert (cause.phase, cause.may_have_run) == ("head", True)
    assert gates.seen.wait(10)
    gates.open.set()
    assert session.get(TUNNEL + "/echo").ok


def test_a_stream_that_stops(session: requests.Session, gates: Gates) -> None:
    response = session.get(TUNNEL + "/events", stream=True, timeout=(10, 1))
    pieces = response.iter_content(None)
    assert next(pieces) == b"data: 1\n\n"
    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        next(pieces)


def test_a_peer_that_nobody_knows(sides: Sides) -> None:
    with requests.Session() as session:
        session.mount("http://nobody/", sides.server.adapter("nobody"))
        with pytest.raises(requests.ConnectionError) as caught:
            session.get("http://nobody/", timeout=(0.1, 1))
    cause: Any = caught.value.__cause__
    assert cause.may_have_run is False
    assert caught.value.request is not None


def test_a_connection_that_ends_under_a_request(sides: Sides, gates: Gates) -> None:
    app = make_app(gates)
    with restsock.sync.connect(sides.server.url, app=app, name="edge-2") as client:
        with requests.Session() as session:
            session.mount("http://edge-2/", sides.server.adapter("edge-2"))
            assert session.get("http://edge-2/echo").ok
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(session.get, "http://edge-2/wait", timeout=20)
                assert gates.seen.wait(10)
                gates.open.set()
                assert waiting.result().text == "waited"
                gates.open.clear()
                gates.seen.clear()
                waiting = pool.submit(session.get, "http://edge-2/wait", timeout=20)
                assert gates.seen.wait(10)
                sides.server.connections.by_name("edge-2").close(code=1001)
                with pytest.raises(requests.ConnectionError) as caught:
                    waiting.result()
                gates.open.set()  # for the view, which nobody waits for any more
    del client
    assert isinstance(caught.value.__cause__, ConnectionClosed)
    assert caught.value.__cause__.may_have_run is True


# --- both ways --------------------------------------------------------------------------------


def test_the_other_way(sides: Sides) -> None:
    with requests.Session() as session:
        session.mount("http://hub/", sides.client.adapter())
        told = session.post("http://hub/echo/there", json={"a": 1}, timeout=20).json()
    assert (told["path"], told["body"]) == ("/echo/there", '{"a": 1}')


def test_there_and_back_again(session: requests.Session) -> None:
    """Views that call the other side while that waits for them."""
    chain = session.get(TUNNEL + "/nested/4", timeout=20).text
    assert chain == "edge-1 hub edge-1 hub bottom"


def test_both_ways_at_once(sides: Sides, session: requests.Session) -> None:
    there = _caller(TUNNEL, sides.server.adapter("edge-1"))
    back = _caller("http://hub", sides.client.adapter())

    def ask(number: int) -> bool:
        call = (there, back)[number % 2]
        return call(f"/delay/{number % 7}/{number}") == str(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_an_adapter_outlives_the_connection(sides: Sides, gates: Gates) -> None:
    backoff = restsock.Backoff(initial=0.01)
    app = make_app(gates)
    with requests.Session() as session:
        session.mount("http://edge-3/", sides.server.adapter("edge-3"))
        with restsock.sync.connect(sides.server.url, app=app, name="edge-3", backoff=backoff):
            for _ in range(3):
                assert session.get("http://edge-3/status/200", timeout=20).ok
                connection = sides.server.connections.by_name("edge-3")
                connection.close(1001)
                assert session.get("http://edge-3/status/201", timeout=20).status_code == 201
                assert sides.server.connections.by_name("edge-3") != connection


async def test_from_a_thread_of_an_async_program(sides: Sides) -> None:
    async with restsock.connect(sides.server.url, name="asks") as client:
        with requests.Session() as session:
            session.mount("http://hub/", client.adapter())
            response = await trio.to_thread.run_sync(
                partial(session.get, "http://hub/stream/1000", timeout=20)
            )
            assert len(response.content) == 7_000
            with pytest.raises(restsock.RestsockError, match="loop's own thread"):
                session.get("http://hub/stream/1000")


# --- many -------------------------------------------------------------------------------------


def test_each_of_many_threads_gets_its_own_answers(session: requests.Session) -> None:
    """1,000 requests from 32 threads; answers that are ready later overtake nobody's place."""
    chance = random.Random(20)
    plans = [(chance.randrange(20), f"token-{number}") for number in range(1_000)]

    def ask(plan: tuple[int, str]) -> bool:
        millis, token = plan
        return session.get(f"{TUNNEL}/delay/{millis}/{token}", timeout=30).text == token

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(ask, plans))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sides", DRIVERS[:1], indirect=True)  # the longest test of all
def test_ten_thousand_requests_leave_nothing_behind(sides: Sides) -> None:
    adapter: TunnelAdapter = sides.server.adapter("edge-1")
    url = TUNNEL + "/status/200"
    with requests.Session() as session:
        session.trust_env = False
        session.mount(TUNNEL + "/", adapter)

        def count() -> tuple[int, int, int]:
            gc.collect()
            tasks = trio.from_thread.run_sync(
                lambda: trio.lowlevel.current_statistics().tasks_living,
                trio_token=sides.server.route("edge-1")._sender().token,
            )
            return tasks, threading.active_count(), len(gc.get_objects())

        def ask(times: int) -> None:
            for _ in range(times):
                assert session.get(url).status_code == 200

        ask(500)
        tasks, threads, objects = count()
        resident = _resident()
        ask(9_500)
        after = count()
        grown = _resident() - resident
    assert after[0] <= tasks
    assert after[1] <= threads + 16  # the workers of the app are started as they are needed
    assert after[2] - objects < 250  # a leak of one object a request would be forty times that
    assert grown < 8 * 2**20


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def test_the_answers_are_json(session: requests.Session) -> None:
    told = session.post(TUNNEL + "/echo", json=[1, 2]).json()
    assert json.loads(told["body"]) == [1, 2]
