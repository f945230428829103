"""CONNECT: asking an HTTP proxy for a way to a listener, without I/O (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import re

import h11

from restsock._exceptions import HandshakeError, LocalProtocolError
from restsock.protocol import RESERVED, Headers

__all__ = ["ConnectTunnel"]

# The head of an answer, and all heads in front of it; proxies send a line or two.
_MAX_ANSWER = 16 * 1024

# Refusals that may pass, with all of 500 to 599.
_PASSING = frozenset((408, 425, 429))

_SCHEME = re.compile(rb"[A-Za-z0-9-]{1,32}")


class ConnectTunnel:
    """The dialer's side of CONNECT.

    Order of calls: send `request`; `receive_data()` until it gives True. From then on the bytes
    are those of the listener, beginning with the next one.

    Args:
        host: whom the proxy is to connect to: a name, or an IP address without brackets.
        port: of the host.
        headers: further fields: Proxy-Authorization, for example.

    Raises:
        LocalProtocolError: a field is malformed or one that is set here.
    """

    def __init__(self, *, host: str, port: int, headers: Headers = ()) -> None:
        names = {name.lower() for name, _ in headers}
        if names & RESERVED:
            raise LocalProtocolError("a field that CONNECT sets itself, or cannot have")
        self._authorized = b"proxy-authorization" in names
        self._received = 0
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_ANSWER)
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            request = h11.Request(
                method=b"CONNECT",
                target=authority,
                headers=[(b"Host", authority.encode()), *headers],
            )
            data = self._http.send(request) + self._http.send(h11.EndOfMessage())
        except (h11.LocalProtocolError, UnicodeEncodeError):
            # Not in h11's words, and not from it: they quote the field, which may be a secret.
            raise LocalProtocolError("a malformed host or field") from None
        self.request: bytes = data

    def receive_data(self, data: bytes) -> bool:
        """Takes in bytes of the proxy's answer; empty bytes say that the socket ended.

        Returns:
            Whether the way is open.

        Raises:
            HandshakeError: it will not be, or this is no proxy. The message has the proxy for its
                subject: "it answered …".
        """
        if not data:
            raise HandshakeError("it closed the socket without an answer")
        self._received += len(data)
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    break
                if isinstance(event, h11.Response):
                    self._check(event)
                    return True
                if not isinstance(event, h11.InformationalResponse):
                    raise HandshakeError("it closed the socket without an answer")
        except h11.RemoteProtocolError:
            if self._received <= _MAX_ANSWER:
                # Not in h11's words: they quote lines, which may hold secrets.
                raise HandshakeError("its answer is not HTTP", retryable=False) from None
        if self._received > _MAX_ANSWER:
            raise HandshakeError(
                f"the head of its answer has more than {_MAX_ANSWER} bytes", retryable=False
            )
        return False

    def _check(self, answer: h11.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            # The listener speaks second, whatever is on top; so they would be taken for its own.
            if self._http.trailing_data[0]:
                raise HandshakeError("it sent bytes after its answer", retryable=False)
            return
        words = answer.reason.decode("latin-1")[:100]
        # The text is the proxy's, and ends up in logs.
        words = "".join(c if c.isprintable() else "?" for c in words)
        why = f"it answered {status} {words}".rstrip()
        if status == 407:
            problem = "does not accept the credentials" if self._authorized else "wants credentials"
            why += f": it {problem}{self._schemes(answer)}"
        passing = status >= 500 or status in _PASSING
        raise HandshakeError(why, status=status, retryable=passing)

    def _schemes(self, answer: h11.Response) -> str:
        found = []
        for name, value in answer.headers:
            scheme = _SCHEME.match(value)
            if name == b"proxy-authenticate" and scheme:
                found.append(scheme[0].decode("ascii"))
        return f" ({', '.join(found[:5])})" if found else ""
