"""Instruments are told of calls, and those that trace open a span for each."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from restsock import Instrument
from restsock.gateway import Measure, Message, Reply, Trace
from restsock.instruments.opentelemetry import OpenTelemetryInstrument
from restsock.instruments.prometheus import PrometheusInstrument
from tests.gateway.middleware.calls import Backend, hang, may_have_run, message, not_run, parts
from tests.instruments.recorder import Broken, Recorder

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# --- measure ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome", "status"),
    [
        ("fine", "answered", 200),
        (Reply("no", 404), "failed", 404),
        (not_run(429), "failed", 429),
        (ZeroDivisionError(), "failed", 500),
    ],
)
async def test_each_call_is_told_with_its_outcome_and_its_time(
    autojump_clock: object, answer: Any, outcome: str, status: int
) -> None:
    recorder = Recorder()
    measure = Measure(recorder, channel="shop", keys=["quotes.*"])
    try:
        await measure(message(), Backend(answer, takes=2))
    except Exception as exc:  # noqa: BLE001  # the answer may be any
        assert exc is answer  # noqa: PT017
    assert recorder.all("call_opened") == [("shop", "quotes.*")]
    assert recorder.all("call_closed") == [("shop", "quotes.*", outcome, status, 2)]


async def test_whoever_leaves_has_cancelled_it(autojump_clock: object) -> None:
    recorder = Recorder()
    with trio.move_on_after(3):
        await Measure(recorder)(message(), hang)
    assert recorder.all("call_closed") == [("gateway", "other", "cancelled", 0, 3)]


async def test_a_stream_is_over_with_its_last_part(autojump_clock: object) -> None:
    recorder = Recorder()
    backend = Backend(lambda _: Reply("last", parts=parts("one", "two", each=1)))
    reply = await Measure(recorder)(message(), backend)
    assert recorder.all("call_closed") == []
    assert reply.parts is not None
    assert [part async for part in reply.parts] == ["one", "two"]
    assert recorder.all("call_closed") == [("gateway", "other", "answered", 200, 2)]


async def test_a_stream_that_breaks_off_has_failed(autojump_clock: object) -> None:
    recorder = Recorder()
    backend = Backend(lambda _: Reply("last", parts=parts("one", error=may_have_run())))
    reply = await Measure(recorder)(message(), backend)
    assert reply.parts is not None
    with pytest.raises(type(may_have_run())):
        assert [part async for part in reply.parts]
    assert recorder.all("call_closed") == [("gateway", "other", "failed", 503, 0)]


async def test_a_key_that_was_not_listed_is_no_label(autojump_clock: object) -> None:
    registry = CollectorRegistry()
    measure = Measure(PrometheusInstrument(registry=registry), keys="quotes.*")
    for number in range(50):
        await measure(message(f"hostile-{number}"), Backend())
    await measure(message("quotes.get"), Backend(Reply("no", 503)))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(
            f"restsock_gateway_measured_{name}", {"channel": "gateway", **labels}
        )

    assert value("calls_total", key="other", outcome="answered", status="2xx") == 50
    assert value("calls_total", key="quotes.*", outcome="failed", status="5xx") == 1
    assert value("call_seconds_count", key="other") == 50
    assert value("calls_in_flight", key="other") == 0
    name = "restsock_gateway_measured_calls"
    families = [each for each in registry.collect() if each.name == name]
    assert len([each for each in families[0].samples if each.name.endswith("_total")]) == 2


async def test_an_instrument_that_fails_is_in_nobodys_way(autojump_clock: object) -> None:
    recorder = Recorder()
    measure = Measure([Broken(), recorder])
    assert (await measure(message(), Backend())).body == "fine"
    assert len(recorder.all("call_closed")) == 1


@pytest.mark.parametrize("middleware", [Measure, Trace])
@pytest.mark.parametrize("what", ["prometheus", 7, [], [object()]])
def test_what_is_no_instrument(middleware: Any, what: Any) -> None:
    with pytest.raises(TypeError, match=f"{middleware.__name__} needs an Instrument"):
        middleware(what)


# --- trace ------------------------------------------------------------------------------------


class Spans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.instrument = OpenTelemetryInstrument(tracer_provider=self.provider)

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()


async def test_a_span_is_the_clients_child_and_what_answers_is_its_child() -> None:
    spans = Spans()
    seen: list[Any] = []

    async def backend(asked: Message) -> Reply:
        seen.append((trace.get_current_span().get_span_context(), dict(asked.headers)))
        return Reply("fine")

    traced = Trace(spans.instrument, channel="shop", keys=["quotes.*"])
    asked = message(headers={"traceparent": PARENT, "accept": "text/plain"})
    before = trace.get_current_span()
    await traced(asked, backend)
    (span,) = spans.finished
    assert (span.name, span.kind) == ("shop quotes.*", SpanKind.SERVER)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    (context, headers), *_ = seen
    assert context.span_id == span.context.span_id
    assert headers["accept"] == "text/plain"
    assert f"{span.context.span_id:016x}" in headers["traceparent"]
    assert asked.headers["traceparent"] == PARENT
    assert trace.get_current_span() is before


@pytest.mark.parametrize(
    ("answer", "code", "kind"),
    [
        ("fine", StatusCode.UNSET, None),
        (Reply("no", 404), StatusCode.UNSET, None),
        (Reply("no", 502), StatusCode.ERROR, "502"),
        (not_run(429), StatusCode.UNSET, "CallFailed"),
        (may_have_run(504), StatusCode.ERROR, "CallFailed"),
        (ZeroDivisionError("secret"), StatusCode.ERROR, "ZeroDivisionError"),
    ],
)
async def test_errors_are_recorded(answer: Any, code: StatusCode, kind: str | None) -> None:
    spans = Spans()
    try:
        await Trace(spans.instrument)(message(), Backend(answer))
    except Exception as exc:  # noqa: BLE001  # the answer may be any
        assert exc is answer  # noqa: PT017
    (span,) = spans.finished
    assert span.status.status_code is code
    assert span.attributes is not None
    assert span.attributes.get("error.type") == kind
    assert [each.name for each in span.events] == ["exception"] * isinstance(answer, Exception)
    assert "secret" not in span.to_json()


async def test_a_call_that_its_client_has_left_ends_its_span(autojump_clock: object) -> None:
    spans = Spans()
    with trio.move_on_after(1):
        await Trace(spans.instrument)(message(), hang)
    (span,) = spans.finished
    assert span.attributes is not None
    assert span.attributes["error.type"] == "Cancelled"
    assert "restsock.gateway.status" not in span.attributes


async def test_without_an_instrument_it_is_that_of_opentelemetry() -> None:
    assert (await Trace()(message(), Backend())).body == "fine"


def test_one_that_does_not_trace_is_said_at_once() -> None:
    with pytest.raises(TypeError, match="Instrument has no call_begun"):
        Trace(Instrument())


def test_without_opentelemetry_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "restsock.instruments.opentelemetry")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'restsock\[opentelemetry\]'"):
        Trace()
