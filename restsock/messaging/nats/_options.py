"""NatsOptions: how to connect to NATS, and with which credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from restsock._options import Backoff, between, positive
from restsock.tls import ClientTLS

__all__ = ["NatsOptions", "SecretMissing", "check_name", "check_servers", "check_subject"]

_NAME = re.compile(r"[^\s.*>/\\\x00-\x20\x7f]{1,255}")
_SUBJECT = re.compile(r"[^\s.>\x00-\x20\x7f]+(\.[^\s.>\x00-\x20\x7f]+)*(\.>)?|>")
_SCHEMES = ("nats", "tls", "ws", "wss")


class SecretMissing(ValueError):  # named for what is the case
    """A secret is not where it should be."""


@dataclass(frozen=True, kw_only=True)
class NatsOptions:
    """Options of a `Nats`. Times in seconds.

    Secrets in files and environment variables are read before each connect. No secret is in a URL,
    a log, an error or the `repr`.

    Raises:
        ValueError: a value is not valid; the message names it.
    """

    credentials: Path | str | None = None
    """File with the JWT and the seed of a user (`.creds`)."""

    nkey_seed: Path | str | None = None
    """File with the seed of a user's NKey."""

    user: str = ""
    """The name of the user, with one of the next three."""

    password: str = field(default="", repr=False)
    """The password itself."""

    password_env: str = ""
    """Environment variable with the password."""

    password_file: Path | str | None = None
    """File with the password."""

    token_env: str = ""
    """Environment variable with a token."""

    token_file: Path | str | None = None
    """File with a token."""

    tls: ClientTLS | None = None
    """TLS; with it, the server has to offer TLS. URLs with `tls://` or `wss://` use TLS with the
    CAs that this system trusts."""

    tls_first: bool = False
    """Whether TLS begins before the server has sent anything (its `handshake_first`)."""

    name: str = "restsock"
    """The name of this client in the monitoring of the server."""

    connect_timeout: float = 5.0
    """How long an attempt to connect may take."""

    ready_timeout: float = 15.0
    """How long `async with` waits for the first connection."""

    ack_timeout: float = 5.0
    """How long the server may take to confirm a message before it is published again."""

    tries: int = 6
    """How often a message is published before that fails. Attempts that a lost connection cuts off
    do not count."""

    under_way: int = 256
    """Messages that may be published and not confirmed yet. More wait."""

    ping_interval: float = 10.0
    """Seconds between pings to the server. Two pings without an answer end the connection."""

    backoff: Backoff = field(default_factory=lambda: Backoff(initial=0.25, cap=5.0))
    """How long to wait between attempts to connect. `tries`, `restart` and `give_up` are ignored:
    after the first connection it never gives up."""

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "ready_timeout", "ack_timeout", "ping_interval"):
            positive(self, name)
        between(self, "tries", 1, 1000)
        between(self, "under_way", 1, 100_000)
        ways = (self.credentials, self.nkey_seed, self.user, self.token_env or self.token_file)
        if sum(bool(way) for way in ways) > 1:
            raise ValueError("one of credentials, nkey_seed, user and a token says who this is")
        passwords = (self.password, self.password_env, self.password_file)
        if bool(self.user) != any(passwords):
            raise ValueError("user needs password, password_env or password_file, and vice versa")
        if sum(map(bool, passwords)) > 1:
            raise ValueError("password, password_env and password_file exclude each other")
        if self.token_env and self.token_file:
            raise ValueError("token_env and token_file exclude each other")

    def authentication(self) -> Mapping[str, Any]:
        """Arguments for the client that say who this is. Reads files.

        Raises:
            OSError: a file cannot be read.
            SecretMissing: an environment variable is not set.
        """
        if self.credentials:
            _check_readable(self.credentials)
            return {"user_credentials": str(self.credentials)}
        if self.nkey_seed:
            _check_readable(self.nkey_seed)
            return {"nkeys_seed": str(self.nkey_seed)}
        if self.user:
            secret = self.password or _secret(self.password_env, self.password_file)
            return {"user": self.user, "password": secret}
        if self.token_env or self.token_file:
            return {"token": _secret(self.token_env, self.token_file)}
        return {}


def _check_readable(path: Path | str) -> None:
    with Path(path).open("rb"):
        pass


def _secret(variable: str, path: Path | str | None) -> str:
    if path:
        return Path(path).read_text("utf-8").strip()
    value = os.environ.get(variable, "")
    if not value:
        raise SecretMissing(f"the environment variable {variable} is not set")
    return value


def check_servers(servers: tuple[str, ...]) -> None:
    """Raises `ValueError` unless they are URLs of servers, without a secret in them."""
    if not servers:
        raise ValueError("NATS needs the URL of a server")
    for url in servers:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("no secrets in URLs: see NatsOptions")  # nor in this text
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"{url!r} is no URL such as nats://127.0.0.1:4222")


def check_name(what: str, name: str) -> None:
    """Raises `ValueError` unless it can be the name of a stream, a consumer or a queue group."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{what}: {name!r} is no name in NATS")


def check_subject(subject: str) -> None:
    """Raises `ValueError` unless it is a subject, which may have wildcards."""
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"{subject!r} is no subject")
