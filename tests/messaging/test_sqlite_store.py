"""What the store has returned from is there after whatever happens to the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.messaging import DeadLetter, Loaded, Mark, MemoryStore, OutRecord, SQLiteStore, Store
from restsock.messaging.engine import InboxKey, RecordKey


def record(seq: int, *, destination: str = "edge-1", channel: str = "readings") -> OutRecord:
    return OutRecord(destination, channel, "epoch", seq, f"id-{seq}", 1000 + seq, '"body":1')


async def opened(store: Store) -> Store:
    await store.open()
    return store


async def loaded(path: Path) -> Loaded:
    store = SQLiteStore(path)
    await store.open()
    try:
        return await store.load()
    finally:
        await store.aclose()


def plain(found: Loaded) -> tuple[list[OutRecord], list[Mark], list[DeadLetter]]:
    return list(found.records), list(found.marks), list(found.dead)


# --- it does what the one in memory does ----------------------------------------------------

SEQS = st.integers(1, 6)
KEYS = st.tuples(st.sampled_from(["", "edge-1"]), st.just("c"), st.just("e"), SEQS)
SENDERS = st.tuples(st.sampled_from(["a", "b"]), st.just("c"), st.sampled_from(["e", "f"]))
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(KEYS, max_size=3, unique=True)),
    st.tuples(st.just("done"), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("attempts"), st.dictionaries(KEYS, st.integers(0, 9), max_size=2)),
    st.tuples(st.just("dead"), st.lists(KEYS, max_size=3, unique=True)),
    st.tuples(st.just("revive"), st.lists(KEYS, max_size=2)),
    st.tuples(
        st.just("mark"),
        st.lists(st.tuples(SENDERS, st.integers(0, 5), st.lists(SEQS, unique=True)), max_size=3),
    ),
    st.tuples(st.just("forget"), st.lists(SENDERS, max_size=2)),
    st.just(("reopen", [])),
)


def record_of(key: RecordKey, content: str, attempts: int = 0) -> OutRecord:
    destination, channel, epoch, seq = key
    return OutRecord(destination, channel, epoch, seq, f"id-{key}", 7, content, attempts)


def mark_of(key: InboxKey, upto: int, seqs: list[int]) -> Mark:
    sender, channel, epoch = key
    return Mark(sender, channel, epoch, upto, tuple(seqs))


async def apply(store: Store, step: tuple[str, Any], had: set[RecordKey]) -> Store:
    what, given = step
    if what == "add":
        keys = [key for key in given if key not in had]
        await store.add([record_of(key, '"body":1') for key in keys])
    elif what == "dead":
        dead = {letter.record.key for letter in (await store.load()).dead}
        letters = [
            DeadLetter(record_of(key, "", 3), "final", 1.5)
            for key in given
            if key not in dead  # it dies once
        ]
        await store.dead(letters)
    elif what == "mark":
        await store.mark([mark_of(key, upto, seqs) for key, upto, seqs in given])
    elif what == "reopen":
        if isinstance(store, SQLiteStore):
            await store.aclose()
            store = await opened(SQLiteStore(store.path, dead_letters=3))
    else:
        await getattr(store, what)(given)
    return store


@given(steps=st.lists(STEPS, max_size=12))
@settings(max_examples=60)
def test_it_holds_what_the_one_in_memory_holds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("store") / "out.db"

    async def main() -> None:
        memory: Store = await opened(MemoryStore(dead_letters=3))
        disk: Store = await opened(SQLiteStore(path, dead_letters=3))
        try:
            had: set[RecordKey] = set()
            for step in steps:
                memory = await apply(memory, step, had)
                disk = await apply(disk, step, had)
                if step[0] in ("add", "dead"):
                    had.update(step[1])
                assert plain(await disk.load()) == plain(await memory.load())
        finally:
            await disk.aclose()

    trio.run(main)


# --- many at once ---------------------------------------------------------------------------


async def test_calls_that_come_together_share_a_write_to_the_disk(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "out.db")
    await store.open()
    try:
        async with trio.open_nursery() as nursery:
            for seq in range(1, 501):
                nursery.start_soon(store.add, [record(seq)])
        assert len((await store.load()).records) == 500
        assert store.commits < 50
    finally:
        await store.aclose()


async def test_a_call_that_fails_takes_nothing_and_no_other_with_it(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "out.db")
    await store.open()
    try:
        await store.add([record(1)])
        failures: list[Exception] = []

        async def twice() -> None:
            try:
                await store.add([record(2), record(1)])
            except sqlite3.IntegrityError as exc:
                failures.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.add, [record(3)])
            nursery.start_soon(twice)
            nursery.start_soon(store.add, [record(4)])
        assert len(failures) == 1
        assert sorted(found.seq for found in (await store.load()).records) == [1, 3, 4]
    finally:
        await store.aclose()


async def test_one_that_is_cancelled_leaves_the_others_alone(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "out.db")
    await store.open()
    try:
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.add([record(1)])
        assert scope.cancelled_caught
        await store.add([record(2)])
        assert 2 in [found.seq for found in (await store.load()).records]
    finally:
        await store.aclose()


async def test_no_thread_is_left(tmp_path: Path) -> None:
    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if "restsock store" in thread.name]

    store = SQLiteStore(tmp_path / "out.db")
    await store.open()
    assert len(ours()) == 1
    await store.add([record(1)])
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    assert not ours()
    await store.aclose()
    with pytest.raises(RuntimeError, match="is not open"):
        await store.load()


# --- the disk is full -------------------------------------------------------------------------


async def test_a_full_disk_is_told_and_harms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    store = SQLiteStore(path)
    await store.open()
    try:
        await store.add([record(1)])

        def limit(database: sqlite3.Connection) -> None:
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            database.execute(f"PRAGMA max_page_count = {pages + 2}")

        await store._thread.do(limit)
        big = [OutRecord("", "c", "e", seq, str(seq), 1, "x" * 5000) for seq in range(10)]
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await store.add(big)
        await store.done([record(1).key])
        await store.add([record(2)])
        assert [found.seq for found in (await store.load()).records] == [2]
    finally:
        await store.aclose()
    assert [found.seq for found in (await loaded(path)).records] == [2]


# --- the file ---------------------------------------------------------------------------------


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
async def test_the_file_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.db"
    before = os.umask(0)
    store = SQLiteStore(path)
    try:
        await store.open()
        await store.add([record(1)])
        modes = modes_in(tmp_path)
        assert path.name in modes
        assert set(modes.values()) == {0o600}
    finally:
        os.umask(before)
        await store.aclose()


async def test_one_process_has_it_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restsock.messaging._sqlite_store._PATIENCE", 0.1)
    first, second = SQLiteStore(tmp_path / "out.db"), SQLiteStore(tmp_path / "out.db")
    await first.open()
    with pytest.raises(OSError, match="in use"):
        await second.open()
    await first.aclose()
    await second.open()
    await second.aclose()


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is not a database at all" * 50)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        await SQLiteStore(tmp_path / "text").open()
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(sqlite3.DatabaseError, match="another program"):
        await SQLiteStore(tmp_path / "other.db").open()
    store = SQLiteStore(tmp_path / "out.db")
    await store.open()
    await store.aclose()
    with sqlite3.connect(tmp_path / "out.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(sqlite3.DatabaseError, match="another version"):
        await store.open()
    with pytest.raises(FileNotFoundError):
        await SQLiteStore(tmp_path / "no" / "out.db").open()


# --- kill -9 ----------------------------------------------------------------------------------

PROGRAM = """
import sys, trio
from restsock.messaging import Mark, OutRecord, SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()

    async def write(lane):
        for seq in range(1, 1_000_000):
            await store.add([OutRecord("", lane, "e", seq, "id", 1, "x" * 200)])
            await store.mark([Mark(lane, "c", "e", seq)])
            print(lane, seq, flush=True)

    async with trio.open_nursery() as nursery:
        for lane in "abcd":
            nursery.start_soon(write, lane)

trio.run(main)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "out.db")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_what_was_returned_from_is_there_after_kill_9(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(200)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.readlines()
    told: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            lane, seq = line.split()
            assert int(seq) == told.get(lane, 0) + 1
            told[lane] = int(seq)
    assert sum(told.values()) >= 200
    found = await loaded(tmp_path / "out.db")
    for lane, last in told.items():
        seqs = [record.seq for record in found.records if record.channel == lane]
        assert seqs == list(range(1, len(seqs) + 1))
        assert last <= len(seqs) <= last + 1
        (mark,) = [mark for mark in found.marks if mark.sender == lane]
        assert last <= mark.upto <= last + 1
