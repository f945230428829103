"""Files that change, are gone, cannot be read for a while, and are right again in the end."""

from __future__ import annotations

import json
import logging
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from restsock import _watch, tls
from restsock.auth import BearerTokens, Refused, Upgrade

_log = logging.getLogger("restsock.auth")

SECRET = "s3cr3t-and-long"
OTHER = "another-s3cr3t"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Follower:
    """Something from files: what it was given to load, and whether it can."""

    def __init__(
        self,
        *paths: Path,
        clock: Callable[[], float],
        wall: Callable[[], float] = lambda: 4e9,
    ) -> None:
        self.watch = _watch.Watch(*paths, log=_log, clock=clock, wall=wall)
        self.problem: Exception | None = None
        self.tries = 0

    def load(self) -> None:
        self.tries += 1
        if self.problem is not None:
            raise self.problem

    def changed(self) -> bool:
        return self.watch.renew(self.load, self)

    def __repr__(self) -> str:
        return "Follower()"


def test_a_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("a")
    clock = Clock()
    watch = Follower(file, clock=clock)
    file.write_text("bb")
    clock.now += 0.9
    assert not watch.changed()
    clock.now += 0.2
    assert watch.changed()
    assert not watch.changed()
    clock.now += 1
    assert not watch.changed()


def test_time_size_and_inode_each_are_enough(tmp_path: Path) -> None:
    file, other = tmp_path / "f", tmp_path / "g"
    clock = Clock()

    def write(path: Path, text: str, mtime: int) -> None:
        path.write_text(text)
        os.utime(path, (mtime, mtime))

    write(file, "a", 1000)
    watch = Follower(file, clock=clock)
    clock.now += 2
    assert not watch.changed()  # and settled from here on

    def write_anew(text: str, mtime: int) -> None:
        write(other, text, mtime)
        other.replace(file)

    changes: list[Callable[[], None]] = [
        lambda: write(file, "b", 2000),  # the time alone
        lambda: write(file, "bb", 2000),  # the size alone
        lambda: write_anew("cc", 2000),  # the inode alone
    ]
    for change in changes:
        change()
        clock.now += 2
        assert watch.changed()
        clock.now += 2
        assert not watch.changed()
    # The same contents are no change, whatever else has.
    write(file, "cc", 3000)
    clock.now += 2
    assert not watch.changed()


def test_a_link_that_points_elsewhere(tmp_path: Path) -> None:
    """As in Kubernetes, where a secret is replaced by moving a link."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(tmp_path / "one")
    clock = Clock()
    watch = Follower(link, clock=clock)
    other.symlink_to(tmp_path / "two")
    other.replace(link)
    clock.now += 2
    assert watch.changed()


def test_two_changes_within_one_tick_of_the_file_system(tmp_path: Path) -> None:
    file = tmp_path / "f"
    clock = Clock()
    wall = Clock()
    file.write_text("a")
    os.utime(file, (1000, 1000))
    wall.now = 1001.0
    watch = Follower(file, clock=clock, wall=wall)
    inode = file.stat().st_ino
    with file.open("r+") as same:
        same.write("b")
    os.utime(file, (1000, 1000))
    assert file.stat().st_ino == inode
    clock.now += 1
    assert watch.changed()  # though time, size and inode are what they were
    wall.now = 1010.0
    clock.now += 1
    assert not watch.changed()


def test_a_file_that_goes_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restsock.auth")
    file = tmp_path / "f"
    file.write_text("a")
    clock = Clock()
    watch = Follower(file, clock=clock)
    file.unlink()
    watch.problem = FileNotFoundError(2, "No such file or directory", "f")
    for _ in range(5):
        clock.now += 1
        assert not watch.changed()
    assert watch.tries == 5
    file.write_text("a")  # as it was: there is nothing to load
    clock.now += 1
    assert not watch.changed()
    file.write_text("b")
    watch.problem = None
    clock.now += 1
    assert watch.changed()
    words = "cannot use the new files, keeping the old: [Errno 2] No such file or directory: 'f'"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", f"Follower(): {words}"),
        ("WARNING", "Follower(): the files are what they were again"),
        ("INFO", "Follower(): new files are in use"),
    ]


@pytest.mark.parametrize("problem", [OSError(24, "Too many open files"), ValueError("not JSON")])
def test_what_failed_is_tried_until_it_has_worked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, problem: Exception
) -> None:
    """Though the files do not change any more; and the log is not filled with it."""
    caplog.set_level(logging.INFO, "restsock.auth")
    file = tmp_path / "f"
    file.write_text("a")
    os.utime(file, (1000, 1000))
    clock = Clock()
    watch = Follower(file, clock=clock)
    file.write_text("b")
    os.utime(file, (2000, 2000))
    watch.problem = problem
    for _ in range(150):
        clock.now += 1
        assert not watch.changed()
    assert watch.tries == 150
    assert len(caplog.records) == 3  # at once, and once a minute
    watch.problem = ValueError("something else")
    clock.now += 1
    assert not watch.changed()
    assert len(caplog.records) == 4
    watch.problem = None
    clock.now += 1
    assert watch.changed()
    assert caplog.messages[-1] == "Follower(): new files are in use"
    clock.now += 1
    assert not watch.changed()
    assert len(caplog.records) == 5


# --- who goes by it -----------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever somebody asks."""
    monkeypatch.setattr(_watch, "_INTERVAL", 0)


@contextmanager
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file can be opened, by whatever means."""
    with monkeypatch.context() as patch:

        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(24, "Too many open files")

        patch.setattr(Path, "read_text", refuse)
        patch.setattr(Path, "read_bytes", refuse)
        patch.setattr(ssl.SSLContext, "load_cert_chain", refuse)
        yield


@contextmanager
def no_descriptors() -> Iterator[None]:
    """All descriptors that this process may have are taken."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def knows(tokens: BearerTokens, token: str) -> bool:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    try:
        return tokens(Upgrade("/", headers, "127.0.0.1", 1)) is not None
    except Refused:
        return False


def test_a_withdrawn_token_is_so_after_a_failed_read(
    tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "a", OTHER: "b"}))
    tokens = BearerTokens(file=file)
    assert knows(tokens, SECRET)
    file.write_text(json.dumps({OTHER: "b"}))
    os.utime(file, (1000, 1000))  # long ago: nothing but the failure makes it look again
    with unreadable(monkeypatch):
        for _ in range(3):
            assert knows(tokens, SECRET)  # what was read last holds
    assert not knows(tokens, SECRET)
    assert knows(tokens, OTHER)


def test_a_token_is_withdrawn_while_there_is_no_descriptor(tmp_path: Path, eager: None) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({SECRET: "a", OTHER: "b"}))
    tokens = BearerTokens(file=file)
    file.write_text(json.dumps({OTHER: "b"}))
    with no_descriptors():
        assert not knows(tokens, SECRET)
        assert knows(tokens, OTHER)


def certificate(folder: Path, ca: trustme.CA) -> Path:
    path = folder / "hub.pem"
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.mark.parametrize("end", ["server", "client"])
def test_certificates_are_new_after_a_failed_read(
    tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    ca = trustme.CA()
    path = certificate(tmp_path, ca)
    make = tls.server if end == "server" else tls.client
    files = make(certificate=path)
    before = files.context()
    certificate(tmp_path, ca)
    os.utime(path, (3000, 3000))
    with unreadable(monkeypatch):
        for _ in range(3):
            assert files.context() is before
    after = files.context()
    assert after is not before
    assert files.context() is after


def test_certificates_are_new_while_there_is_no_descriptor(tmp_path: Path, eager: None) -> None:
    ca = trustme.CA()
    files = tls.server(certificate(tmp_path, ca))
    before = files.context()
    certificate(tmp_path, ca)
    with no_descriptors():
        assert files.context() is not before
