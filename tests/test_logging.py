"""Every record names its connection, is one line, and has no secret in it."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import requests
import trio

import restsock
import restsock.sync
from restsock import ConnectionFields, Request, Response, StreamReset
from restsock._logging import LOGGERS, about, escaped
from restsock.testing import connected_pair

PACKAGE = Path(restsock.__file__).parent
SECRET = "hunter2SECRET"


class Peer:
    id = "c-1"
    name = "edge-1"


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """All records on `restsock.*`, and what a format that names the fields makes of them."""
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    logger = logging.getLogger("restsock")
    keep = Keep()
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(keep)


FORMAT = logging.Formatter("%(levelname)s [%(connection_id)s %(connection_name)s] %(message)s")


def written(records: list[logging.LogRecord]) -> str:
    return "\n".join(map(FORMAT.format, records))


def test_every_logger_is_known() -> None:
    made = re.compile(r'(?:getLogger|PartLog)\("([^"]+)"\)')
    used = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in made.findall(path.read_text(encoding="utf-8"))
    }
    assert used
    assert used == set(LOGGERS)


def test_there_is_no_other_way_to_get_a_logger() -> None:
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        calls = re.findall(r"getLogger\((?!\")[^)]*\)", source)
        if path.name != "_logging.py":
            assert calls == [], path


def log_calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Where, the words, the call: of each line that is logged, at once or through a `LimitLog`."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if owner.endswith(
                ("_log", "limit_log", "_logger", "endpoint.log")
            ) and node.func.attr not in ("count", "with_own", "here"):
                words = "".join(
                    argument.value
                    for argument in node.args
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                )
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", words, node


def test_a_line_about_a_connection_has_its_fields() -> None:
    calls = [call for call in log_calls() if "connection %s" in call[1]]
    assert len(calls) > 5  # most others are of `LimitLog.note_about`, which adds the fields itself
    without = [
        where
        for where, _, node in calls
        if not any(keyword.arg == "extra" for keyword in node.keywords)
    ]
    assert without == []


def test_words_are_constants_and_values_arguments() -> None:
    """Only arguments are escaped; and a constant can be grouped by."""
    found = list(log_calls())
    assert len(found) > 40
    for where, words, node in found:
        assert words or where.startswith(("_limit_log", "_logging")), where
        assert not any(isinstance(argument, ast.JoinedStr) for argument in node.args), where


# --- the fields ---------------------------------------------------------------------------


def test_fields_by_extra(records: list[logging.LogRecord]) -> None:
    log = logging.getLogger("restsock.server")
    log.info("with %s", "it", extra=about(Peer()))
    log.info("without")
    assert written(records) == "INFO [c-1 edge-1] with it\nINFO [None None] without"


async def test_records_about_a_request_name_its_connection(
    records: list[logging.LogRecord],
) -> None:
    def wsgi(environ: Any, start_response: Any) -> Any:
        raise ZeroDivisionError

    async def function(request: Request) -> Response:
        raise ZeroDivisionError

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    for app, options in (
        (wsgi, {"interface_b": "wsgi"}),
        (function, {"interface_b": "function"}),
        (asgi, {"interface_b": "asgi", "loop_b": "trio"}),
        (asgi, {"interface_b": "asgi", "loop_b": "asyncio"}),
    ):
        records.clear()
        pair_options: dict[str, Any] = dict(options)
        async with connected_pair(app_b=app, name="edge-7", **pair_options) as (dialer, listener):
            assert (await dialer.request("GET", "/boom")).status == 500
        (record,) = (r for r in records if "the app failed at GET /boom" in r.getMessage())
        fields = vars(record)
        assert (fields["connection_id"], fields["connection_name"]) == (listener.id, "edge-7")


async def test_the_app_can_have_the_fields_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ConnectionFields())
    handler.setFormatter(logging.Formatter("%(connection_name)s %(message)s"))
    log = logging.getLogger("tests.an_app")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:

        async def app(request: Request) -> Response:
            log.info("at %s", request.path)
            return Response(200)

        log.info("before")
        async with connected_pair(app_b=app, name="edge-7") as (dialer, _):
            await dialer.request("GET", "/x")
        log.info("behind")
    finally:
        log.removeHandler(handler)
    assert stream.getvalue() == "None before\nedge-7 at /x\nNone behind\n"


# --- one line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "evil",
    [
        "a\nERROR forged",
        "a\r\nb",
        "\x1b[2J",
        "a\x00",
        "\u202egnp",
        "a\u2028b",
        "\x85",
        "\ud800",
        "\x7f",
    ],
)
def test_no_argument_begins_a_line(evil: str, records: list[logging.LogRecord]) -> None:
    class Named(Peer):
        name = evil

    log = logging.getLogger("restsock.connection")
    log.warning("connection %s (%s): %s", "1", evil, ValueError(evil), extra=about(Named()))
    log.warning("%r and %d", evil, 7)
    log.warning("%(reason)s", {"reason": evil})
    text = written(records)
    assert text.isprintable() or text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 3
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "out"),
    [("ü 漢 🙂 \\n", "ü 漢 🙂 \\n"), ("a\nb", "a\\nb"), ("\x1b[", "\\x1b["), ("", "")],
)
def test_what_is_printable_stays(text: str, out: str) -> None:
    assert escaped(text) == out


def test_what_cannot_be_a_string_is_logged_as_ever(
    records: list[logging.LogRecord],
) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ZeroDivisionError

        def __repr__(self) -> str:
            return "odd"

    logging.getLogger("restsock.apps").info("%r", Odd())
    assert written(records) == "INFO [None None] odd"


async def test_a_peers_reason_is_one_line(records: list[logging.LogRecord]) -> None:
    async def app(request: Request) -> Response:
        return Response(200)

    async with restsock.listen("127.0.0.1", 0, app=app) as server:
        async with restsock.connect(server.url, name="edge-1") as client:
            await client.aclose(4321, "bye\nERROR forged")
    text = written(records)
    assert "forged" in text
    assert len(text.splitlines()) == len(records)


# --- no secrets ---------------------------------------------------------------------------


async def secretive(request: Request) -> Response:
    if request.path == "/fail":
        raise ZeroDivisionError("without a secret")
    if request.path == "/bad":
        return Response(200, headers={"X-Token": f"{SECRET}\nforged"})
    if request.path == "/hang":
        await trio.sleep_forever()
    return Response(200, headers={"Set-Cookie": SECRET}, body=SECRET)


def secretive_wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("X-Token", f"{SECRET}\n")])
    return [SECRET.encode()]


async def test_nothing_secret_is_logged(records: list[logging.LogRecord]) -> None:
    """A mixed load with a secret wherever one may be, at DEBUG."""
    await trio.to_thread.run_sync(mixed_load)
    await hostile_load()
    async with connected_pair(app_b=secretive_wsgi, interface_b="wsgi") as (dialer, _):
        await dialer.request("GET", f"/?{SECRET}")
    assert len(records) > 10
    for record in records:
        assert record.getMessage()
        assert SECRET not in FORMAT.format(record), record.getMessage()
        assert SECRET not in repr(record.args)


def mixed_load() -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": SECRET, "X-Api-Key": SECRET}
    auth = restsock.auth.BearerTokens({SECRET: restsock.Principal("edge-1")})
    with restsock.sync.listen("127.0.0.1", 0, app=secretive, auth=auth) as server:
        url = f"{server.url}?token={SECRET}"
        with pytest.raises(restsock.HandshakeError):
            restsock.sync.connect(url, auth=restsock.auth.Bearer(f"{SECRET}-wrong"))
        with pytest.raises(restsock.HandshakeError):
            restsock.sync.connect(url, headers={"Authorization": f"Basic {SECRET}"})
        with restsock.sync.connect(
            url,
            auth=restsock.auth.Bearer(SECRET),
            app=secretive,
            name="edge-1",
            metadata={"password": SECRET},
        ) as client:
            with requests.Session() as session:
                session.headers.update(headers)
                session.mount("http://hub/", client.adapter(max_retries=1))
                session.mount("http://edge-1/", server.adapter("edge-1"))
                for host in ("hub", "edge-1"):
                    for path in ("", "fail", "bad"):
                        session.post(f"http://{host}/{path}?q={SECRET}", data=SECRET, timeout=5)
                    with pytest.raises(requests.RequestException):
                        session.get(f"http://{host}/hang?q={SECRET}", timeout=(5, 0.1))
            client.request("GET", f"/?{SECRET}", headers=headers, body=SECRET, timeout=5)
            with pytest.raises(restsock.LocalProtocolError):
                client.request("GET", "/", headers={"X": f"{SECRET}\r\nY: z"}, timeout=5)
            client.close(4321, "bye")


async def hostile_load() -> None:
    """Malformed upgrades, with a secret in every line of them."""
    async with restsock.listen("127.0.0.1", 0, app=secretive) as server:
        for data in (
            f"GET /?{SECRET} HTTP/1.1\r\nHost: {SECRET}\r\nCookie: {SECRET}\r\n\r\n",
            f"{SECRET}\r\n\r\n",
            f"GET / HTTP/1.1\r\n{SECRET}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\n {SECRET}\r\n\r\n",
            (
                f"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {SECRET}\r\n"
                f"Sec-WebSocket-Protocol: {SECRET}\r\n\r\n"
            ),
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
            async with stream:
                await stream.send_all(data.encode())
                with trio.move_on_after(5):
                    while await stream.receive_some():
                        pass


async def test_a_handler_of_another_kind_fails_without_a_secret(
    records: list[logging.LogRecord],
) -> None:
    class Bug:
        def handle(self, exchange: Any) -> None:
            raise ZeroDivisionError

        def running(self) -> Any:
            return nullcontext()

    async with connected_pair(app_b=Bug(), name="edge-7") as (dialer, _):
        with pytest.raises(StreamReset):
            await dialer.request("GET", f"/?{SECRET}", headers={"X": SECRET})
    (record,) = (r for r in records if "a handler failed" in r.getMessage())
    assert vars(record)["connection_name"] == "edge-7"
    assert SECRET not in FORMAT.format(record)


def _formatted(**given: object) -> dict[str, object]:
    record = logging.makeLogRecord({"created": 1.5, "levelname": "INFO", "name": "app", **given})
    line = restsock.JSONFormatter().format(record)
    assert "\n" not in line
    members: dict[str, object] = json.loads(line)
    return members


def test_a_record_as_json() -> None:
    assert _formatted(msg="%s of %d", args=("a\n", 2)) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "INFO",
        "logger": "app",
        "message": "a\n of 2",
    }


def test_json_names_the_connection_and_what_else_is_given() -> None:
    members = _formatted(msg="x", connection_id="7", connection_name=None, size=3, where=object)
    assert members["connection_id"] == "7"
    assert "connection_name" not in members
    assert members["size"] == 3
    assert members["where"] == "<class 'object'>"


def test_a_traceback_is_on_the_one_line() -> None:
    error = ValueError("no\nway")
    given = (type(error), error, None)
    members = _formatted(msg="failed", exc_info=given, stack_info="Stack:\n  here")
    assert members["exception"] == "ValueError: no\nway"
    assert members["stack"] == "Stack:\n  here"
    assert "exc_info" not in members
