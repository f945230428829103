"""The WebSocket opening handshake, without I/O (RFC 6455, section 4; spec, "Upgrade").

h11 reads and writes the HTTP; wsproto checks what a client asks for and computes the accept key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import h11
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError as WebSocketProtocolError
from wsproto.utilities import generate_accept_token

from restsock._exceptions import HandshakeError, LocalProtocolError

from ._events import Headers
from ._fields import TOKEN, elements_of, reserved_in_upgrade, values_of
from ._heads import is_clean_head

__all__ = [
    "SUBPROTOCOL",
    "ClientUpgrade",
    "ServerUpgrade",
    "UpgradeRequest",
    "generate_accept_token",
    "websocket_key",
]

SUBPROTOCOL = "restsock.v1"

# Room for long tokens and cookies of proxies on the way, no more.
MAX_UPGRADE_HEAD = 16 * 1024
# Each costs many times its bytes once it is parsed, and a stranger sends them.
MAX_UPGRADE_FIELDS = 256
# What is kept of a refusal's body, for the error text.
MAX_REFUSAL = 1024

_WHAT_THIS_IS = (
    "This is a restsock listener. It carries HTTP over WebSocket connections that speak the "
    f'subprotocol "{SUBPROTOCOL}", and answers nothing else.\n'
)

# What a listener says of an upgrade that something on the way may have spoilt; all its other
# refusals that do not pass are about who dials.
_SPOILT = frozenset((400, 426, 431))
# What other servers answer to an upgrade that means nothing to them, besides 200 to 399.
_ELSEWHERE = frozenset((404, 405, 410, 501))
# The first byte of a record of TLS: an alert, or a handshake.
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")

# Refusals that may pass: the listener is busy, or something in front of it is.
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class UpgradeRequest:
    """What a dialer asked for: the HTTP request that wants to become a WebSocket."""

    target: bytes = field(repr=False)  # both may hold secrets
    headers: Headers = field(repr=False)


class ClientUpgrade:
    """The dialer's side.

    Order of calls: send `request`; `receive_data()` until it gives True; then `trailing_data` holds
    the first bytes of the WebSocket.

    Args:
        host: the Host field.
        target: path and query.
        headers: further fields.
        key: 16 random bytes.
        tls: whether it goes through TLS; without, errors may advise it.
        subprotocol: the one to ask for; `None` asks for none.
        whom: what is dialed, for errors.

    Raises:
        LocalProtocolError: a field is malformed or one that the upgrade itself sets.
    """

    def __init__(
        self,
        *,
        host: str,
        target: str,
        headers: Headers,
        key: bytes,
        tls: bool = False,
        subprotocol: str | None = SUBPROTOCOL,
        whom: str = "restsock listener",
    ) -> None:
        for name, _ in headers:
            if reserved_in_upgrade(name):
                raise LocalProtocolError(f"the upgrade sets {name.decode('latin-1')} itself")
        encoded = base64.b64encode(key)
        self._accept = generate_accept_token(encoded)
        self._subprotocols = [] if subprotocol is None else [subprotocol.encode()]
        self._whom = whom
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_UPGRADE_HEAD)
        try:
            fields = [
                (b"Host", host.encode("ascii")),
                (b"Upgrade", b"websocket"),
                (b"Connection", b"Upgrade"),
                (b"Sec-WebSocket-Key", encoded),
                (b"Sec-WebSocket-Version", b"13"),
                *((b"Sec-WebSocket-Protocol", name) for name in self._subprotocols),
                *headers,
            ]
            request = h11.Request(method=b"GET", target=target, headers=fields)
        except (h11.LocalProtocolError, UnicodeEncodeError):
            # Not in h11's words, and not from it: they quote the field, which may be a secret.
            problem = "a malformed Host, target or field"
            raise LocalProtocolError(f"not a valid upgrade request: {problem}") from None
        data = self._connection.send(request) + self._connection.send(h11.EndOfMessage())
        self.request: bytes = data
        self._received = b""  # of the head that is not complete yet
        self._refused: h11.Response | None = None
        self._refusal = b""
        hint = "" if tls else "; does it speak TLS? then use wss://"
        self._closed = f"the listener closed during the upgrade{hint}"

    @property
    def trailing_data(self) -> bytes:
        """What came after the head of the 101."""
        return self._connection.trailing_data[0]

    @property
    def refusal(self) -> tuple[Headers, bytes]:
        """The fields of the answer that has refused it, if there is one, and its body's begin."""
        headers = [] if self._refused is None else self._refused.headers.raw_items()
        return headers, self._refusal

    def receive_data(self, data: bytes) -> bool:
        """Takes in bytes of the answer; empty bytes say that the socket ended.

        Returns:
            Whether the upgrade is done.

        Raises:
            HandshakeError: it was refused, or the answer is not one to a WebSocket upgrade.
        """
        if self._refused is None:
            self._received += data
            if self._received[:2] in _TLS_RECORDS:
                raise HandshakeError("the listener speaks TLS: use wss://", retryable=False)
        try:
            self._connection.receive_data(data)
            while True:
                event = self._connection.next_event()
                if isinstance(event, h11.InformationalResponse):
                    head, self._received = _parted(self._received, self.trailing_data)
                    if event.status_code == 101:
                        self._check(event, head)
                        return True
                elif isinstance(event, h11.Response):
                    self._refused = event
                elif isinstance(event, h11.Data):
                    self._refusal = (self._refusal + bytes(event.data))[:MAX_REFUSAL]
                    if len(self._refusal) == MAX_REFUSAL:
                        raise self._refusal_error()
                elif isinstance(event, h11.EndOfMessage):
                    raise self._refusal_error()
                elif event is h11.NEED_DATA:
                    return False
                else:
                    raise HandshakeError(self._closed)
        except h11.RemoteProtocolError as exc:
            if self._refused is not None:
                raise self._refusal_error() from exc
            if not data:
                raise HandshakeError(self._closed) from exc
            # Not in h11's words, here and below: they quote lines, which may hold secrets.
            raise HandshakeError(
                f"not an HTTP answer: what is there is no {self._whom}", retryable=False
            ) from None

    def _check(self, response: h11.InformationalResponse, head: bytes) -> None:
        fields = response.headers.raw_items()
        problem = None
        if not is_clean_head(head):
            problem = "a folded field or a line end without CR"
        elif response.http_version != b"1.1":  # RFC 9110, section 7.8: before, there is no upgrade
            problem = "another version than HTTP/1.1"
        elif [value.lower() for value in elements_of(fields, b"upgrade")] != [b"websocket"]:
            problem = "no Upgrade: websocket"
        elif b"upgrade" not in [value.lower() for value in elements_of(fields, b"connection")]:
            problem = "no Connection: Upgrade"
        elif values_of(fields, b"sec-websocket-accept") != [self._accept]:
            problem = "a wrong Sec-WebSocket-Accept"
        elif values_of(fields, b"sec-websocket-protocol") != self._subprotocols:
            if not self._subprotocols:
                problem = "a subprotocol that was not offered"
            else:
                raise HandshakeError(
                    f"this is a WebSocket server, but no {self._whom} at this path: it does not"
                    f" speak the subprotocol {self._subprotocols[0].decode()}",
                    retryable=False,
                )
        elif values_of(fields, b"sec-websocket-extensions"):
            problem = "an extension that was not offered"
        if problem is not None:
            raise HandshakeError(f"the answer to the upgrade has {problem}", retryable=False)

    def _refusal_error(self) -> HandshakeError:
        assert self._refused is not None
        status = self._refused.status_code
        # A listener marks its answers; others come from whatever stands in its place.
        marked = (b"sec-websocket-protocol", SUBPROTOCOL.encode()) in self._refused.headers
        if not marked and (status < 400 or status in _ELSEWHERE):
            line = f"this is an HTTP server, but no {self._whom} at this path"
        else:
            line = self._first_line()
        message = f"the upgrade was refused with {status}" + (f": {line}" if line else "")
        return HandshakeError(
            message,
            status=status,
            retryable=status in _PASSING,
            by_listener=marked and status not in _PASSING | _SPOILT,
        )

    def _first_line(self) -> str:
        """What a refusal says, made printable: the text is the peer's, and ends up in logs."""
        assert self._refused is not None
        text = self._refusal.decode("utf-8", "replace").strip()
        if text.startswith("<"):  # a page for browsers
            text = self._refused.reason.decode("latin-1")
        return "".join(c if c.isprintable() else "?" for c in text.split("\n")[0][:200])


class ServerUpgrade:
    """The listener's side.

    Order of calls: `receive_data()` until it gives a request; then send `accept()`, after which
    `trailing_data` holds the first bytes of the WebSocket, or `refuse()`. When `receive_data()`
    raises, `data_to_send` holds the refusal.

    Args:
        subprotocol: the one that has to be offered, and is chosen; `None` chooses none.
    """

    def __init__(self, subprotocol: str | None = SUBPROTOCOL) -> None:
        self._subprotocol = subprotocol
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_UPGRADE_HEAD)
        self._handshake = H11Handshake(ConnectionType.SERVER)
        self._received = b""  # of the head, until it is complete
        self._head_only = False  # whether an answer has no body: the request's method is HEAD
        self.data_to_send = b""

    @property
    def trailing_data(self) -> bytes:
        """What came after the head of the request."""
        return self._connection.trailing_data[0]

    def receive_data(self, data: bytes) -> UpgradeRequest | None:
        """Takes in bytes of the request; empty bytes say that the socket ended.

        Returns:
            The request, once it is there and asks for what is spoken here.

        Raises:
            HandshakeError: it does not; `data_to_send` holds the answer to send before closing.
        """
        self._received += data
        self._head_only = self._received.startswith(b"HEAD ")
        self._connection.receive_data(data)
        try:
            event = self._connection.next_event()
        except h11.RemoteProtocolError as exc:
            if self._received[:2] in _TLS_RECORDS:
                raise self._refused(400, "it speaks TLS, and this listener has no tls=") from None
            raise self._refused(exc.error_status_hint, "not an HTTP request") from None
        if event is h11.NEED_DATA:
            return None
        if not isinstance(event, h11.Request):
            raise HandshakeError("the dialer closed during the upgrade")
        head, self._received = _parted(self._received, self.trailing_data)[0], b""
        if head.count(b"\n") > MAX_UPGRADE_FIELDS + 2:
            raise self._refused(431, f"a request with more than {MAX_UPGRADE_FIELDS} fields")
        if not is_clean_head(head):
            raise self._refused(400, "a request with a folded field or a line end without CR")
        fields = event.headers.raw_items()
        if b"websocket" not in [value.lower() for value in elements_of(fields, b"upgrade")]:
            raise self._refused(426, "a plain HTTP request")
        if values_of(fields, b"sec-websocket-version") != [b"13"]:
            raise self._refused(426, "another version of WebSocket")
        problem = _problem_of_request(event, fields, self._subprotocol)
        if problem is not None:
            raise self._refused(400, problem)
        # One field each, as wsproto wants to read them; it computes the answer.
        ours = [field for field in fields if field[0].lower() in _FOR_WSPROTO]
        ours += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        if self._subprotocol is not None:
            ours.append((b"Sec-WebSocket-Protocol", self._subprotocol.encode()))
        try:
            self._handshake.initiate_upgrade_connection(ours, event.target)
        except WebSocketProtocolError as exc:
            raise self._refused(400, str(exc)) from exc
        except UnicodeError as exc:  # wsproto decodes Host as IDNA and the target as ASCII
            raise self._refused(400, "a malformed Host or target") from exc
        return UpgradeRequest(event.target, fields)

    def accept(self) -> bytes:
        """Returns the 101."""
        return self._handshake.send(AcceptConnection(subprotocol=self._subprotocol))

    def refuse(self, status: int, headers: Headers = (), text: str = _WHAT_THIS_IS) -> bytes:
        """Returns a complete refusal, after which the socket is to be closed."""
        body = text.encode("utf-8")
        fields = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(body)),
            (b"Connection", b"close"),
            # Tells the dialer that the listener says this, and not a server in its place.
            (b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode()),
            *headers,
        ]
        if status == 426:
            fields[2] = (b"Connection", b"close, Upgrade")
            fields += [(b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")]
        # A connection of its own: the one that read the request may be in no state to answer.
        writer = h11.Connection(h11.SERVER)
        answer: bytes = writer.send(h11.Response(status_code=status, headers=fields))
        if self._head_only:  # the length is that of the answer to a GET (RFC 9110, section 9.3.2)
            return answer
        return answer + writer.send(h11.Data(data=body)) + writer.send(h11.EndOfMessage())

    def _refused(self, status: int, why: str) -> HandshakeError:
        self.data_to_send = self.refuse(status)
        return HandshakeError(why, status=status, retryable=False)


def _problem_of_request(
    request: h11.Request, fields: Headers, subprotocol: str | None
) -> str | None:
    """What is wrong with the opening handshake of a WebSocket (RFC 6455, section 4.2.1)."""
    if request.method != b"GET" or request.http_version != b"1.1":
        return "not a GET of HTTP/1.1"
    if b"upgrade" not in [value.lower() for value in elements_of(fields, b"connection")]:
        return "an upgrade without Connection: Upgrade"
    bodiless = not values_of(fields, b"transfer-encoding")
    if not bodiless or values_of(fields, b"content-length") not in ([], [b"0"]):
        return "an upgrade with a body"
    if websocket_key(fields) is None:
        return "a Sec-WebSocket-Key that is not 16 bytes in base64"
    protocols = elements_of(fields, b"sec-websocket-protocol")
    if not all(TOKEN.fullmatch(protocol) for protocol in protocols):
        return "a malformed Sec-WebSocket-Protocol"
    if subprotocol is not None and subprotocol.encode() not in protocols:
        return "a WebSocket that does not offer our subprotocol"
    if not all(value.isascii() for value in values_of(fields, b"sec-websocket-extensions")):
        return "a malformed Sec-WebSocket-Extensions"
    return None


_FOR_WSPROTO = frozenset((b"host", b"sec-websocket-key", b"sec-websocket-version"))


def _parted(received: bytes, trailing: bytes) -> tuple[bytes, bytes]:
    """The head that was just parsed, and what came after it."""
    at = len(received) - len(trailing)
    return received[:at], received[at:]


def websocket_key(headers: Headers) -> bytes | None:
    """The one Sec-WebSocket-Key: 16 bytes in base64 (RFC 6455, sections 4.2.1 and 11.3.1).

    `None` when it is missing, malformed or repeated.
    """
    keys = values_of(headers, b"sec-websocket-key")
    try:
        valid = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except ValueError:
        return None
    return keys[0] if valid else None
