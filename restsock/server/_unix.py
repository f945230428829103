"""Listening on a Unix socket. Its file replaces only the file of a dead process."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from restsock._options import SocketOptions

from ._accept import backlog_of

__all__ = ["UnixListener", "open_unix_listeners"]

# Seconds to wait for another program that is about to listen in the same folder, and between tries.
# A program that holds the lock on the folder for longer has another reason for it.
_PATIENCE = 2.0
_PAUSE = 0.01

_ADVICE = {
    errno.EADDRINUSE: "stop the program that listens there, or take another path",
    errno.EEXIST: "it is no socket, and is not removed",
    errno.ENOENT: "its folder has to exist",
}


class UnixListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts from a Unix socket, and removes its file in the end, if it is still the same file.

    Args:
        sock: The socket, bound to the path and listening.
        path: The path of the file.
    """

    def __init__(self, sock: trio.socket.SocketType, path: Path) -> None:
        self.socket = sock
        self._listener = trio.SocketListener(sock)
        self._path = path
        self._inode = _inode(self._path)
        self._process = os.getpid()  # the child of a fork does not own it

    async def accept(self) -> trio.SocketStream:
        """Waits for the next connection."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Removes the file, and closes the socket. A second call is harmless."""
        if self.socket.fileno() >= 0 and os.getpid() == self._process:
            with contextlib.suppress(OSError):  # it is gone, or we may no longer remove it
                if _inode(self._path) == self._inode:
                    self._path.unlink()
        await self._listener.aclose()


async def open_unix_listeners(
    path: str | None, port: int, options: SocketOptions
) -> list[UnixListener]:
    """Binds a Unix socket and listens; see `OpenListeners`.

    Nothing can connect before the file has the mode of the options: until the socket listens, the
    system refuses all connections. A file on which no process listens any more is replaced.

    Args:
        path: The absolute path of the file.
        port: Has no meaning.
        options: The backlog and the mode of the file.

    Raises:
        OSError: Another program listens there (EADDRINUSE), the file is not a socket (EEXIST),
            there is no such folder, or this process may not write to it.
    """
    assert path is not None
    file = Path(path)
    try:
        async with _alone_in(file.parent):
            return [_listen_at(file, options)]
    except OSError as exc:
        text = f"cannot listen on {path}: {exc.strerror or exc}"
        if exc.errno in _ADVICE:
            text += f"; {_ADVICE[exc.errno]}"
        raise OSError(exc.errno, text) from exc


def _listen_at(path: Path, options: SocketOptions) -> UnixListener:
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        try:
            path.chmod(options.unix_mode)
            sock.listen(backlog_of(options))
            return UnixListener(trio.socket.from_stdlib_socket(sock), path)
        except BaseException:
            path.unlink()
            raise
    except BaseException:
        sock.close()
        raise


@contextlib.asynccontextmanager
async def _alone_in(folder: Path) -> AsyncIterator[None]:
    """A lock: one process at a time checks for a stale file and binds its own.

    Two processes at once would both find the same stale file, and the second would remove the new
    file of the first. Besides, a socket that is bound but does not listen yet looks stale.
    """
    import fcntl  # not on Windows

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with trio.move_on_after(_PATIENCE):
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await trio.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _remove_stale(path: Path) -> None:
    """Removes the file of a socket on which nothing listens.

    Raises:
        OSError: It cannot be removed, or must not be.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _inode(path: Path) -> tuple[int, int]:
    """Identifies the file as long as a socket is bound to it."""
    found = path.lstat()
    return found.st_dev, found.st_ino
