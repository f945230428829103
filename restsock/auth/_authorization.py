"""The Authorization field: made and parsed strictly (RFC 9110, 11.6.2; RFC 6750; RFC 7617)."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple

__all__ = ["Authorization", "basic_value", "is_token", "parse_authorization"]

# `token68` of RFC 9110, section 11.2, which is `b64token` of RFC 6750.
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([!-~][ -~]*)")


class Authorization(NamedTuple):
    """A parsed field. Its `repr` does not show what is in it.

    Attributes:
        scheme: in lower case: `"bearer"`, `"basic"`, ...
        credentials: everything after it.
    """

    scheme: str
    credentials: bytes

    @property
    def token(self) -> bytes | None:
        """With the scheme Bearer: the token, if it is well-formed."""
        if self.scheme != "bearer" or not _TOKEN.fullmatch(self.credentials):
            return None
        return self.credentials

    @property
    def user(self) -> tuple[str, str] | None:
        """With the scheme Basic: user and password, if they are well-formed."""
        if self.scheme != "basic":
            return None
        try:
            data = base64.b64decode(self.credentials, validate=True)
            if base64.b64encode(data) != self.credentials:  # too much or too little at its end
                return None
            text = data.decode("utf-8")
        except ValueError:  # of both: not base64, not UTF-8
            return None
        user, colon, password = text.partition(":")
        return (user, password) if colon and not has_controls(text) else None

    def __repr__(self) -> str:
        return f"<Authorization: {self.scheme}>"


def parse_authorization(value: bytes) -> Authorization | None:
    """Reads the value of an Authorization field; `None` when it is none."""
    found = _FIELD.fullmatch(value)
    if found is None:
        return None
    return Authorization(found[1].decode("ascii").lower(), found[2].rstrip(b" "))


def is_token(text: bytes) -> bool:
    """Whether this can be sent as a bearer token."""
    return _TOKEN.fullmatch(text) is not None


def basic_value(user: str, password: str) -> bytes:
    """The value of the field for user and password.

    Raises:
        ValueError: they cannot be sent.
    """
    if ":" in user:
        raise ValueError("a user name with a colon in it cannot be sent with Basic (RFC 7617)")
    if has_controls(user) or has_controls(password):
        raise ValueError("user and password must not have control characters")
    try:
        return b"Basic " + base64.b64encode(f"{user}:{password}".encode())
    except UnicodeEncodeError:  # it would quote them
        raise ValueError("user and password must be text that UTF-8 can encode") from None


def has_controls(text: str) -> bool:
    """Whether there is a control character in it (RFC 7617, section 2)."""
    return any(char < " " or "\x7f" <= char <= "\x9f" for char in text)
