"""Traces, and metrics of messages, with OpenTelemetry.

They need opentelemetry-api: `pip install 'restsock[opentelemetry]'`.

A trace continues through the tunnel: the caller's current span becomes the parent of a span around
the peer's app. Attribute names are those of the stable semantic conventions for HTTP (1.23 and
later). Without a configured SDK, this does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from restsock._addresses import host_and_port
from restsock.connection import Instrument

from ._opentelemetry_messaging import MessagingMetrics

if TYPE_CHECKING:
    from opentelemetry.propagators.textmap import TextMapPropagator

    from restsock.connection import Connection
    from restsock.protocol import Headers, RequestHead

__all__ = ["MessagingMetrics", "OpenTelemetryInstrument"]

_SCHEMA = "https://opentelemetry.io/schemas/1.23.0"

# The conventions call others `_OTHER`: peers choose the method, and it is part of the span's name.
_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)


class OpenTelemetryInstrument(Instrument):
    """Propagates the trace context with requests, and opens a span around each call of an app.

        from restsock.instruments.opentelemetry import OpenTelemetryInstrument

        restsock.connect(url, app=app, instrument=OpenTelemetryInstrument())
        restsock.listen(host, port, instrument=OpenTelemetryInstrument())

    On the calling side the context of the current span (and baggage, if the propagator has it) is
    added to the header of each request, however it is made: `requests`, httpx, `client.request`.
    Fields that the request already has are kept. So this works together with instrumentations of
    `requests` or httpx, which also open a span for the call.

    On the serving side a span of kind SERVER, a child of the caller's span, is current in the task
    or thread that runs the app: on trio, on asyncio, in the threads of WSGI.

    Args:
        tracer_provider: Makes the spans; by default the global one.
        propagator: Reads and writes the header fields; by default the global one. That one accepts
            the trace id and the baggage of the peer: if peers are not trusted, use one without
            baggage (`TraceContextTextMapPropagator()`).
        query: Whether `url.query` is recorded; a query may contain secrets.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        propagator: TextMapPropagator | None = None,
        query: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer(
            "restsock", tracer_provider=tracer_provider, schema_url=_SCHEMA
        )
        self._propagator = propagator
        self._query = query

    def request_fields(self, head: RequestHead) -> Headers:
        """The fields with the caller's context, except those that the request already has."""
        carrier: dict[str, str] = {}
        self._carrying().inject(carrier)
        if not carrier:
            return ()
        present = {name.lower() for name, _ in head.headers}
        fields = ((name.encode("ascii"), value.encode("ascii")) for name, value in carrier.items())
        return [(name, value) for name, value in fields if name.lower() not in present]

    def serving_begun(self, connection: Connection, head: RequestHead) -> tuple[Span, Token[Any]]:
        """Opens the span and makes it current."""
        method = head.method.decode("ascii")
        known = method in _METHODS
        parent = self._carrying().extract(_carrier_of(head.headers))
        span = self._tracer.start_span(
            method if known else "HTTP", context=parent, kind=SpanKind.SERVER
        )
        if span.is_recording():
            if not known:
                span.set_attribute("http.request.method_original", method)
            span.set_attribute("http.request.method", method if known else "_OTHER")
            span.set_attributes(self._describe(connection, head))
        return span, context.attach(trace.set_span_in_context(span, parent))

    def serving_ended(self, token: tuple[Span, Token[Any]], status: int) -> None:
        """Ends the span; makes the previous one current again."""
        span, attached = token
        context.detach(attached)
        if status:
            span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def call_begun(
        self, channel: str, key: str, fields: Mapping[str, str]
    ) -> tuple[Span, Token[Any]]:
        """Opens the span of a gateway's call, and makes it current."""
        parent = self._carrying().extract(dict(fields))
        attributes = {"restsock.gateway.channel": channel, "restsock.gateway.key": key}
        span = self._tracer.start_span(
            *(f"{channel} {key}", parent, SpanKind.SERVER), attributes=attributes
        )
        return span, context.attach(trace.set_span_in_context(span, parent))

    def call_fields(self) -> Mapping[str, str]:
        """The fields with the context of the call's span."""
        carrier: dict[str, str] = {}
        self._carrying().inject(carrier)
        return {name.lower(): value for name, value in carrier.items()}

    def call_ended(
        self, token: tuple[Span, Token[Any]], status: int, error: BaseException | None
    ) -> None:
        """Ends the span, with the error, if any; makes the previous one current again."""
        span, attached = token
        context.detach(attached)
        if status:
            span.set_attribute("restsock.gateway.status", status)
        if error is not None:
            # Its message may contain a secret.
            span.set_attribute("error.type", type(error).__qualname__)
            span.add_event("exception", {"exception.type": type(error).__qualname__})
        elif status >= 500:
            span.set_attribute("error.type", str(status))
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _carrying(self) -> TextMapPropagator:
        return propagate.get_global_textmap() if self._propagator is None else self._propagator

    def _describe(self, connection: Connection, head: RequestHead) -> dict[str, str | int]:
        peer = connection.peer
        path, question, query = head.target.partition(b"?")
        attributes: dict[str, str | int] = {
            "url.scheme": peer.scheme_of(head),
            "url.path": path.decode("latin-1"),
            "network.protocol.name": "http",
            "network.protocol.version": "1.1",
            "restsock.connection.id": connection.id,
        }
        if peer.host:  # otherwise it is a Unix socket
            attributes["network.peer.address"] = attributes["client.address"] = peer.host
        if peer.port:
            attributes["network.peer.port"] = peer.port
        if question and self._query:
            attributes["url.query"] = query.decode("latin-1")
        if connection.name is not None:
            attributes["restsock.connection.name"] = connection.name
        for name, value in head.headers:
            lower = name.lower()
            if lower == b"host":
                host, port = host_and_port(value.decode("latin-1"))
                attributes["server.address"] = host.strip("[]")
                if port is not None:
                    attributes["server.port"] = port
            elif lower == b"user-agent":
                attributes["user_agent.original"] = value.decode("latin-1")
        return attributes


def _carrier_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by name in lower case; repeated ones are joined (RFC 9110, section 5.3)."""
    carrier: dict[str, str] = {}
    for name, value in headers:
        key = name.lower().decode("latin-1")
        text = value.decode("latin-1")
        carrier[key] = f"{carrier[key]},{text}" if key in carrier else text
    return carrier
