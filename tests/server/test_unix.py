"""The file of a Unix socket: who makes it, replaces it and removes it; and what is refused."""

# ruff: noqa: ASYNC240  # looking at a file takes no time here

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from restsock import SocketOptions, connect, listen
from restsock.server import _unix
from restsock.server._unix import UnixListener, open_unix_listeners
from tests.server.socket_file import socket_path as socket_path

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")


async def opened(path: Path, **options: Any) -> UnixListener:
    (listener,) = await open_unix_listeners(str(path), 0, SocketOptions(**options))
    return listener


def leave_stale(path: Path) -> None:
    """Leaves what a process leaves that is killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
        dead.listen()


async def test_nothing_connects_before_the_mode_is_set(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chmod, tries = Path.chmod, []

    def late(path: Path, mode: int) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
            tries.append(early.connect_ex(str(path)))
        chmod(path, mode)

    monkeypatch.setattr(Path, "chmod", late)
    before = os.umask(0)
    try:
        async with await opened(socket_path):
            assert stat.S_IMODE(socket_path.lstat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert tries == [errno.ECONNREFUSED]


async def test_a_stale_file_is_replaced(socket_path: Path) -> None:
    leave_stale(socket_path)
    async with await opened(socket_path):
        await (await trio.open_unix_socket(socket_path)).aclose()
    assert not socket_path.exists()


async def test_one_that_is_alive_is_not(socket_path: Path) -> None:
    async with await opened(socket_path):
        inode = socket_path.lstat().st_ino
        with pytest.raises(OSError, match="in use; stop the program that listens there") as caught:
            await opened(socket_path)
        assert caught.value.errno == errno.EADDRINUSE
        assert socket_path.lstat().st_ino == inode


async def test_one_with_a_full_queue_is_alive(socket_path: Path) -> None:
    async with await opened(socket_path, backlog=1):
        dialers = []
        while True:
            dialer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            dialers.append(dialer)
            dialer.setblocking(False)
            if dialer.connect_ex(str(socket_path)):
                break
        with pytest.raises(OSError, match="in use"):
            await opened(socket_path)
        for dialer in dialers:
            dialer.close()


async def test_one_of_another_kind_is_not_ours(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(socket_path))
        with pytest.raises(OSError, match=r"cannot listen on .*hub\.sock: "):
            await opened(socket_path)
        assert socket_path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dead link", "pipe"])
async def test_what_is_no_socket_is_never_removed(socket_path: Path, kind: str) -> None:
    if kind == "file":
        socket_path.write_text("precious")
    elif kind == "folder":
        socket_path.mkdir()
    elif kind == "pipe":
        os.mkfifo(socket_path)
    else:
        target = socket_path.with_name("target")
        if kind == "link":
            leave_stale(target)
        socket_path.symlink_to(target)
    before = socket_path.lstat()
    with pytest.raises(FileExistsError, match="it is no socket, and is not removed"):
        await opened(socket_path)
    assert socket_path.lstat() == before


async def test_no_folder(socket_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="its folder has to exist"):
        await opened(socket_path / "no" / "hub.sock")


async def test_a_file_that_is_another_ones_by_now_stays(socket_path: Path) -> None:
    first = await opened(socket_path)
    socket_path.unlink()
    async with await opened(socket_path):
        await first.aclose()
        assert socket_path.is_socket()
    assert not socket_path.exists()
    await first.aclose()


async def test_a_file_that_is_gone(socket_path: Path) -> None:
    async with await opened(socket_path):
        socket_path.unlink()


async def test_the_owner_may_change_the_file(socket_path: Path) -> None:
    async with await opened(socket_path):
        socket_path.chmod(0o640)
    assert not socket_path.exists()


async def test_the_child_of_a_fork_leaves_it(socket_path: Path) -> None:
    listener = await opened(socket_path)
    listener._process += 1
    await listener.aclose()
    assert socket_path.is_socket()


async def test_what_fails_leaves_nothing(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", fail)
    with pytest.raises(PermissionError, match=r"cannot listen on .*hub\.sock: Operation not"):
        await opened(socket_path)
    assert not socket_path.exists()


async def test_one_at_a_time_looks_for_a_stale_file(
    socket_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    import fcntl

    leave_stale(socket_path)
    folder = os.open(socket_path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # another one is about to listen
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def late() -> None:
            with pytest.raises(OSError, match="in use"):
                await opened(socket_path)

        await trio.sleep(1)
        socket_path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.bind(str(socket_path))
            other.listen()
            os.close(folder)
            await trio.sleep(1)


async def test_a_lock_that_is_never_given_back(
    socket_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    import fcntl

    folder = os.open(socket_path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    async with await opened(socket_path):
        assert trio.current_time() == pytest.approx(_unix._PATIENCE)
    os.close(folder)


async def test_a_cancelled_server_removes_it(socket_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with listen(f"unix:{socket_path}"):
            assert socket_path.is_socket()
            scope.cancel()
            await trio.sleep_forever()
    assert not socket_path.exists()


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        (("unix:hub.sock",), ValueError, "absolute path"),
        (("unix://hub.sock",), ValueError, "absolute path"),
        (("unix:",), ValueError, "absolute path"),
        (("unix:/a\0b",), ValueError, "zero byte"),
        (("unix:/" + "a" * 107,), ValueError, "a path of 108 bytes"),
        (("unix:/hub.sock", 0), ValueError, "no port"),
        (("127.0.0.1",), TypeError, "the port must be an int, not NoneType"),
        ((), TypeError, "the port must be an int, not NoneType"),
    ],
)
async def test_what_listen_refuses(arguments: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        async with listen(*arguments):
            pass


async def test_three_slashes(socket_path: Path) -> None:
    async with listen(f"unix://{socket_path}") as server:
        assert server.address == (str(socket_path), 0)


def test_the_mode() -> None:
    for mode in (-1, 0o1777, True, "600"):
        with pytest.raises(ValueError, match="unix_mode"):
            SocketOptions(unix_mode=mode)  # type: ignore[arg-type]


def test_a_system_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match=r"the URL: this system .* has no Unix sockets"):
        connect("ws+unix:///run/hub.sock")
    with pytest.raises(ValueError, match=r"listen on: this system .* has no Unix sockets"):
        listen("unix:/run/hub.sock")


async def test_the_url_of_one_for_plain_http(socket_path: Path) -> None:
    async with listen(f"unix:{socket_path}", peers=False, health_path="/healthz") as server:
        assert server.url == f"http+unix://{socket_path}"
