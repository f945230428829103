"""The client's role in HTTP/1.1, without I/O: for requests that are forwarded to a server.

What is plain takes a short cut (`_plain_exchange`). Else h11 reads and writes; what it gets, and
what is taken from it, is rebuilt by the rules of heads that cross the tunnel: no hop-by-hop field
passes either way, and a message is framed either by its Content-Length or by chunks, never by both.

::

    send_request ── send_data* ── send_end          (only `send_end` for a request without body)
    receive_data ── next_event: 1xx heads*, head, data*, end       or: 1xx heads*, 101, raw bytes
    reusable ── restart ── send_request ...

Both rows go on at the same time: a server may answer before it has read the whole request.
"""

from __future__ import annotations

from typing import TypeAlias

import h11

from restsock._exceptions import LocalProtocolError, RemoteProtocolError
from restsock.protocol import (
    DataReceived,
    EndReceived,
    Headers,
    PlainHead,
    RequestHead,
    ResponseHead,
    ResponseReceived,
    connection_options,
    content_length,
    end_to_end,
    request_problem,
)

from ._plain_exchange import NotPlainError, PlainExchange
from ._trailers import allowed_trailers

__all__ = ["Upstream", "UpstreamEvent"]

UpstreamEvent: TypeAlias = ResponseReceived | DataReceived | EndReceived

# There is one exchange at a time; the events are those of a multiplexer all the same.
_STREAM = 0


class Upstream:
    """One connection to a server, seen from its client.

    Any exception but the two of its methods is a bug.

    Args:
        max_head: bytes of the longest response head, and of the longest trailers.

    Attributes:
        answered: whether a byte of the response to the present request has come.
        switched: whether a 101 has come; what comes and goes then is not HTTP any more.
        chunked: whether the response comes in chunks, as its head says.
        unbounded: whether nothing but the end of the connection ends the response.
    """

    def __init__(self, *, max_head: int) -> None:
        self._max_head = max_head
        self._plain: PlainExchange | None = None  # or it is for h11
        self._http = self._new_http()
        self._chunked = False
        self._named: frozenset[bytes] = frozenset()  # by the response's Connection: for this hop
        self._bodiless = False  # whether the response has none whatever its head says
        self.answered = False
        self.switched = False
        self.chunked = False
        self.unbounded = False

    @property
    def trailing_data(self) -> bytes:
        """What came after the head of a 101: the first of the raw bytes."""
        return self._http.trailing_data[0] if self._plain is None else self._plain.received

    def _new_http(self) -> h11.Connection:
        return h11.Connection(h11.CLIENT, max_incomplete_event_size=self._max_head)

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: both messages are complete, and nothing else came.

        Bytes after a response, which were not asked for, would be taken for the next response. So
        it never is after a HEAD: there are servers that send the body all the same, a bit later.
        """
        if self._plain is not None:
            return self._plain.reusable
        http = self._http
        done = http.our_state is h11.DONE and http.their_state is h11.DONE
        return done and not self._bodiless and not http.trailing_data[0]

    def restart(self) -> None:
        """Gets ready for the next request. Only while `reusable`."""
        if self._plain is None:
            self._http = self._new_http()
        self._plain = None
        self.answered = False

    # --- out ------------------------------------------------------------------------------

    def send_request(
        self, head: RequestHead, *, body: bool, plain: PlainHead | None = None
    ) -> bytes:
        """Returns the bytes of a request head.

        Args:
            head: its hop-by-hop fields are left out, but for a wish to upgrade.
            body: whether a body may follow; it goes in chunks unless the head tells its length.
            plain: the same head, if it was found to be plain.

        Raises:
            LocalProtocolError: the head cannot be sent.
        """
        short = PlainExchange.begin(head, body=body, max_head=self._max_head, plain=plain)
        if short is not None:
            self._plain, data = short
            self._bodiless = self._chunked = False
            self._named = frozenset()
            return data
        fields = end_to_end(head.headers, upgradable=True)
        head = head._replace(headers=fields)
        problem = request_problem(head)
        if problem:
            raise LocalProtocolError(f"not a valid request head: {problem}")
        self._bodiless = head.method == b"HEAD"
        self._chunked = body and content_length(fields) is None and head.upgrade is None
        if self._chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        try:
            request = h11.Request(method=head.method, target=head.target, headers=fields)
            return self._http.send(request) or b""
        except h11.LocalProtocolError:
            # Not in h11's words, here and below: they quote fields, which may hold secrets.
            raise LocalProtocolError("not a valid request head") from None

    def send_data(self, data: bytes) -> bytes:
        """Returns the bytes of a piece of the body.

        Raises:
            LocalProtocolError: it is longer than its Content-Length.
        """
        if self._plain is not None:
            return self._plain.send_data(data)
        try:
            return self._http.send(h11.Data(data=data)) or b""
        except h11.LocalProtocolError:
            raise LocalProtocolError("a body that does not fit its head") from None

    def send_end(self, trailers: Headers = ()) -> bytes:
        """Returns the bytes that complete the request.

        Args:
            trailers: are left out where HTTP/1.1 has no place for them: after a body that is not
                in chunks (RFC 9110, section 6.5.1 allows that).

        Raises:
            LocalProtocolError: the body is shorter than its Content-Length, or a trailer malformed.
        """
        if self._plain is not None:
            self._plain.send_end()
            return b""
        fields = allowed_trailers(trailers) if self._chunked else []
        try:
            return self._http.send(h11.EndOfMessage(headers=fields)) or b""
        except h11.LocalProtocolError:
            raise LocalProtocolError("a body or trailers that do not fit the head") from None

    # --- in -------------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes of the server; empty ones say that it has closed."""
        self.answered = self.answered or bool(data)
        if self._plain is not None:
            self._plain.receive_data(data)
            return
        try:
            self._http.receive_data(data)
        except RuntimeError:
            # h11 says so when bytes come after their end, which a socket does not do.
            raise RemoteProtocolError("bytes after the end of the connection") from None

    def next_event(self) -> UpstreamEvent | None:
        """Returns what has come; `None` when it takes more bytes, or nothing more will come.

        Raises:
            RemoteProtocolError: what came is not an HTTP/1.1 response, or it has broken off.
        """
        if self._plain is not None:
            try:
                return self._plain.next_event()
            except NotPlainError:
                self._http = self._plain.for_h11()
                self._plain = None
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            raise RemoteProtocolError(self._problem()) from None
        if isinstance(event, h11.Data):
            return DataReceived(_STREAM, bytes(event.data))
        if isinstance(event, (h11.Response, h11.InformationalResponse)):
            return self._response(event)
        if isinstance(event, h11.EndOfMessage):
            trailers = allowed_trailers(event.headers.raw_items(), self._named)
            return EndReceived(_STREAM, trailers)
        return None

    def _response(self, event: h11.Response | h11.InformationalResponse) -> ResponseReceived:
        status = event.status_code
        self.switched = status == 101
        if self.switched and event.http_version != b"1.1":
            raise RemoteProtocolError("an upgrade in HTTP/1.0, which has none")
        fields = event.headers.raw_items()
        self._named = connection_options(fields)
        fields = end_to_end(fields, upgradable=self.switched)
        # Chunks override a length (RFC 9112, section 6.3), and 1xx and 204 have none (RFC 9110,
        # section 8.6): passed on, it would be a promise that the body does not keep.
        chunked = self.chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
        bodiless = self._bodiless or status < 200 or status in (204, 304)
        self.unbounded = not (chunked or bodiless or content_length(fields) is not None)
        if chunked or status < 200 or status == 204:
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        return ResponseReceived(_STREAM, ResponseHead(status, fields, bytes(event.reason)))

    def _problem(self) -> str:
        if not self.answered:
            return "the server closed the connection without an answer"
        if self._http.their_state is h11.ERROR and self._http.trailing_data[1]:
            return "the server closed the connection in the middle of its response"
        return "the server's response is not valid HTTP/1.1"
