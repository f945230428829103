"""The folder of a hub, with the token of its admin API."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ._errors import ConfigError

__all__ = ["ADMIN_TOKEN", "admin_token", "state_folder"]

ADMIN_TOKEN = "admin-token"  # noqa: S105  # the name of a file
"""The name of the file that holds the token, in the folder."""


def state_folder(given: str | None = None) -> Path:
    """The folder of a hub; it may not exist yet.

    That of systemd (`StateDirectory=`) or, without one, of the user.

    Args:
        given: what the configuration says, `hub.state`.

    Raises:
        ConfigError: there is none of these.
    """
    if given is not None:
        return Path(given)
    by_systemd = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if by_systemd:
        return Path(by_systemd)
    base = os.environ.get("XDG_STATE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".local" / "state") / "restsock"
    except RuntimeError:
        raise ConfigError("hub.state", "this user has no home: name a folder") from None


def admin_token(folder: Path, *, new: bool = False) -> str:
    """The token of the admin API, from its file, which is made where there is none.

    The folder has mode 0700 and the file 0600.

    Args:
        folder: of the hub.
        new: whether to make another one in any case.

    Raises:
        ConfigError: others may write to the folder, or read the file.
        OSError: they cannot be made, or read.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError("hub.state", f"others may write to {folder}: chmod 700 it")
    file = folder / ADMIN_TOKEN
    if not new:
        with suppress(FileNotFoundError):
            if os.name == "posix" and file.stat().st_mode & 0o077:
                raise ConfigError("hub.state", f"others may read {file}: chmod 600 it")
            token = file.read_text("ascii").strip()
            if token:
                return token
    token = secrets.token_urlsafe(32)
    fresh = folder / f"{ADMIN_TOKEN}.{secrets.token_hex(8)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(f"{token}\n")
    fresh.replace(file)
    return token
