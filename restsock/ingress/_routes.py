"""Rules for hosts of their own: which peer they are, and what is done to requests on the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field

from restsock._addresses import host_and_port
from restsock.auth import Authenticator
from restsock.protocol import HOST, NOT_IN_TRAILERS, TOKEN, VALUE

from ._rates import Rate
from ._webhooks import Webhook

__all__ = ["FieldRules", "Route"]

# Written in the one way that all servers read alike: see `Naming`.
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[0-9A-Za-z._~!$&'()*+,=:@-]+)*/?")


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What is done to the header fields of a message on its way.

    Attributes:
        set: fields that replace those of their name.
        remove: names of fields that are left out.

    Raises:
        ValueError: a name or a value cannot be one, or a field is not for rules: those that say
            where a message ends, and Host.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    remove: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in (*self.set, *self.remove):
            if not name.isascii() or not TOKEN.fullmatch(name.encode()):
                raise ValueError(f"not the name of a header field: {name!r}")
            if name.lower().encode() in NOT_IN_TRAILERS:
                raise ValueError(f"the header field {name} cannot be changed")
        for name, value in self.set.items():
            plain = all(char <= "\xff" for char in value) and value == value.strip(" \t")
            if not plain or not VALUE.fullmatch(value.encode("latin-1")):
                raise ValueError(f"the header field {name} cannot have this value")

    def __bool__(self) -> bool:
        """Whether anything is done."""
        return bool(self.set or self.remove)

    def apply(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The fields with these rules applied."""
        if not self:
            return headers
        gone = {name.lower().encode() for name in (*self.set, *self.remove)}
        kept = [one for one in headers if one[0].lower() not in gone]
        return kept + [(n.encode(), v.encode("latin-1")) for n, v in self.set.items()]


_NO_RULES = FieldRules()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A host, or a part of its paths, that is a peer.

        Route("api.example.com", "edge-1", path="/v1", strip=True)

    Attributes:
        host: exactly, without a port.
        peer: the name of the peer.
        path: the route is for this path and those below it.
        strip: whether the peer gets its requests without that path; then X-Forwarded-Prefix says
            what is missing.
        access: who may use it; `None` is the rule of the ingress, or with `webhook` everybody.
        webhook: lets only requests through that a sender of webhooks has signed.
        request_fields: what is done to the fields of requests.
        response_fields: what is done to those of responses.
        rate: requests a second of one caller, `"50/s"` or `"100/m"`; `None` is that of the ingress.
        upstream_host: the Host that the peer gets: `"keep"` is the client's, `"name"` the name of
            the peer, anything else is a host. X-Forwarded-Host tells the client's in any case.
        cookie_domain: `"host"` takes Domain off the cookies that the peer sets, so that they are
            for this host alone; `"keep"` leaves it, where all hosts of the domain trust each other.
        changes_requests: whether a rule for fields, or for Host, changes requests.
        changes_responses: whether a rule for fields changes responses.

    Raises:
        ValueError: host, path or peer is not valid.
    """

    host: str
    peer: str
    _: KW_ONLY
    path: str = "/"
    strip: bool = False
    access: Authenticator | None = None
    webhook: Webhook | None = None
    request_fields: FieldRules = _NO_RULES
    response_fields: FieldRules = _NO_RULES
    rate: str | None = None
    upstream_host: str = "keep"
    cookie_domain: str = "host"
    changes_requests: bool = field(init=False, repr=False)
    changes_responses: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        changes = bool(self.request_fields) or self.upstream_host != "keep"
        object.__setattr__(self, "changes_requests", changes)
        object.__setattr__(self, "changes_responses", bool(self.response_fields))
        if not _is_host(self.host):
            raise ValueError(f"not the host of a route: {self.host!r}; it has no port")
        if not self.path or not _PATH.fullmatch(self.path):
            raise ValueError(
                f"not the path of a route: {self.path!r}; one begins with / and is plain"
            )
        if not self.peer or not self.peer.isprintable():
            raise ValueError(f"not the name of a peer: {self.peer!r}")
        if self.rate is not None:
            Rate(self.rate)
        if not HOST.fullmatch(self.upstream_host.encode("latin-1", "replace")):
            raise ValueError(f"not a host to send: {self.upstream_host!r}")
        if self.cookie_domain not in ("host", "keep"):
            raise ValueError(f'cookie_domain is "host" or "keep", not {self.cookie_domain!r}')

    def covers(self, path: str) -> bool:
        """Whether a path is this one, or below it."""
        base = self.path.rstrip("/")
        return path == base or path.startswith(f"{base}/") or (path == "*" and not base)

    def __str__(self) -> str:
        return f"{self.host}{self.path}"


def _is_host(text: str) -> bool:
    """Whether it is a host without a port. There are no wildcards."""
    valid = text.isascii() and HOST.fullmatch(text.encode()) is not None and "*" not in text
    return valid and not text.endswith(":") and host_and_port(text)[1] is None
