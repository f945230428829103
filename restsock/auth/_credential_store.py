"""CredentialStore: whose a secret is, found in a time that tells nothing of the secrets.

Secrets are not kept, but their HMACs under a random key of this process, and what a dialer shows
is looked up by its own. How long that takes depends on numbers that no outsider can compute.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from restsock._logging import PartLog
from restsock._principal import Principal
from restsock._watch import Watch

from ._upgrade import Upgrade

__all__ = ["CredentialStore", "principal_from"]

_log = PartLog("restsock.auth")

# Seconds for which it is known of a principal that it was withdrawn. Listeners look every second.
_WITHDRAWN = 600.0

_MEMBERS = frozenset(("name", "may_register", "may_call", "claims"))


class CredentialStore(ABC):
    """Principals by their secrets, from a mapping, an environment variable or a file.

    The base of `BearerTokens` and `BasicUsers`.

    A file that changes is read again, within a second of the next look-up. While it cannot be read
    or parsed, the old content stays in force. It is tried again every second, and the log says so
    when that begins, once a minute, and when it is over.

    Each secret has a principal object of its own, which stays the same as long as nothing about it
    changes. So `knows` tells whether a connection of that principal may live on.

    Raises:
        ValueError: not exactly one source; the variable is not set; something in it is not right.
        OSError: the file cannot be read.
    """

    # Read by the caller of authenticators: this one never waits.
    waits = False
    # So that the ingress keeps the field to itself.
    takes_authorization = True

    def __init__(
        self,
        entries: Mapping[Any, Any] | None,
        env: str | None,
        file: str | os.PathLike[str] | None,
    ) -> None:
        if sum(given is not None for given in (entries, env, file)) != 1:
            raise ValueError("give a mapping, env= or file=, and only one of them")
        self._key = secrets.token_bytes(32)
        self._where = f"env={env!r}" if env is not None else "..."
        self._watch: Watch | None = None
        self._by_digest: dict[bytes, Principal] = {}
        self._alive: dict[int, Principal] = {}
        # Kept for a while, until all that asks has heard of it: with the time when that is over.
        self._withdrawn: dict[int, tuple[Principal, float]] = {}
        if file is not None:
            self._where = f"file={os.fspath(file)!r}"
            self._watch = Watch(file, log=_log)
            self._load(_read(Path(file)))
        elif env is not None:
            text = os.environ.get(env)
            if text is None:
                raise ValueError(f"the environment variable {env} is not set")
            self._load(text)
        else:
            assert entries is not None
            self._fill(self._pairs(entries))

    @abstractmethod
    def __call__(self, upgrade: Upgrade) -> Principal | None:
        """Tells whose the secret is that was shown."""

    @abstractmethod
    def _pairs(self, entries: Mapping[Any, Any]) -> Iterator[tuple[bytes, Principal]]:
        """Secrets and their principals; the errors must not tell the secrets."""

    def _parse(self, text: str) -> Iterator[tuple[bytes, Principal]]:
        return self._pairs(json_object(text))

    @property
    def renewable(self) -> bool:
        """Whether it may change: whether it comes from a file."""
        return self._watch is not None

    def refresh(self) -> bool:
        """Reads the file again if it has changed. Looks at most once a second.

        Returns:
            Whether there is something new.
        """
        watch = self._watch
        return watch is not None and watch.renew(lambda: self._load(_read(watch.paths[0])), self)

    def follow(self, file: str | os.PathLike[str]) -> None:
        """Reads another file from now on. Principals that are the same in it stay known.

        Raises:
            OSError: the file cannot be read; nothing was changed.
            ValueError: something in it is not right; likewise.
        """
        watch = Watch(file, log=_log)
        self._load(_read(Path(file)))
        self._watch = watch
        self._where = f"file={os.fspath(file)!r}"

    def knows(self, principal: Principal) -> bool:
        """Whether this principal, found here earlier, still stands here, unchanged."""
        return id(principal) in self._alive

    def withdrew(self, principal: Principal) -> bool:
        """Whether this principal stood here, and does not any more."""
        return id(principal) in self._withdrawn

    def _find(self, secret: bytes) -> Principal | None:
        self.refresh()
        return self._by_digest.get(self._digest(secret))

    def _digest(self, secret: bytes) -> bytes:
        return hmac.digest(self._key, secret, "sha256")

    def _load(self, text: str) -> None:
        self._fill(self._parse(text))

    def _fill(self, pairs: Iterator[tuple[bytes, Principal]]) -> None:
        found: dict[bytes, Principal] = {}
        for secret, principal in pairs:
            digest = self._digest(secret)
            old = self._by_digest.get(digest)
            # A copy: one object that stands for two secrets would outlive either of them.
            found[digest] = old if old == principal and old is not None else replace(principal)
        alive = {id(principal): principal for principal in found.values()}
        now = time.monotonic()
        withdrawn = {id: one for id, one in self._withdrawn.items() if one[1] > now}
        for key, principal in self._alive.items():
            if key not in alive:
                withdrawn[key] = (principal, now + _WITHDRAWN)
        self._by_digest, self._alive, self._withdrawn = found, alive, withdrawn

    def __len__(self) -> int:
        return len(self._by_digest)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where})"


def principal_from(value: object, where: str, name: str | None = None) -> Principal:
    """A principal from what stands for it in a mapping or a JSON text.

    Args:
        value: a `Principal`; a name; or an object with the members of a principal.
        where: for errors.
        name: the name where the value gives none.

    Raises:
        ValueError: it is none of these, or not a right one.
    """
    try:
        if isinstance(value, Principal):
            return value
        if isinstance(value, str):
            return Principal(value)
        if isinstance(value, Mapping):
            unknown = set(value) - _MEMBERS
            if unknown:
                # Not which: a secret may have been put in the wrong place.
                raise ValueError(f"{len(unknown)} unknown members; known: {sorted(_MEMBERS)}")
            return Principal(**{"name": name, **value})
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{where}: {exc}") from None
    raise ValueError(f"{where}: a principal is a name or an object, not {type(value).__name__}")


def json_object(text: str) -> Mapping[str, Any]:
    """Reads a JSON object.

    Raises:
        ValueError: it is none; without the text, which holds secrets.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        place = f" (line {exc.lineno})" if isinstance(exc, json.JSONDecodeError) else ""
        raise ValueError(f"not JSON{place}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:  # it would quote it
        raise ValueError("not UTF-8") from None
