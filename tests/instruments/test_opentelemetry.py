"""A trace goes through the tunnel: whoever calls, whatever serves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
import requests
import trio
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import restsock
import restsock.sync
from restsock import Request, Response
from restsock.instruments.opentelemetry import OpenTelemetryInstrument
from restsock.protocol import RequestHead
from restsock.testing import connected_pair
from tests.plain_client import dial
from tests.waiting import until


class Traces:
    """A provider whose spans can be looked at, and an instrument that uses it."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")
        options.setdefault("propagator", TraceContextTextMapPropagator())
        self.instrument = OpenTelemetryInstrument(tracer_provider=self.provider, **options)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def traces() -> Iterator[Traces]:
    found = Traces()
    yield found
    found.provider.shutdown()


def child_of(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return (
        child.parent is not None
        and child.parent.span_id == parent.context.span_id
        and child.context.trace_id == parent.context.trace_id
    )


# --- what serves --------------------------------------------------------------------------


def apps(tracer: trace.Tracer) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Each opens a span "inside" and answers 200."""

    async def function(request: Request) -> Response:
        with tracer.start_as_current_span("inside"):
            await trio.lowlevel.checkpoint()
        return Response(200)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        with tracer.start_as_current_span("inside"):
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def on_asyncio(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await asgi(scope, receive, send)

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with tracer.start_as_current_span("inside"):
            start_response("200 OK", [])
        return [b""]

    return {
        "function": (function, {"interface": "function"}),
        "asgi": (asgi, {"interface": "asgi", "loop": "trio"}),
        "asyncio": (on_asyncio, {"interface": "asgi", "loop": "asyncio"}),
        "wsgi": (wsgi, {"interface": "wsgi"}),
    }


@pytest.mark.parametrize("kind", ["function", "asgi", "asyncio", "wsgi"])
async def test_a_trace_goes_from_the_caller_into_the_app(kind: str, traces: Traces) -> None:
    app, options = apps(traces.tracer)[kind]
    instrument = traces.instrument
    async with restsock.listen("127.0.0.1", 0, app=app, instrument=instrument, **options) as server:
        async with restsock.connect(server.url, name="edge-1", instrument=instrument) as client:
            with traces.tracer.start_as_current_span("caller"):
                response = await client.request("GET", "/pets?token=SECRET")
            assert response.status == 200
            assert client.connection is not None
            id = client.connection.id
    caller, serving, inside = traces.one("caller"), traces.one("GET"), traces.one("inside")
    assert child_of(serving, caller)
    assert child_of(inside, serving)
    assert serving.kind is SpanKind.SERVER
    assert serving.parent is not None
    assert serving.parent.is_remote
    assert serving.status.status_code is StatusCode.UNSET
    attributes = dict(serving.attributes or {})
    port = attributes.pop("network.peer.port")
    assert isinstance(port, int)
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": "/pets",
        "server.address": "127.0.0.1",
        "server.port": server.address[1],
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "restsock.connection.id": id,
        "restsock.connection.name": "edge-1",
    }


async def test_a_websocket_of_the_app_is_a_span_too(traces: Traces) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    async with connected_pair(
        app_b=echo, interface_b="asgi", loop_b="trio", instrument_b=traces.instrument
    ) as pair:
        headers = {
            "Connection": "upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        async with pair.dialer.stream("GET", "/ws", headers=headers) as response:
            assert response.status == 101
            response.send_end()
            await response.read()
        await until(lambda: traces.named("GET"))
    assert (traces.one("GET").attributes or {})["http.response.status_code"] == 101


async def test_requests_at_once_keep_to_their_own_trace(traces: Traces) -> None:
    async def app(request: Request) -> Response:
        with traces.tracer.start_as_current_span(f"inside {request.path}"):
            await trio.sleep(0.01)
        return Response(200)

    instrument = traces.instrument
    async with connected_pair(app_b=app, instrument_a=instrument, instrument_b=instrument) as pair:

        async def ask(number: int) -> None:
            with traces.tracer.start_as_current_span(f"caller /{number}"):
                await pair.dialer.request("GET", f"/{number}")

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
    for number in range(10):
        caller, inside = traces.one(f"caller /{number}"), traces.one(f"inside /{number}")
        assert inside.context.trace_id == caller.context.trace_id
    assert len({span.context.trace_id for span in traces.exporter.get_finished_spans()}) == 10


# --- who calls ----------------------------------------------------------------------------


async def where_from(request: Request) -> Response:
    return Response(200, body=request.header("traceparent") or "none")


def traceparent(span: trace.Span) -> str:
    found = span.get_span_context()
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def test_every_blocking_way_to_call_carries_the_current_span(traces: Traces) -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0, app=where_from) as server,
        restsock.sync.connect(server.url, instrument=traces.instrument) as client,
        requests.Session() as session,
        httpx.Client(transport=client.transport()) as http,
    ):
        session.mount("http://peer/", client.adapter())
        ways: list[Callable[[], str]] = [
            lambda: session.get("http://peer/", timeout=10).text,
            lambda: session.post("http://peer/", data=iter([b"a", b"b"]), timeout=10).text,
            lambda: str(http.get("http://peer/").text),
            lambda: str(client.request("GET", "/", timeout=10).content, "ascii"),
        ]
        for way in ways:
            with traces.tracer.start_as_current_span("caller") as span:
                assert way() == traceparent(span)
            assert way() == "none"  # outside of any span


async def test_every_async_way_to_call_carries_the_current_span(traces: Traces) -> None:
    async with restsock.listen(
        "127.0.0.1", 0, app=where_from, instrument=traces.instrument
    ) as server:
        async with restsock.connect(server.url, name="edge-1", app=where_from) as client:
            await until(lambda: server.connections.by_name("edge-1"))
            async with httpx.AsyncClient(transport=server.transport("edge-1")) as http:
                with traces.tracer.start_as_current_span("caller") as span:
                    wanted = traceparent(span)
                    assert (await http.get("http://edge-1/")).text == wanted
                    response = await server.request("edge-1", "GET", "/")
                    assert response.content.decode() == wanted
                    response = await next(iter(server.connections)).request("GET", "/")
                    assert response.content.decode() == wanted
                    async with server.route("edge-1").stream("GET", "/") as streamed:
                        assert (await streamed.read()).decode() == wanted

                    def ask() -> str:
                        with requests.Session() as session:
                            session.mount("http://edge-1/", server.adapter("edge-1"))
                            return session.get("http://edge-1/", timeout=10).text

                    # trio hands the context on to the thread.
                    assert await trio.to_thread.run_sync(ask) == wanted
            # The client was given no instrument.
            with traces.tracer.start_as_current_span("caller"):
                response = await client.request("GET", "/")
            assert response.content == b"none"


async def test_a_traceparent_that_is_there_stays(traces: Traces) -> None:
    mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with connected_pair(app_b=where_from, instrument_a=traces.instrument) as pair:
        with traces.tracer.start_as_current_span("caller"):
            response = await pair.dialer.request("GET", "/", headers={"Traceparent": mine})
    assert response.content.decode() == mine


async def test_there_is_one_traceparent(traces: Traces) -> None:
    async def app(request: Request) -> Response:
        found = [value for name, value in request.headers if name.lower() == b"traceparent"]
        return Response(200, body=str(len(found)))

    async with connected_pair(app_b=app, instrument_a=traces.instrument) as pair:
        with traces.tracer.start_as_current_span("caller"):
            for headers in ({}, {"TraceParent": "00-1-2-01"}):
                response = await pair.dialer.request("GET", "/", headers=headers)
                assert response.content == b"1"


async def test_the_span_before_is_the_current_one_again(traces: Traces) -> None:
    head = RequestHead(b"GET", b"/", [(b"Host", b"a")])
    async with connected_pair() as (dialer, _):
        with traces.tracer.start_as_current_span("outer") as outer:
            token = traces.instrument.serving_begun(dialer, head)
            assert trace.get_current_span() is not outer
            traces.instrument.serving_ended(token, 200)
            assert trace.get_current_span() is outer


async def test_baggage_and_state_go_along_where_the_propagator_carries_them() -> None:
    propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    traces = Traces(propagator=propagator)
    seen: list[Any] = []

    async def app(request: Request) -> Response:
        seen.append(baggage.get_baggage("tenant"))
        seen.append(trace.get_current_span().get_span_context().trace_state.get("vendor"))
        return Response(200)

    instrument = traces.instrument
    async with connected_pair(app_b=app, instrument_a=instrument, instrument_b=instrument) as pair:
        token = context.attach(baggage.set_baggage("tenant", "blue"))
        try:
            state = [("tracestate", "vendor=1"), ("tracestate", "other=2")]
            mine = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            await pair.dialer.request("GET", "/", headers=[mine, *state])
        finally:
            context.detach(token)
    assert seen == ["blue", "1"]


# --- what is recorded ---------------------------------------------------------------------


async def answering(request: Request) -> Response:
    if request.path == "/fail":
        raise ZeroDivisionError
    return Response(int(request.path[1:]))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/204", 204, StatusCode.UNSET),
        ("/404", 404, StatusCode.UNSET),
        ("/503", 503, StatusCode.ERROR),
        ("/fail", 500, StatusCode.ERROR),
    ],
)
async def test_the_status_of_the_span(
    path: str, status: int, code: StatusCode, traces: Traces
) -> None:
    async with connected_pair(app_b=answering, instrument_b=traces.instrument) as pair:
        await pair.dialer.request("GET", path)
    span = traces.one("GET")
    attributes = span.attributes or {}
    assert attributes["http.response.status_code"] == status
    assert attributes.get("error.type") == (str(status) if code is StatusCode.ERROR else None)
    assert span.status.status_code is code
    assert span.parent is None, "the caller had no trace"


async def test_a_request_that_is_left_ends_its_span(traces: Traces) -> None:
    async def app(request: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    async with connected_pair(app_b=app, instrument_b=traces.instrument) as pair:
        with pytest.raises(restsock.RequestTimeout):
            await pair.dialer.request("GET", "/", timeout=0.05)
    assert "http.response.status_code" not in (traces.one("GET").attributes or {})


async def test_words_of_the_peer_do_not_name_spans(traces: Traces) -> None:
    async with connected_pair(app_b=where_from, instrument_b=traces.instrument) as pair:
        headers = {"Host": "[::1]:8080", "User-Agent": "curl/8"}
        await pair.dialer.request("BREW", "/pot", headers=headers)
    attributes = traces.one("HTTP").attributes or {}
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"
    assert (attributes["server.address"], attributes["server.port"]) == ("::1", 8080)
    assert attributes["user_agent.original"] == "curl/8"


async def test_a_query_is_recorded_only_if_asked_for() -> None:
    for query in (False, True):
        traces = Traces(query=query)
        async with connected_pair(app_b=where_from, instrument_b=traces.instrument) as pair:
            await pair.dialer.request("GET", "/?a=b")
        assert (traces.one("GET").attributes or {}).get("url.query") == ("a=b" if query else None)


@pytest.mark.parametrize("value", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", ";;;"])
async def test_a_malformed_parent_is_no_parent(value: str, traces: Traces) -> None:
    async with connected_pair(app_b=where_from, instrument_b=traces.instrument) as pair:
        response = await pair.dialer.request("GET", "/", headers={"traceparent": value})
    assert response.status == 200
    assert traces.one("GET").parent is None


async def test_the_context_of_a_worker_is_clean_behind_a_request(traces: Traces) -> None:
    seen: list[bool] = []

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        parent = trace.get_current_span().get_span_context()
        seen.append(parent.is_valid)
        start_response("200 OK", [])
        return [b""]

    async with connected_pair(
        app_b=wsgi, interface_b="wsgi", instrument_b=traces.instrument, workers=1
    ) as pair:
        for _ in range(2):
            await pair.dialer.request("GET", "/")
    assert seen == [True, True]
    assert len({span.context.trace_id for span in traces.named("GET")}) == 2


def test_without_an_sdk_it_does_nothing() -> None:
    program = """
import sys, trio, restsock
from restsock import Request, Response
from restsock.instruments.opentelemetry import OpenTelemetryInstrument
from restsock.testing import connected_pair

async def app(request):
    return Response(200, body=request.header("traceparent") or "none")

async def main():
    one = OpenTelemetryInstrument()
    async with connected_pair(app_b=app, instrument_a=one, instrument_b=one) as pair:
        response = await pair.dialer.request("GET", "/")
        assert response.content == b"none", response.content
    assert "opentelemetry.sdk" not in sys.modules

trio.run(main)
print("fine")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


async def test_a_client_of_plain_http(traces: Traces) -> None:
    with traces.tracer.start_as_current_span("outside"):
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
    async with restsock.listen(
        "127.0.0.1", 0, endpoints={"/hooks": noticing(traces.tracer)}, instrument=traces.instrument
    ) as server:
        async with dial(server) as client:
            field = f"traceparent: {carrier['traceparent']}"
            assert (await client.get("/hooks/x", field))[0] == 200
        await until(lambda: traces.named("GET"))
    served = traces.one("GET")
    assert child_of(served, traces.one("outside"))
    assert child_of(traces.one("inside"), served)
    assert served.attributes is not None
    assert served.attributes["url.path"] == "/hooks/x"
    assert served.attributes["http.response.status_code"] == 200
    assert "restsock.connection.name" not in served.attributes


def noticing(tracer: trace.Tracer) -> Callable[[Request], Awaitable[Response]]:
    async def function(request: Request) -> Response:
        with tracer.start_as_current_span("inside"):
            return Response(200)

    return function
