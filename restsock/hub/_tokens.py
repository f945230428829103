"""The tokens of peers, and those of the admin API: a file that is kept as hashes.

The file is that of `restsock.auth.BearerTokens`, with three claims more: `id`, by which a token is
listed and revoked; `created`, in seconds since 1970; and `scopes`, for the admin API.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restsock.auth import SCOPES, BearerTokens, Principal, scopes_of

__all__ = ["Token", "Tokens", "hash_of"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without its value.

    Attributes:
        id: random, used to revoke it. For a token written by hand, a part of its hash.
        name: of its principal.
        created: seconds since 1970; `None` if the file does not say.
        may_register: patterns of the names that its peers may use; `None` is its own name.
        may_call: patterns of the peers that it may call.
        scopes: for the admin API.
    """

    id: str
    name: str
    created: float | None
    may_register: tuple[str, ...] | None
    may_call: tuple[str, ...]
    scopes: tuple[str, ...]


class Tokens:
    """A file of tokens, to list and change.

    A hub that uses the file reads it again within a second, and disconnects those whose token was
    revoked. Several processes may change the file at a time.

    Args:
        file: its name; it need not exist yet.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = Path(file)

    def ls(self) -> list[Token]:
        """All tokens, the oldest first.

        Raises:
            OSError: the file cannot be read.
            ValueError: it does not hold what it should.
        """
        return [_described(secret, value) for secret, value in self._read().items()]

    def new(
        self,
        name: str,
        *,
        may_register: Collection[str] | None = None,
        may_call: Collection[str] = ("*",),
        scopes: Collection[str] = (),
    ) -> tuple[Token, str]:
        """Makes a token.

        Args:
            name: of its principal.
            may_register: see `Principal`.
            may_call: see `Principal`.
            scopes: for the admin API, of `SCOPES`.

        Returns:
            The token, and its value, which cannot be shown again.

        Raises:
            OSError: the file cannot be read, or written.
            ValueError: it does not hold what it should; or an argument is not valid.
        """
        for scope in scopes:
            if scope not in SCOPES:
                raise ValueError(f"there is no scope {scope!r}; there are {', '.join(SCOPES)}")
        principal = Principal(name, may_register=may_register, may_call=may_call)
        claims: dict[str, Any] = {"id": secrets.token_hex(16), "created": int(time.time())}
        if scopes:
            claims["scopes"] = list(scopes)
        value: dict[str, Any] = {"name": name, "may_call": list(principal.may_call)}
        if principal.may_register is not None:
            value["may_register"] = list(principal.may_register)
        value["claims"] = claims
        token = secrets.token_urlsafe(32)
        hashed = hash_of(token)
        with self._changed() as entries:
            entries[hashed] = value
        return _described(hashed, value), token

    def revoke(self, id: str) -> bool:
        """Removes the token with this id; returns whether there was one.

        Raises:
            OSError: the file cannot be read, or written.
            ValueError: it does not hold what it should.
        """
        with self._changed() as entries:
            found = [secret for secret, value in entries.items() if _id_of(secret, value) == id]
            for secret in found:
                del entries[secret]
        return bool(found)

    def _read(self) -> dict[str, Any]:
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return {}
        except UnicodeDecodeError:
            raise ValueError(f"{self.file} is not UTF-8") from None
        try:
            entries = json.loads(text)
        except ValueError:  # which would quote it
            raise ValueError(f"{self.file} does not hold JSON") from None
        if not isinstance(entries, dict):
            raise ValueError(f"{self.file} does not hold a JSON object")
        BearerTokens(entries)  # says what is wrong
        return entries

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """Reads the entries, and writes what becomes of them, if anything does, in one step."""
        with _alone(self.file):
            entries = self._read()
            before = dict(entries)
            yield entries
            if entries == before:
                return
            fresh = self.file.with_name(f"{self.file.name}.{secrets.token_hex(8)}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                    json.dump(entries, out, indent=2)
                    out.write("\n")
                    out.flush()
                    os.fsync(out.fileno())
                with suppress(FileNotFoundError):
                    _give_rights(self.file.stat(), fresh)
                fresh.replace(self.file)
            except BaseException:
                fresh.unlink()
                raise


def hash_of(token: str) -> str:
    """What a file has in place of a token: `sha256:` and its hash in hexadecimal.

    Raises:
        ValueError: it cannot be sent as one, or is such a hash itself.
    """
    if token.startswith("sha256:"):
        raise ValueError("it is a hash already")
    BearerTokens({token: "x"})  # says what is wrong
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def _described(secret: str, value: Any) -> Token:
    members: dict[str, Any] = {"name": value} if isinstance(value, str) else value
    claims = members.get("claims") or {}
    principal = Principal(
        members["name"],
        may_register=members.get("may_register"),
        may_call=members.get("may_call", ("*",)),
        claims=claims,
    )
    created = claims.get("created")
    registers = principal.may_register
    return Token(
        id=_id_of(secret, value),
        name=principal.name,
        created=created if isinstance(created, (int, float)) else None,
        may_register=None if registers is None else tuple(registers),
        may_call=tuple(principal.may_call),
        scopes=tuple(scope for scope in SCOPES if scope in scopes_of(principal)),
    )


def _id_of(secret: str, value: Any) -> str:
    claims = value.get("claims") if isinstance(value, dict) else None
    id = claims.get("id") if isinstance(claims, dict) else None
    if isinstance(id, str) and id:
        return id
    return hashlib.sha256(f"id of {secret}".encode()).hexdigest()[:32]


def _give_rights(old: os.stat_result, fresh: Path) -> None:
    """Lets those read and write a file who might read and write another one."""
    if hasattr(os, "chown"):
        for user, group in ((-1, old.st_gid), (old.st_uid, -1)):
            with suppress(PermissionError):
                os.chown(fresh, user, group)
    if fresh.stat().st_gid == old.st_gid:  # else the rights of the group are not for this one
        fresh.chmod(old.st_mode & 0o777)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Has one process at a time change a file."""
    try:
        import fcntl
    except ImportError:  # Windows, where one has to take care oneself
        yield
        return
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # gives the lock back
