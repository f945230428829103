"""What an authenticator gets, and how it refuses."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from restsock._field_names import NOT_IN_TRAILERS
from restsock._principal import Principal

from ._authorization import Authorization, parse_authorization

__all__ = ["Answered", "Authenticator", "Refused", "Upgrade"]

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
# A field that is passed on as it came: a name, a line end, and a value.
_PASSED_ON = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\n[\t\x20-\x7e\x80-\xff]*")
_MAX_FIELDS = 32 * 1024  # bytes

_WORDS = {
    400: "The request is malformed.",
    401: "This listener wants to know who you are.",
    403: "You may not do this.",
}


@dataclass(frozen=True, repr=False, slots=True)
class Upgrade:
    """The request of a dialer, before it is answered.

    Attributes:
        target: path and query, as received.
        headers: name and value pairs, names in lower case.
        host: the address of the peer; empty over a Unix socket.
        port: its port; 0 where there is no TCP.
        certificate: what `ssl.SSLSocket.getpeercert()` tells of a client certificate that was
            verified; `None` without one.
        certificate_der: the same certificate, in DER.
        method: of the request; a dialer's is GET.
        scheme: `"http"` or `"https"`: what the client has used, as far as this side knows.
    """

    target: str
    headers: Sequence[tuple[bytes, bytes]]
    host: str
    port: int
    certificate: Mapping[str, Any] | None = None
    certificate_der: bytes | None = None
    method: str = "GET"
    scheme: str = "http"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str, default: str | None = None) -> str | None:
        """The value of a header field; the first one's, when it is repeated."""
        wanted = name.lower().encode("latin-1")
        for key, value in self.headers:
            if key.lower() == wanted:
                return value.decode("latin-1")
        return default

    @property
    def authorization(self) -> Authorization | None:
        """The Authorization field; `None` without one.

        Raises:
            Refused: with 400: it is malformed, or there are several.
        """
        found = [value for name, value in self.headers if name.lower() == b"authorization"]
        if not found:
            return None
        parsed = parse_authorization(found[0]) if len(found) == 1 else None
        if parsed is None:
            raise Refused(400, "The Authorization field is malformed.")
        return parsed

    def __repr__(self) -> str:
        # Without target and headers, in which the secrets are.
        return f"<Upgrade from {self.host}:{self.port}>"


Authenticator: TypeAlias = Callable[[Upgrade], "Principal | Awaitable[Principal | None] | None"]
"""Authenticates a dialer. `None` means unknown: 401. May raise `Refused`."""


class Refused(Exception):
    """An authenticator raises this to answer the upgrade with a status of its own.

        raise Refused(403, "The account is locked.")

    Args:
        status: 400 to 599. A 401 says how to authenticate: with the `challenge` given here, or
            that of the authenticator (an attribute `challenge`), or else `Bearer`.
        text: for people; the dialer is shown its first line. No secrets.
        challenge: the value of WWW-Authenticate (RFC 9110, section 11.6.1).
        headers: further fields of the answer, Retry-After for example.

    Raises:
        ValueError: the status is not one of a refusal, or a field cannot be sent.
    """

    def __init__(
        self,
        status: int,
        text: str = "",
        *,
        challenge: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if type(status) is not int or not 400 <= status <= 599:  # a bool is an int to Python
            raise ValueError(f"{status!r} is not a status to refuse with: 400 to 599")
        text = text or _WORDS.get(status, "Refused.")
        super().__init__(status, text)
        self.status: int = status
        self.text = text
        self.challenge = challenge
        # Under what it is counted, where it is logged that there is no connection.
        self.limit: str | None = None
        fields = dict(headers or {})
        if challenge is not None:
            fields["WWW-Authenticate"] = challenge
        for name, value in fields.items():
            if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
                raise ValueError(f"the header field {name!r} cannot be sent")
        self.headers = [(name.encode(), value.strip().encode()) for name, value in fields.items()]

    def __str__(self) -> str:
        return f"{self.status}: {self.text}"


class Answered(Refused):
    """An authenticator raises this to answer a request itself, with a redirect for example.

    Args:
        status: 300 to 599.
        headers: of the answer; those of this hop and its length are left out.
        body: of the answer.

    Raises:
        ValueError: the status is none of such an answer, or the headers cannot be sent.
        TypeError: a header is not two byte strings.
    """

    def __init__(
        self, status: int, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> None:
        if type(status) is not int or not 300 <= status <= 599:
            raise ValueError(f"{status!r} is not a status to answer with: 300 to 599")
        super().__init__(max(status, 400), "Refused.")
        self.status = status
        self.body = body
        self.headers = [(n, v) for n, v in headers if n.lower() not in NOT_IN_TRAILERS]
        lines = [name + b"\n" + value for name, value in self.headers]
        if not all(map(_PASSED_ON.fullmatch, lines)) or sum(map(len, lines)) > _MAX_FIELDS:
            raise ValueError("a header field of this answer cannot be sent, or they are too long")
