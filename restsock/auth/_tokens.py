"""Authenticators for secrets that this listener knows: bearer tokens, users and passwords."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from restsock._principal import Principal

from ._authorization import has_controls, is_token
from ._credential_store import CredentialStore, principal_from
from ._upgrade import Refused, Upgrade

__all__ = ["BasicUsers", "BearerTokens"]

_PrincipalLike: TypeAlias = "Principal | str | Mapping[str, Any]"

_REALM = re.compile(r"[\x20-\x7e]*")
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class BearerTokens(CredentialStore):
    """Recognizes dialers by their bearer tokens (RFC 6750).

        listen(..., auth=BearerTokens({"s3cr3t": "edge-1"}))
        listen(..., auth=BearerTokens(file="/etc/hub/tokens.json"))
        listen(..., auth=BearerTokens(env="HUB_TOKEN", principal="edge-1"))

    The file is a JSON object like the mapping: tokens, and for each the name of its principal or an
    object `{"name": …, "may_register": […], "may_call": […], "claims": {…}}`. A token may be given
    as `"sha256:<64 hexadecimal digits>"`, so that the file reveals none; that is as strong as the
    token is long and random. With `principal` the file, or the variable, holds nothing but tokens
    of that one, separated by white space.

    The file is read again when it changes, see `CredentialStore`. Dialers whose token is no longer
    in it are disconnected by the server within two seconds.

    Args:
        tokens: principals, or their names, by token.
        env: the name of an environment variable, read now.
        file: a path.
        principal: the owner of all tokens of the variable or file.
        realm: for WWW-Authenticate.

    Raises:
        ValueError: as of `CredentialStore`.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        tokens: Mapping[str, _PrincipalLike] | None = None,
        *,
        env: str | None = None,
        file: str | os.PathLike[str] | None = None,
        principal: Principal | str | None = None,
        realm: str = "restsock",
    ) -> None:
        if principal is not None and tokens is not None:
            raise ValueError("principal= is for env= or file=; a mapping names its own principals")
        self._everybody = None if principal is None else principal_from(principal, "principal")
        self.challenge = f"Bearer realm={_quoted(realm)}"
        super().__init__(tokens, env, file)

    def __call__(self, upgrade: Upgrade) -> Principal | None:
        """Returns the principal of the token."""
        authorization = upgrade.authorization
        if authorization is None or authorization.scheme != "bearer":
            return None
        token = authorization.token
        found = None if token is None else self._find(hashlib.sha256(token).digest())
        if found is None:
            # RFC 6750, section 3.1; only to those who have shown something.
            raise Refused(
                401,
                "This token is not known.",
                challenge=f'{self.challenge}, error="invalid_token"',
            )
        return found

    def _parse(self, text: str) -> Iterator[tuple[bytes, Principal]]:
        if self._everybody is None:
            return super()._parse(text)
        tokens = text.split()
        if not tokens:  # most likely it is being written
            raise ValueError("no token")
        return self._pairs(dict.fromkeys(tokens, self._everybody))

    def _pairs(self, entries: Mapping[Any, Any]) -> Iterator[tuple[bytes, Principal]]:
        for number, (token, value) in enumerate(entries.items(), 1):
            where = f"token number {number}"
            hashed = _HASHED.fullmatch(token) if isinstance(token, str) else None
            if hashed is not None:
                digest = bytes.fromhex(hashed[1])
            elif isinstance(token, str) and is_token(token.encode("utf-8", "replace")):
                digest = hashlib.sha256(token.encode()).digest()
            else:
                raise ValueError(f"{where} is not a bearer token (RFC 6750, section 2.1)")
            yield digest, principal_from(value, where)


class BasicUsers(CredentialStore):
    """Recognizes dialers by user and password (RFC 7617).

        listen(..., auth=BasicUsers({"edge-1": "s3cr3t", "ops": ("s3cr4t", Principal("ops"))}))
        listen(..., auth=BasicUsers(file="/etc/hub/users.json"))

    The file is a JSON object: users, and for each the password or an object `{"password": …,
    "name": …, "may_register": […], "may_call": […], "claims": {…}}`. The name of the principal is
    the user's unless one is given. The file is read again when it changes, as with `BearerTokens`.

    Passwords are stored in plain text, so they should be long, random, and used nowhere else. For
    other users write a function that asks the service that has their passwords.

    Args:
        users: passwords, or passwords with principals, by user.
        env: the name of an environment variable with such a JSON object, read now.
        file: the path of a file with one.
        realm: for WWW-Authenticate.

    Raises:
        ValueError: as of `CredentialStore`.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        users: Mapping[str, str | tuple[str, Principal | str] | Mapping[str, Any]] | None = None,
        *,
        env: str | None = None,
        file: str | os.PathLike[str] | None = None,
        realm: str = "restsock",
    ) -> None:
        self.challenge = f'Basic realm={_quoted(realm)}, charset="UTF-8"'
        super().__init__(users, env, file)

    def __call__(self, upgrade: Upgrade) -> Principal | None:
        """Returns the principal of the user."""
        authorization = upgrade.authorization
        if authorization is None or authorization.user is None:
            return None
        # Both in one look-up: it takes as long for a user who is not there.
        return self._find(_secret(*authorization.user))

    def _pairs(self, entries: Mapping[Any, Any]) -> Iterator[tuple[bytes, Principal]]:
        for number, (user, value) in enumerate(entries.items(), 1):
            where = f"user number {number}"
            if not isinstance(user, str) or not user or ":" in user or has_controls(user):
                raise ValueError(f"{where} has no user name of Basic (RFC 7617, section 2)")
            password: object = value
            principal: object = user
            if isinstance(value, Mapping):
                principal = {name: item for name, item in value.items() if name != "password"}
                password = value.get("password")
            elif isinstance(value, (tuple, list)) and len(value) == 2:
                password, principal = value
            if not isinstance(password, str) or not password or has_controls(password):
                raise ValueError(f"{where} has no password, or one that cannot be sent")
            yield _secret(user, password), principal_from(principal, where, user)


def _secret(user: str, password: str) -> bytes:
    name = user.encode("utf-8", "surrogatepass")
    return b"%d:" % len(name) + name + password.encode("utf-8", "surrogatepass")


def _quoted(realm: str) -> str:
    if not _REALM.fullmatch(realm):
        raise ValueError("a realm must be printable ASCII")
    escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
