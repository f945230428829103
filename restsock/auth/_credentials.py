"""What a dialer shows: header fields of its upgrade request."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from ._authorization import basic_value, is_token

__all__ = ["Basic", "Bearer", "Credentials"]

_Fields: TypeAlias = "Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]"

Credentials: TypeAlias = Callable[[], "_Fields | Awaitable[_Fields]"]
"""Gives header fields for an attempt to connect; is called for each. May wait."""


class _Secret(ABC):
    """Credentials with a secret that is exactly one of a text, a variable and a file.

    Attributes:
        waits: For the caller: it may be called on the loop.
    """

    waits = False

    def __init__(
        self,
        what: str,
        text: str | None,
        env: str | None,
        file: str | os.PathLike[str] | None,
    ) -> None:
        if sum(given is not None for given in (text, env, file)) != 1:
            raise ValueError(f"give the {what}, env= or file=, and only one of them")
        if text is not None and not isinstance(text, str):
            raise TypeError(f"the {what} must be a str, not {type(text).__name__}")
        if env is not None:
            text = os.environ.get(env)
            if text is None:
                raise ValueError(f"the environment variable {env} is not set")
        self._what = what
        self._literal = env is None and file is None
        self._text = text
        self._env = env
        self._file = None if file is None else Path(file)
        self()  # shows at once what is wrong

    @property
    def renewable(self) -> bool:
        """Whether another attempt may have another secret."""
        return self._file is not None

    @abstractmethod
    def __call__(self) -> list[tuple[bytes, bytes]]:
        """The header fields; raises as making it does."""

    def _read(self) -> str:
        """The secret.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not UTF-8.
        """
        text = self._text
        if self._file is not None:
            try:
                text = self._file.read_text("utf-8")
            except UnicodeDecodeError:  # it would quote it
                raise ValueError(f"{self._source} is not UTF-8") from None
        assert text is not None
        if self._literal:
            return text
        # A password may end with a space; no token does.
        return text.rstrip("\r\n") if self._what == "password" else text.strip()

    @property
    def _source(self) -> str:
        """Where the secret comes from, for errors."""
        if self._file is not None:
            return f"the file {self._file}"
        return f"the {self._what}" if self._env is None else f"the variable {self._env}"

    @property
    def _shown(self) -> str:
        """The same for a `repr`."""
        if self._file is not None:
            return f"file={str(self._file)!r}"
        return "'***'" if self._env is None else f"env={self._env!r}"


class Bearer(_Secret):
    """A bearer token (RFC 6750), given as it is, by a variable, or by a file.

        connect(url, auth=Bearer(env="HUB_TOKEN"))

    A file is read again for each attempt to connect, so it may change. It contains the token; white
    space around it is dropped.

    Args:
        token: the token itself.
        env: the name of an environment variable, read now.
        file: a path.

    Raises:
        ValueError: not exactly one of these; the variable is not set; or what was found cannot be
            sent as a token.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        env: str | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__("token", token, env, file)

    def __call__(self) -> list[tuple[bytes, bytes]]:
        token = self._read().encode("utf-8", "replace")
        if not is_token(token):
            raise ValueError(
                f"what {self._source} holds is not a bearer token (RFC 6750, section 2.1)"
            )
        return [(b"Authorization", b"Bearer " + token)]

    def __repr__(self) -> str:
        return f"Bearer({self._shown})"


class Basic(_Secret):
    """User and password (RFC 7617). Only for `wss`: otherwise anyone on the path could read them.

        connect(url, auth=Basic("edge-1", file="/run/secrets/password"))

    Args:
        user: the user name.
        password: the password itself.
        env: the name of an environment variable that holds the password, read now.
        file: the path of a file that does; read again for each attempt. A line end after it is
            dropped.

    Raises:
        ValueError: not exactly one password; the variable is not set; or they cannot be sent.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        user: str,
        password: str | None = None,
        *,
        env: str | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> None:
        if not isinstance(user, str):
            raise TypeError(f"the user must be a str, not {type(user).__name__}")
        self._user = user
        super().__init__("password", password, env, file)

    def __call__(self) -> list[tuple[bytes, bytes]]:
        return [(b"Authorization", basic_value(self._user, self._read()))]

    def user_and_password(self) -> tuple[str, str]:
        """Both, for protocols without a header field. Reads the file.

        Raises:
            OSError: the file cannot be read.
            ValueError: there is no password in it.
        """
        return self._user, self._read()

    def __repr__(self) -> str:
        return f"Basic({self._user!r}, {self._shown})"
