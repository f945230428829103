"""Webhooks: requests whose body is signed with a secret that the sender and this side share.

The signature is over the bytes of the body, so all of it has to be here before it can be checked
and sent on. What is checked is compared in constant time; a time stamp, where the scheme has one,
may be five minutes away from the clock of this machine.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import time
from collections.abc import Callable
from pathlib import Path

from restsock.auth import Refused
from restsock.protocol import Headers, values_of

__all__ = ["Webhook"]

# Seconds that a time stamp may be away from now: what Stripe, Slack and Standard Webhooks advise.
_TOLERANCE = 300
# Signatures of one request that are looked at: a sender has two while it changes its secret.
_MAX_SIGNATURES = 10
_WORDS = "This request is not signed as it has to be."


class Webhook:
    """Lets requests in whose body is signed by a sender of webhooks. For `Route(webhook=...)`.

        Route("hooks.example.com", "edge-1", webhook=Webhook("github", file="/run/secrets/hook"))

    All other requests are refused with 401, and nothing of them reaches the peer. Bodies have 1 MiB
    at most. A signature says nothing of the path, the query and most fields.

    Args:
        scheme: `"github"` (X-Hub-Signature-256), `"stripe"` (Stripe-Signature), `"slack"`
            (X-Slack-Signature) or `"standard"` (Standard Webhooks: Webhook-Signature).
        secret: that the sender has told; those of Standard Webhooks may begin with `whsec_`.
        env: the name of an environment variable that holds it, read now.
        file: the path of a file that does, read now. White space around it is dropped.
        clock: seconds since 1970.

    Raises:
        ValueError: there is no such scheme; not exactly one secret; the variable is not set; or it
            can be no secret of the scheme.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        scheme: str,
        secret: str | None = None,
        *,
        env: str | None = None,
        file: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if scheme not in _SCHEMES:
            raise ValueError(
                f"not a scheme of webhooks: {scheme!r}; there are {', '.join(_SCHEMES)}"
            )
        if sum(given is not None for given in (secret, env, file)) != 1:
            raise ValueError("give the secret of a webhook, env= or file=, and only one of them")
        if env is not None:
            secret = os.environ.get(env)
            if secret is None:
                raise ValueError(f"the environment variable {env} is not set")
        elif file is not None:
            secret = Path(file).read_text("utf-8")
        self.scheme = scheme
        self._check = _SCHEMES[scheme]
        self._key = _key_of(scheme, (secret or "").strip())
        self._clock = clock

    def check(self, headers: Headers, body: bytes) -> None:
        """Checks a request.

        Raises:
            Refused: with 401: it is not signed, or not with this secret, or too long ago.
        """
        if not self._check(headers, body, self._key, self._clock()):
            raise Refused(401, _WORDS, challenge=f'Webhook scheme="{self.scheme}"')

    def __repr__(self) -> str:
        return f"Webhook({self.scheme!r}, ...)"


def _key_of(scheme: str, secret: str) -> bytes:
    if not secret:
        raise ValueError("the secret of a webhook is empty")
    if scheme != "standard":
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:  # its words are about what the secret is
        key = b""
    if not key:
        raise ValueError("the secret of a Standard Webhook is base64, perhaps after whsec_")
    return key


def _only(headers: Headers, name: bytes) -> bytes | None:
    """The value of a field that is there exactly once."""
    found = values_of(headers, name)
    return found[0] if len(found) == 1 else None


def _same(digest: bytes, shown: list[bytes]) -> bool:
    """Whether one of the signatures that were shown is the right one."""
    # All are compared, so that the time tells nothing.
    same = [hmac.compare_digest(digest, one) for one in shown[:_MAX_SIGNATURES]]
    return any(same)


def _hex(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, "sha256").hexdigest().encode()


def _is_now(stamp: bytes | None, now: float) -> bool:
    if stamp is None or not stamp.isdigit() or len(stamp) > 12:
        return False
    return abs(now - int(stamp)) <= _TOLERANCE


def _github(headers: Headers, body: bytes, key: bytes, now: float) -> bool:
    shown = _only(headers, b"x-hub-signature-256")
    if shown is None or not shown.startswith(b"sha256="):
        return False
    return _same(_hex(key, body), [shown.removeprefix(b"sha256=")])


def _stripe(headers: Headers, body: bytes, key: bytes, now: float) -> bool:
    shown = _only(headers, b"stripe-signature") or b""
    parts = [part.strip().partition(b"=") for part in shown.split(b",")]
    stamps = [value for name, _, value in parts if name == b"t"]
    if len(stamps) != 1 or not _is_now(stamps[0], now):
        return False
    digest = _hex(key, stamps[0] + b"." + body)
    return _same(digest, [value for name, _, value in parts if name == b"v1"])


def _slack(headers: Headers, body: bytes, key: bytes, now: float) -> bool:
    stamp = _only(headers, b"x-slack-request-timestamp")
    shown = _only(headers, b"x-slack-signature")
    if stamp is None or shown is None or not shown.startswith(b"v0=") or not _is_now(stamp, now):
        return False
    return _same(_hex(key, b"v0:" + stamp + b":" + body), [shown.removeprefix(b"v0=")])


def _standard(headers: Headers, body: bytes, key: bytes, now: float) -> bool:
    id, stamp = _only(headers, b"webhook-id"), _only(headers, b"webhook-timestamp")
    shown = _only(headers, b"webhook-signature")
    if not id or stamp is None or shown is None or b"." in id or not _is_now(stamp, now):
        return False
    digest = hmac.digest(key, id + b"." + stamp + b"." + body, "sha256")
    signature = b"v1," + base64.b64encode(digest)
    return _same(signature, shown.split(b" "))


_SCHEMES: dict[str, Callable[[Headers, bytes, bytes, float], bool]] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "standard": _standard,
}
