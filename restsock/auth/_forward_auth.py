"""The authenticator that asks another server: `auth_request` of nginx, `forwardAuth` of Traefik."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection

from restsock._field_names import NOT_IN_TRAILERS, is_plain_name, told_by_gateways
from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock._principal import Principal

from ._fetch import Answer, Place, fetch
from ._upgrade import Answered, Refused, Upgrade

__all__ = ["ForwardAuth"]

_log = PartLog("restsock.auth")

# What is not repeated to the other server: fields of this hop and of the body, and those in which
# this side, or that server, speaks.
_NOT_SENT = re.compile(
    rb"expect|content-.*|proxy.*|remote-.*|x-auth-request-.*|restsock-.*|sec-websocket-.*"
)
_MAX_BODY = 64 * 1024


class ForwardAuth:
    """Asks another server about each request: oauth2-proxy, Authelia, Authentik, or your own.

        Ingress(access=ForwardAuth("http://127.0.0.1:4180/oauth2/auth"))

    The server gets a GET with the fields of the request. X-Forwarded-Method, -Proto, -Host, -Uri
    and -For describe the request; so do X-Original-URL and X-Original-Method. 2xx accepts the
    request. Any other answer below 500 is passed on to the client unchanged: a redirect to a login
    page, for example. With 5xx, or no answer in time, the client gets a 503.

    Args:
        url: `https://`, or `http://` on this machine.
        user_fields: the fields of a 2xx that name the user; the first one present is used.
        groups_fields: the same for the user's groups, which become the claim `groups`.
        anonymous: the name of the principal if the server names none.
        timeout: seconds for the answer.
        tls: the CAs to trust with https; by default the system's.

    Raises:
        ValueError: the URL is not valid.
    """

    def __init__(
        self,
        url: str,
        *,
        user_fields: Collection[str] = ("Remote-User", "X-Auth-Request-User", "X-Forwarded-User"),
        groups_fields: Collection[str] = ("Remote-Groups", "X-Auth-Request-Groups"),
        anonymous: str = "authenticated",
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._place = Place.of(url, "the URL of ForwardAuth")
        self._user_fields = tuple(name.lower().encode() for name in user_fields)
        self._groups_fields = tuple(name.lower().encode() for name in groups_fields)
        self._anonymous = Principal(anonymous).name
        self._timeout = timeout
        self._tls = tls
        self._lines = LimitLog(_log)

    def __call__(self, upgrade: Upgrade) -> Principal:
        """The principal that the other server names."""
        fields = _fields_for(upgrade)
        try:
            answer = fetch(
                self._place, fields, timeout=self._timeout, max_body=_MAX_BODY, tls=self._tls
            )
        except OSError as exc:
            raise self._unavailable(f"{type(exc).__name__}: {exc}") from None
        if 200 <= answer.status < 300:
            return self._principal_of(answer)
        if not 300 <= answer.status < 500:
            raise self._unavailable(f"a status of {answer.status}")
        try:
            answered = Answered(answer.status, answer.headers, answer.body)
        except ValueError as exc:
            raise self._unavailable(str(exc)) from None
        raise answered

    def _principal_of(self, answer: Answer) -> Principal:
        user = _first(answer, self._user_fields)
        groups = _first(answer, self._groups_fields) or ""
        name = self._anonymous if user is None else user
        if not name or not name.isprintable():
            raise self._unavailable("a name that is not printable")
        listed = [group.strip() for group in groups.split(",") if group.strip()]
        return Principal(name, claims={"groups": listed})

    def _unavailable(self, why: str) -> Refused:
        self._lines.say("forward_auth", "%r has no usable answer: %s", self, why)
        return Refused(503, "Who you are cannot be found out now.", headers={"Retry-After": "5"})

    def __repr__(self) -> str:
        return f"ForwardAuth({self._place.host!r})"


def _fields_for(upgrade: Upgrade) -> list[tuple[bytes, bytes]]:
    host = (upgrade.header("host") or "").encode("latin-1")
    target = upgrade.target.encode("latin-1")
    scheme, method = upgrade.scheme.encode(), upgrade.method.encode("latin-1")
    kept = [(name, value) for name, value in upgrade.headers if _is_sent(name.lower())]
    return [
        *kept,
        (b"X-Forwarded-Method", method),
        (b"X-Forwarded-Proto", scheme),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Uri", target),
        (b"X-Forwarded-For", upgrade.host.partition("%")[0].encode("latin-1", "replace")),
        (b"X-Original-Method", method),
        (b"X-Original-URL", scheme + b"://" + host + target),
    ]


def _is_sent(lower: bytes) -> bool:
    forged = not is_plain_name(lower) or told_by_gateways(lower)
    return not (forged or lower in NOT_IN_TRAILERS or _NOT_SENT.fullmatch(lower))


def _first(answer: Answer, names: tuple[bytes, ...]) -> str | None:
    for name in names:
        for field, value in answer.headers:
            if field.lower() == name:
                return value.decode("utf-8", "replace").strip()
    return None
