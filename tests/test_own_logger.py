"""`logger=` of `connect` and `listen`: all records of one end, in each API, and of no other one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trio
from urllib3.util import Retry

import restsock
import restsock.sync
import restsock.websockets
from restsock import HandshakeError, Heartbeat, JSONFormatter, Options, Request, Response
from restsock._limit_log import LimitLog
from restsock._logging import OwnLog, PartLog, about
from restsock.openapi import OpenAPIHandler
from restsock.websockets import Dialer, Endpoint, Reconnect
from tests.apis import API, each_api, each_native_api
from tests.openapi.documents import document
from tests.waiting import until
from tests.websockets.site import listening, raw_client, url_of

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[Any]
else:  # it takes no type argument before Python 3.11
    Adapter = logging.LoggerAdapter


class Kept(logging.Handler):
    """A logger, and all that was logged on it."""

    def __init__(self, name: str, level: int = logging.DEBUG) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.logger = logging.Logger(name, level)  # noqa: LOG001  # one that nothing else knows
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def parts(self) -> set[str]:
        return {vars(record)["part"] for record in self.records}

    def has(self, words: str) -> bool:
        return any(words in message for message in self.messages)

    def record(self, words: str) -> logging.LogRecord:
        (found,) = (record for record in self.records if words in record.getMessage())
        return found


@pytest.fixture
def others() -> Iterator[Kept]:
    """What comes to the loggers of the package, at any level."""
    kept = Kept("restsock")
    logger = logging.getLogger("restsock")
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    yield kept
    logger.removeHandler(kept)


class Peer:
    id = "c-1"
    name = "edge-1\nforged"


def failing_wsgi(environ: Any, start_response: Any) -> Any:
    raise ZeroDivisionError


async def failing_asgi(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError  # in its lifespan as well


async def failing(request: Request) -> Response:
    raise ZeroDivisionError


class BadInstrument(restsock.Instrument):
    def connection_opened(self, connection: object) -> None:
        raise ZeroDivisionError


# --- in each API --------------------------------------------------------------------------------


@each_api
@pytest.mark.parametrize("app", [failing, failing_asgi, failing_wsgi])
async def test_all_records_of_both_ends_go_there(api: API, app: Any, others: Kept) -> None:
    here, there = Kept("here"), Kept("there")
    listener = api.listen("127.0.0.1", 0, app=app, logger=there.logger)
    async with listener as server:
        client = api.connect(server.url, app=app, name="edge-1", logger=here.logger)
        async with client:
            await until(lambda: len(server.connections) == 1)
            assert (await client.request("GET", "/boom")).status == 500
            assert (await server.route("edge-1").request("GET", "/bang")).status == 500
            (connection,) = server.connections
            identity = (connection.id, "edge-1")
        await until(lambda: not server.connections)
    for kept, path in ((here, "/bang"), (there, "/boom")):
        record = kept.record(f"the app failed at GET {path}")
        assert record.exc_info is not None
        fields = vars(record)
        assert (record.name, fields["part"]) == (kept.logger.name, "apps")
        assert (fields["connection_id"], fields["connection_name"]) == identity
        assert record.levelno == logging.ERROR
        assert all("connection_id" in vars(record) for record in kept.records)
    assert here.has("connected to ws://")
    assert there.has(f"connection {identity[0]}")
    assert "client" in here.parts()
    assert "server" in there.parts()
    foreign = [record for record in others.records if record.name.startswith("restsock.")]
    assert [record.getMessage() for record in foreign] == []


@each_native_api
async def test_ends_without_one_log_as_ever(api: API, others: Kept) -> None:
    kept = Kept("kept")
    async with api.listen("127.0.0.1", 0, app=failing, logger=kept.logger) as server:
        async with api.connect(server.url, app=failing, name="edge-1") as client:
            await client.request("GET", "/boom")
            await server.route("edge-1").request("GET", "/bang")
    assert others.record("the app failed at GET /bang").name == "restsock.apps"
    assert not others.has("/boom")
    assert kept.has("/boom")
    assert not kept.has("/bang")
    assert {record.name for record in others.records} <= {"restsock.apps", "restsock.client"}


@each_native_api
async def test_a_client_that_finds_nobody(api: API, others: Kept) -> None:
    kept = Kept("kept")
    backoff = restsock.Backoff(initial=0.01, tries=2, give_up="never")
    with pytest.raises(HandshakeError):
        async with api.connect("ws://127.0.0.1:9/", backoff=backoff, logger=kept.logger):
            pass
    assert kept.has("cannot reach 127.0.0.1")
    assert kept.parts() == {"client"}
    assert others.messages == []


@each_native_api
async def test_what_is_no_logger_is_refused(api: API) -> None:
    for wrong in ("restsock", logging, print):
        with pytest.raises(TypeError, match=r"logger must be a logging\.Logger or a Lo"):
            async with api.connect("ws://127.0.0.1:9/", logger=wrong):
                pass
        with pytest.raises(TypeError, match="not "):
            async with api.listen("127.0.0.1", 0, logger=wrong):
                pass
    with pytest.raises(TypeError, match="logger must be"):
        restsock.asgi.Listener(logger="x")  # type: ignore[arg-type]


# --- which records, and how they look -----------------------------------------------------------


async def test_the_level_is_that_of_the_logger(others: Kept) -> None:
    """That of `restsock` has no say, either way."""
    logging.getLogger("restsock").setLevel(logging.CRITICAL)
    for level, info, error in ((logging.DEBUG, True, True), (logging.ERROR, False, True)):
        kept = Kept("kept", level)
        async with restsock.listen("127.0.0.1", 0, app=failing, logger=kept.logger) as server:
            async with restsock.connect(server.url) as client:
                await client.request("GET", "/boom")
        assert kept.has("listening on") is info
        assert kept.has("the app failed") is error


async def test_an_adapter_adds_what_it_adds() -> None:
    class Prefixed(Adapter):
        def process(self, msg: Any, kwargs: Any) -> Any:
            return f"[100%% {self.extra['site']}] {msg}", kwargs  # type: ignore[index]

    kept = Kept("kept")
    inner = logging.LoggerAdapter(kept.logger, {"site": "ulm", "connection_name": "mine"})
    adapter = Prefixed(inner, {"site": "outer"})
    async with restsock.listen("127.0.0.1", 0, app=failing, logger=adapter) as server:
        async with restsock.connect(server.url, name="edge-1") as client:
            await client.request("GET", "/boom")
            identity = next(iter(server.connections)).id
    record = kept.record("the app failed at GET /boom")
    assert record.getMessage() == "[100% outer] the app failed at GET /boom"
    fields = vars(record)
    assert (fields["site"], fields["part"], fields["connection_id"]) == ("ulm", "apps", identity)
    assert fields["connection_name"] == "mine"  # what it says counts
    assert record.exc_info is not None


def test_records_are_one_line_and_say_where_they_were_logged() -> None:
    kept = Kept("kept")
    log = PartLog("restsock.server").with_own(kept.logger)
    assert isinstance(log, OwnLog)
    log.warning("%s and %d", "a\nb", 7, extra=about(Peer()))
    log.log(logging.INFO, "plain")
    LimitLog(log).note("kind", "%s", "\x1b[2J", extra={"more": 1})
    first, second, third = kept.records
    assert first.getMessage() == "a\\nb and 7"
    assert vars(first)["connection_name"] == "edge-1\\nforged"
    assert (
        first.funcName
        == second.funcName
        == "test_records_are_one_line_and_say_where_they_were_logged"
    )
    assert vars(second)["connection_id"] is None
    assert (third.getMessage(), vars(third)["more"]) == ("\\x1b[2J", 1)
    members = json.loads(JSONFormatter().format(first))
    assert (members["logger"], members["part"]) == ("kept", "server")
    assert members["connection_id"] == "c-1"


def test_the_loggers_of_the_package_say_where_too(others: Kept) -> None:
    PartLog("restsock.server").info("here")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        PartLog("restsock.server").exception("there")
    for record in others.records:
        assert record.funcName == "test_the_loggers_of_the_package_say_where_too"
    assert others.records[1].exc_info is not None


async def test_a_client_that_is_made_while_a_request_is_served(others: Kept) -> None:
    """Its records are its own, and not those of the connection of the request."""
    outer, inner = Kept("outer"), Kept("inner")

    async def app(request: Request) -> Response:
        backoff = restsock.Backoff(initial=0.01, tries=2, give_up="never")
        logger = inner.logger if request.path == "/with" else None
        with pytest.raises(HandshakeError):
            async with restsock.connect("ws://127.0.0.1:9/", backoff=backoff, logger=logger):
                pass
        return Response(200)

    async with restsock.listen("127.0.0.1", 0, app=app, logger=outer.logger) as server:
        async with restsock.connect(server.url) as client:
            assert (await client.request("GET", "/with")).status == 200
            assert inner.parts() == {"client"}
            assert not others.has("127.0.0.1:9")
            assert (await client.request("GET", "/without")).status == 200
    assert others.has("127.0.0.1:9")
    assert not outer.has("127.0.0.1:9")


async def test_an_instrument_and_a_function_that_fail(others: Kept) -> None:
    kept = Kept("kept")

    async def on_ping(connection: Any, data: bytes) -> None:
        raise ZeroDivisionError

    options = Options(heartbeat=Heartbeat(interval=0.05, on_ping=on_ping))
    async with restsock.listen(
        "127.0.0.1", 0, options=options, instrument=BadInstrument(), logger=kept.logger
    ) as server:
        async with restsock.connect(server.url, name="edge-1"):
            await until(lambda: kept.has("Heartbeat.on_ping failed: ZeroDivisionError"))
    assert kept.has("BadInstrument has failed and is not used any more")
    assert vars(kept.record("Heartbeat.on_ping failed"))["connection_name"] == "edge-1"
    assert not others.has("failed")


@each_native_api
async def test_what_stands_before_an_app_logs_with_it(api: API, others: Kept) -> None:
    kept = Kept("kept")
    contract = OpenAPIHandler(failing, document())
    async with api.listen("127.0.0.1", 0, app=contract, logger=kept.logger) as server:
        async with api.connect(server.url, logger=kept.logger) as client:
            assert (await client.request("GET", "/pets?limit=none")).status == 400
            assert (await client.request("GET", "/pets")).status == 500
    elsewhere = restsock.forward("http://127.0.0.1:9")
    async with api.listen("127.0.0.1", 0, app=elsewhere, logger=kept.logger) as server:
        async with api.connect(server.url, logger=kept.logger) as client:
            assert (await client.request("GET", "/x")).status == 502
    assert kept.has("refused GET /pets with 400")
    assert kept.has("forwarding GET /x to http://127.0.0.1:9 failed")
    assert {"openapi", "apps"} <= kept.parts()
    assert others.messages == []


def test_a_session_that_tries_again(others: Kept) -> None:
    kept = Kept("kept")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("503 Busy" if kept.records[-1:] and not tried() else "200 OK", [])
        return [b""]

    def tried() -> bool:
        return kept.has("trying GET /x again after status 503")

    with restsock.sync.listen("127.0.0.1", 0, app=app) as server:
        with restsock.sync.connect(server.url, logger=kept.logger) as client:
            with requests.Session() as session:
                retries = Retry(3, status_forcelist=[503], backoff_factor=0)
                session.mount("http://peer/", client.adapter(max_retries=retries))
                assert session.get("http://peer/x", timeout=10).status_code == 200
    assert vars(kept.record("trying GET /x again after status 503"))["part"] == "adapters"
    assert not others.has("trying")


async def test_a_proxy_that_the_environment_names(
    others: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept("kept")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    restsock.connect("ws://hub.example/", logger=kept.logger)
    restsock.websockets.connect("ws://hub.example/", logger=kept.logger)
    assert len(kept.records) == 2
    assert kept.parts() == {"client"}
    assert others.messages == []


async def test_a_logger_that_fails_ends_nothing(others: Kept) -> None:
    class Failing(Adapter):
        def process(self, msg: Any, kwargs: Any) -> Any:
            raise ZeroDivisionError

    async def app(request: Request) -> Response:
        return Response(200)

    logger = Failing(Kept("kept").logger, {})
    async with restsock.listen("127.0.0.1", 0, app=app, logger=logger) as server:
        async with restsock.connect(server.url) as client:
            assert (await client.request("GET", "/")).status == 200
    found = [record for record in others.records if record.name == "restsock.connection"]
    assert {record.getMessage() for record in found} == {"a logger of the program has failed"}
    assert all(record.exc_info is not None for record in found)


async def test_what_strangers_send(others: Kept) -> None:
    kept = Kept("kept")
    async with restsock.listen("127.0.0.1", 0, logger=kept.logger) as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.address[1])
        await stream.send_all(b"nonsense\r\n\r\n")
        while await stream.receive_some():
            pass
        await stream.aclose()
    assert len(kept.records) > 1
    assert others.messages == []


# --- plain WebSockets ---------------------------------------------------------------------------


async def test_an_endpoint_logs_with_its_listener(others: Kept) -> None:
    kept = Kept("kept")

    async def serve(websocket: Any) -> None:
        raise ZeroDivisionError

    endpoint = Endpoint(serve, auth=restsock.auth.BearerTokens({"s3cret-token": "edge-1"}))
    async with listening(endpoint, logger=kept.logger) as server:
        async with raw_client(server, "Authorization: Bearer s3cret-token") as client:
            await client.next()
        with pytest.raises(restsock.WebSocketRefused):
            async with restsock.websockets.connect(url_of(server), proxy=False):
                pass
    assert kept.has("the app failed at GET /ws")
    assert kept.has("refused the WebSocket at")
    assert others.messages == []


async def test_a_dialer_has_its_own(others: Kept) -> None:
    kept = Kept("kept")

    async def serve(websocket: Any) -> None:
        dialer.stop()

    async def receive_all(websocket: Any) -> None:
        async for _ in websocket:
            pass

    async with listening(Endpoint(receive_all), logger=Kept("other").logger) as server:
        dialer = Dialer(url_of(server), serve, proxy=False, logger=kept.logger)
        await dialer.run()
    assert kept.has("connected to ws://")
    assert kept.parts() == {"websockets"}
    failing = Dialer(
        "ws://127.0.0.1:9/", serve, reconnect=Reconnect(initial=0.01, tries=2), logger=kept.logger
    )
    with pytest.raises(HandshakeError):
        await failing.run()
    assert kept.has("127.0.0.1:9")
    assert others.messages == []


# --- one line, as it was ------------------------------------------------------------------------


def test_a_plain_logger_still_does_for_a_limit_log() -> None:
    stream = io.StringIO()
    kept = Kept("kept")
    kept.logger.addHandler(logging.StreamHandler(stream))
    LimitLog(kept.logger).note("kind", "a %s", "line")
    assert stream.getvalue() == "a line\n"
