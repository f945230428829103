"""The authenticator for JSON Web Tokens (RFC 7519) that an identity provider has signed."""

from __future__ import annotations

import functools
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from restsock._limit_log import LimitLog
from restsock._logging import PartLog
from restsock._principal import Principal
from restsock._watch import Watch

from ._fetch import Place, fetch
from ._upgrade import Refused, Upgrade

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

__all__ = ["JWT"]

_log = PartLog("restsock.auth")

# Signed with a private key, which this side does not have: never HMAC, never "none".
_ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_KEY_TYPES = frozenset(("RSA", "EC", "OKP"))
_MAX_LEEWAY = 60.0
_MAX_TOKEN = 16 * 1024
_MAX_KEYS = 1024 * 1024
# Seconds between two looks at the URL for a key that is not known.
_PAUSE = 60.0
# Seconds after which keys are asked for again, so that one that was withdrawn ends.
_AGE = 600.0


class JWT:
    """Recognizes callers by JSON Web Tokens in Authorization (RFC 6750).

        Ingress(access=JWT("https://login.example/.well-known/jwks.json", audience="hub"))

    Needs joserfc: `pip install 'restsock[jwt]'`. A token is accepted if a key of the set has signed
    it, its `exp` is in the future, any `nbf` is in the past, and it is for this audience (and from
    this issuer). The principal has the name in `sub` and all claims.

    The keys are kept. Those of a URL are fetched again after ten minutes, and for an unknown key at
    most once a minute; if that fails, the old ones stay in force.

    Args:
        jwks: the URL of a JSON Web Key Set (`https://`, or `http://` on this machine), or the path
            of a file with one, which is read again when it changes.
        audience: what `aud` has to name: one, or any of several.
        issuer: what `iss` has to be; by default anything.
        principal: makes a principal of the claims, or `None` to refuse them. Must not block.
        leeway: seconds that the clocks may differ, 60 at most.
        timeout: seconds for the answer of the URL.
        tls: the CAs to trust with https; by default the system's.
        realm: for WWW-Authenticate.
        clock: seconds since 1970.

    Raises:
        ImportError: joserfc is not installed.
        ValueError: an argument is not valid, or the file holds no keys.
        OSError: the file cannot be read.
    """

    takes_authorization = True

    def __init__(
        self,
        jwks: str | os.PathLike[str],
        *,
        audience: str | Collection[str],
        issuer: str | None = None,
        principal: Callable[[Mapping[str, Any]], Principal | None] | None = None,
        leeway: float = 30.0,
        timeout: float = 5.0,
        tls: ssl.SSLContext | None = None,
        realm: str = "restsock",
        clock: Callable[[], float] = time.time,
    ) -> None:
        if find_spec("joserfc") is None:
            raise ImportError("JWT needs joserfc: pip install 'restsock[jwt]'")
        self._audience = (audience,) if isinstance(audience, str) else tuple(audience)
        if not self._audience or not all(self._audience):
            raise ValueError("audience= names none; without it tokens for other services pass")
        if not 0 <= leeway <= _MAX_LEEWAY:
            raise ValueError(f"leeway= must be in 0..{_MAX_LEEWAY:g} seconds, not {leeway!r}")
        self._issuer = issuer
        self._make_principal = _named if principal is None else principal
        self._leeway = leeway
        self._timeout = timeout
        self._tls = tls
        self._clock = clock
        self._lines = LimitLog(_log)
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._tried = self._loaded = -float("inf")
        self._place: Place | None = None
        self._watch: Watch | None = None
        text = os.fspath(jwks)
        if text.partition("://")[0].lower() in ("http", "https"):
            self._place = Place.of(text, "the URL of the keys")
        else:
            self._watch = Watch(text, log=_log)
            self._keys = _key_set(Path(text).read_bytes())
        self._where = text if self._place is None else self._place.host
        self.waits = self._place is not None
        self.challenge = f'Bearer realm="{realm}"'

    def __call__(self, upgrade: Upgrade) -> Principal | None:
        """The principal of the token."""
        authorization = upgrade.authorization
        if authorization is None or authorization.scheme != "bearer":
            return None
        token = authorization.token
        principal = None
        if token is not None and len(token) <= _MAX_TOKEN:
            claims = self._claims_of(token)
            principal = None if claims is None else self._make_principal(claims)
        if principal is None:
            raise Refused(
                401,
                "This token is not accepted.",
                challenge=f'{self.challenge}, error="invalid_token"',
            )
        return principal

    def _claims_of(self, token: bytes) -> dict[str, Any] | None:
        """The claims of a token that is all right."""
        from joserfc import jws, jwt
        from joserfc.errors import JoseError

        try:
            header = jws.extract_compact(token).headers()
            if header.get("alg") not in _ALGORITHMS:
                return None
            key = self._key_for(header.get("kid"))
            if key is None:
                return None
            claims = jwt.decode(token, key, registry=_registry()).claims
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None  # whatever is wrong with it, it is not to be believed
        return claims if self._fits(claims) else None

    def _fits(self, claims: Mapping[str, Any]) -> bool:
        now, leeway = self._clock(), self._leeway
        end = claims.get("exp")
        if not _is_time(end) or end <= now - leeway:
            return False
        for begin in (claims.get("nbf", 0), claims.get("iat", 0)):
            if not _is_time(begin) or begin > now + leeway:
                return False
        if self._issuer is not None and claims.get("iss") != self._issuer:
            return False
        told = claims.get("aud")
        audience = told if isinstance(told, list) else [told]
        return any(one in audience for one in self._audience)

    # --- keys -----------------------------------------------------------------------------

    def _key_for(self, kid: object) -> Any:
        """The key with this id; without an id, the only one there is."""
        self._refresh(wanted=False)
        found = _pick(self._keys, kid)
        if found is None and self._refresh(wanted=True):
            found = _pick(self._keys, kid)
        return found

    def _refresh(self, *, wanted: bool) -> bool:
        """Looks for new keys where that is due; tells whether it has looked.

        Raises:
            Refused: there are none yet, and there is no way to them.
        """
        if self._watch is not None:
            watch = self._watch
            watch.renew(lambda: self._take(Path(watch.paths[0]).read_bytes()), self)
            return False
        assert self._place is not None
        # Of all that want keys one asks for them; the others go on with the old ones, if any.
        if not self._lock.acquire(blocking=self._keys is None):
            return False
        try:
            return self._ask(self._place, wanted=wanted)
        finally:
            self._lock.release()

    def _ask(self, place: Place, *, wanted: bool) -> bool:
        now = time.monotonic()
        if self._keys is None and now - self._tried < 1:
            raise self._unavailable()
        if self._keys is not None:
            due = now - self._loaded >= (_PAUSE if wanted else _AGE)
            if not due or now - self._tried < _PAUSE:
                return False
        self._tried = now
        try:
            answer = fetch(place, timeout=self._timeout, max_body=_MAX_KEYS, tls=self._tls)
            if answer.status != 200:
                raise ValueError(f"a status of {answer.status}")
            self._take(answer.body)
        except (OSError, ValueError) as exc:
            # Those who have waited for it meanwhile are not to wait as long again, one by one.
            self._tried = time.monotonic()
            self._lines.say("jwks", "%r: no keys: %s: %s", self, type(exc).__name__, exc)
            if self._keys is None:
                raise self._unavailable() from None
            return False
        self._loaded = now
        return True

    def _unavailable(self) -> Refused:
        return Refused(503, "Who you are cannot be found out now.", headers={"Retry-After": "5"})

    def _take(self, text: bytes) -> None:
        self._keys = _key_set(text)

    def __repr__(self) -> str:
        return f"JWT({self._where!r}, audience={list(self._audience)})"


def _named(claims: Mapping[str, Any]) -> Principal | None:
    """The principal by its `sub`; none whose name would look like another one's."""
    name = claims.get("sub")
    if not isinstance(name, str) or not name or not name.isprintable() or name != name.strip():
        return None
    return Principal(name, claims=claims)


def _key_set(text: bytes) -> KeySet:
    """The public keys for signatures in a JSON Web Key Set.

    Raises:
        ValueError: it is none, or holds none.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet, import_key

    try:
        listed = json.loads(text)["keys"]
        told = [
            key for key in listed if key.get("kty") in _KEY_TYPES and key.get("use", "sig") == "sig"
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("not a JSON Web Key Set") from None
    keys = []
    for key in told:
        try:
            keys.append(import_key(key))
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # of a curve, say, that is not known here
    if not keys:
        raise ValueError("no key for signatures in the set")
    return KeySet(keys)


@functools.cache
def _registry() -> Any:
    """What joserfc is to accept."""
    from joserfc.jws import JWSRegistry

    class Registry(JWSRegistry):
        def get_alg(self, name: str) -> Any:
            if name not in _ALGORITHMS:
                raise ValueError("an algorithm that is not accepted")
            # Not that of the base: it warns of "EdDSA", which providers go on to write.
            return self.algorithms[name]

    return Registry(algorithms=list(_ALGORITHMS))


def _pick(keys: KeySet | None, kid: object) -> Any:
    listed = [] if keys is None else keys.keys
    if kid is None:
        return listed[0] if len(listed) == 1 else None
    return next((key for key in listed if key.get("kid") == kid), None)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
