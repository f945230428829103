"""Rules for hosts of their own: which peer they are, and what is done to requests on the way."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field

from restsock.auth import Authenticator
from restsock.protocol import HOST, TOKEN, VALUE

__all__ = ["FieldRules", "Route"]

_PATH = re.compile(r"/[\x21\x22\x24-\x3e\x40-\x7e]*")


@dataclass(frozen=True, slots=True)
class FieldRules:
    """What is done to the header fields of a message on its way.

    Attributes:
        set: fields that replace those of their name.
        remove: names of fields that are left out.

    Raises:
        ValueError: a name or a value cannot be one.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    remove: Collection[str] = ()

    def __post_init__(self) -> None:
        for name, value in self.set.items():
            if not TOKEN.fullmatch(name.encode()) or not VALUE.fullmatch(value.encode("latin-1")):
                raise ValueError(f"the header field {name!r} cannot be sent")
        for name in self.remove:
            if not TOKEN.fullmatch(name.encode()):
                raise ValueError(f"not the name of a header field: {name!r}")

    def apply(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The fields with these rules applied."""
        if not self.set and not self.remove:
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
        access: who may use it; `None` is the rule of the ingress.
        request_fields: what is done to the fields of requests.
        response_fields: what is done to those of responses.
        rate: requests a second of one caller, `"50/s"` or `"100/m"`; `None` is that of the ingress.

    Raises:
        ValueError: host, path or peer is not valid.
    """

    host: str
    peer: str
    _: KW_ONLY
    path: str = "/"
    strip: bool = False
    access: Authenticator | None = None
    request_fields: FieldRules = _NO_RULES
    response_fields: FieldRules = _NO_RULES
    rate: str | None = None

    def __post_init__(self) -> None:
        if not HOST.fullmatch(self.host.encode("latin-1", "replace")) or self.host.endswith(":"):
            raise ValueError(f"not the host of a route: {self.host!r}")
        if not _PATH.fullmatch(self.path):
            raise ValueError(f"not the path of a route: {self.path!r}; it begins with /")
        if not self.peer or not self.peer.isprintable():
            raise ValueError(f"not the name of a peer: {self.peer!r}")

    def covers(self, path: str) -> bool:
        """Whether a path is this one, or below it."""
        base = self.path.rstrip("/")
        return path == base or path.startswith(f"{base}/")

    def __str__(self) -> str:
        return f"{self.host}{self.path}"
