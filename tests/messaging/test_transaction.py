"""What a handler does in the store is there with the note that its message is handled, or not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from restsock.messaging import (
    Mark,
    Message,
    Messaging,
    MessagingOptions,
    SQLiteStore,
    StoreFailed,
    Transaction,
)
from tests.apis import API, each_native_api
from tests.messaging.faces import joined, messaging
from tests.messaging.links import pair

AT_LEAST: Any = {"delivery": "at_least_once"}
SOON = MessagingOptions(redelivery=restsock.Backoff(initial=0.01, cap=0.02))


def make_table(transaction: Transaction) -> None:
    transaction.execute("CREATE TABLE IF NOT EXISTS kept (body)")


def kept(transaction: Transaction) -> list[Any]:
    return [body for (body,) in transaction.execute("SELECT body FROM kept ORDER BY rowid")]


def keeps(body: Any) -> Any:
    return lambda transaction: transaction.execute("INSERT INTO kept VALUES (?)", [body])


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    try:
        await store.transact(make_table)
        yield store
    finally:
        await store.aclose()


@each_native_api
async def test_a_handler_and_a_loop_keep_messages_in_the_store(api: API, tmp_path: Path) -> None:
    dialer = messaging(api)
    listener = messaging(api, SQLiteStore(tmp_path / "in.db"), options=SOON)

    @listener.on("readings")
    async def keep(message: Any) -> None:
        def work(transaction: Transaction) -> int:
            transaction.executemany("INSERT INTO kept VALUES (?)", [[message.body]])
            if message.body == 1 and message.attempt == 1:
                raise KeyError(message.body)
            return len(kept(transaction))

        assert await message.transact(work) == message.body + 1
        assert message.acknowledged
        if message.body == 2:
            raise ValueError("behind the transaction this changes nothing")

    async with joined(api, dialer, listener):
        await listener.transact(make_table)
        channel = dialer.channel("readings", **AT_LEAST)
        for body in range(4):
            await channel.send(body)
        await channel.drain()
        assert await listener.transact(kept) == [0, 1, 2, 3]
        stream = listener.messages("events")
        await dialer.channel("events", **AT_LEAST).send("event")
        message = await stream.receive()
        await message.transact(keeps("event"))
        await dialer.channel("events", **AT_LEAST).drain()
        with pytest.raises(RuntimeError, match="ack or nack already"):
            await message.transact(keeps("event"))
        assert await listener.transact(kept) == [0, 1, 2, 3, "event"]
    assert dialer.statistics().messages_redelivered == 1


async def test_it_is_refused_where_it_could_not_hold_what_it_promises(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    async def try_(message: Message) -> None:
        try:
            await message.transact(make_table)
        except RuntimeError as exc:
            errors.append(exc)

    listener = Messaging(SQLiteStore(tmp_path / "in.db"))
    listener.on("two")(try_)
    listener.on("two")(try_)
    listener.on("optional", required=False)(try_)
    listener.on("optional", required=False)(try_)
    listener.on("mixed", required=False)(try_)

    @listener.on("mixed")
    async def alone(message: Message) -> None:
        await message.transact(make_table)

    async with pair(listener=listener) as (dialer, _, _link):
        for channel in ("two", "optional", "mixed"):
            await dialer.channel(channel, **AT_LEAST).send(1)
            await dialer.channel(channel, **AT_LEAST).drain()
        with pytest.raises(TypeError, match="plain function"):
            await listener.transact(alone)  # type: ignore[arg-type,unused-coroutine]
        with pytest.raises(RuntimeError, match="MemoryStore has no transactions"):
            await dialer.transact(make_table)
    assert ["only required handler" in str(error) for error in errors] == [True] * 5


async def test_what_nobody_else_may_say_meanwhile(tmp_path: Path) -> None:
    """A nack that comes in the middle of a transaction that succeeds must not bring it again."""
    async with pair(listener=Messaging(SQLiteStore(tmp_path / "in.db"), options=SOON)) as (
        dialer,
        listener,
        _,
    ):
        await listener.transact(make_table)
        stream = listener.messages("c")
        await dialer.channel("c", **AT_LEAST).send(1)
        message = await stream.receive()

        def work(transaction: Transaction) -> None:
            keeps(1)(transaction)
            message.nack("too late")

        await message.transact(work)
        await dialer.channel("c", **AT_LEAST).drain()
        assert dialer.statistics().nacks_received == 0


async def test_a_cancellation_waits_and_the_message_does_not_come_again(tmp_path: Path) -> None:
    async with pair(listener=Messaging(SQLiteStore(tmp_path / "in.db"), options=SOON)) as (
        dialer,
        listener,
        _,
    ):
        await listener.transact(make_table)
        stream = listener.messages("c")
        await dialer.channel("c", **AT_LEAST).send(1)
        message = await stream.receive()
        with trio.CancelScope() as scope:
            task = trio.lowlevel.current_trio_token()

            def work(transaction: Transaction) -> None:
                task.run_sync_soon(scope.cancel)
                keeps(1)(transaction)

            await message.transact(work)
        await dialer.channel("c", **AT_LEAST).drain()
        assert message.acknowledged
        assert await listener.transact(kept) == [1]
        with trio.CancelScope() as scope:  # one that was cancelled before does nothing
            scope.cancel()
            await listener.transact(keeps(2))
        assert await listener.transact(kept) == [1]


# --- the store --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "BEGIN IMMEDIATE",
        "SAVEPOINT call",
        "RELEASE call",
        "ROLLBACK TO call",
        "PRAGMA synchronous = OFF",
        "PRAGMA user_version",
        "ATTACH ':memory:' AS other",
        "VACUUM",
        "DELETE FROM outbox",
        "SELECT * FROM Marks",
        "DROP TABLE handled",
        "ALTER TABLE dead ADD COLUMN more",
        "CREATE INDEX i ON outbox (id)",
        "CREATE TRIGGER t AFTER INSERT ON outbox BEGIN SELECT 1; END",
        "INSERT INTO kept SELECT count(*) FROM outbox",
        "DELETE FROM marks WHERE sender = ? AND channel = ? AND epoch = ?",
        "SELECT 1; SELECT 2",
    ],
)
async def test_a_function_cannot_harm_the_store(tmp_path: Path, statement: str) -> None:
    async with opened(tmp_path / "in.db") as store:
        await store.forget([("edge", "c", "e")])  # so that its statements are known

        def work(transaction: Transaction) -> None:
            transaction.execute("INSERT INTO kept VALUES ('harm')")
            transaction.execute(statement, ["edge", "c", "e"] if "?" in statement else ())

        with pytest.raises((sqlite3.Error, sqlite3.Warning)):
            await store.transact(work)
        await store.mark([Mark("edge", "c", "e", 3)])
        assert await store.transact(kept) == []
        assert [mark.upto for mark in (await store.load()).marks] == [3]


@pytest.mark.parametrize("name", ["hidden", "TEMP.hidden", '"temp"."hidden"'])
async def test_nothing_stands_before_a_table_of_the_store(tmp_path: Path, name: str) -> None:
    """A temporary table of the same name would: the store would write to that, and lose it."""

    def hide(transaction: Transaction) -> None:
        transaction.execute("CREATE TEMP TABLE hidden AS SELECT 1 AS sender")
        transaction.execute(f"ALTER TABLE {name} RENAME TO marks")

    async with opened(tmp_path / "in.db") as store:
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            await store.transact(hide)
        await store.mark([Mark("edge", "c", "e", 3)])
    async with opened(tmp_path / "in.db") as store:
        assert [mark.upto for mark in (await store.load()).marks] == [3]


@pytest.mark.parametrize("caught", [False, True])
async def test_one_that_rolls_back_takes_no_other_call_with_it(
    tmp_path: Path, caught: bool
) -> None:
    async with opened(tmp_path / "in.db") as store:
        await store.transact(lambda one: one.execute("CREATE UNIQUE INDEX i ON kept (body)"))
        await store.transact(keeps("there"))
        results: list[Any] = []

        def work(transaction: Transaction) -> None:
            try:
                transaction.execute("INSERT OR ROLLBACK INTO kept VALUES ('there')")
            except sqlite3.IntegrityError:
                if not caught:
                    raise

        async def harm() -> None:
            with pytest.raises(sqlite3.Error) as failed:
                await store.transact(work, [Mark("edge", "c", "e", 9)])
            results.append(failed.value)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(store.mark, [Mark("edge", "c", f"a{number}", 1)])
                nursery.start_soon(store.transact, keeps(number))
                nursery.start_soon(harm)
        assert len(results) == 3
        assert sorted(mark.epoch for mark in (await store.load()).marks) == ["a0", "a1", "a2"]
        assert sorted(map(str, await store.transact(kept))) == ["0", "1", "2", "there"]


async def test_an_error_says_where_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db") as store:

        def find_me(transaction: Transaction) -> None:
            transaction.execute("SELECT nothing")

        with pytest.raises(sqlite3.OperationalError) as failed:
            await store.transact(find_me)
        assert "find_me" in [entry.name for entry in failed.traceback]

        def leave(transaction: Transaction) -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            await store.transact(leave)
        taken: list[Transaction] = []
        await store.transact(taken.append)
        with pytest.raises(RuntimeError, match="over"):
            taken[0].execute("SELECT 1")


async def test_a_mark_of_before_takes_nothing_back(tmp_path: Path) -> None:
    """A transaction overtakes marks that wait to be tried again after an error of the disk."""
    async with opened(tmp_path / "in.db") as store:
        await store.transact(keeps(1), [Mark("edge", "c", "e", 7, (9,))])
        await store.mark([Mark("edge", "c", "e", 5, (6,))])
        (mark,) = (await store.load()).marks
        assert (mark.upto, mark.seqs) == (7, (9,))


async def test_a_store_that_fails_says_so(tmp_path: Path) -> None:
    class Full(SQLiteStore):
        async def transact(self, work: Any, marks: Any = ()) -> Any:
            await super().transact(work, marks)
            raise sqlite3.OperationalError("database or disk is full")

    async with Messaging(Full(tmp_path / "in.db")) as one:
        with pytest.raises(StoreFailed, match="disk is full"):
            await one.transact(make_table)


# --- kill -9 ----------------------------------------------------------------------------------

PROGRAM = """
import sys, trio
from restsock.messaging import Mark, SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    await store.transact(lambda one: one.execute("CREATE TABLE kept (lane, seq)"))

    async def keep(lane):
        for seq in range(1, 1_000_000):
            await store.transact(
                lambda one: one.execute("INSERT INTO kept VALUES (?, ?)", [lane, seq]),
                [Mark(lane, "c", "e", seq - 1, (seq,))],
            )
            print(lane, seq, flush=True)

    async with trio.open_nursery() as nursery:
        for lane in "abcd":
            nursery.start_soon(keep, lane)

trio.run(main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL")
async def test_both_are_there_after_kill_9_or_neither(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "in.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(200)]
        finally:
            process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    told: dict[str, int] = {}
    for line in lines:
        if line.endswith("\n"):
            lane, seq = line.split()
            told[lane] = int(seq)
    store = SQLiteStore(tmp_path / "in.db")
    await store.open()
    try:
        rows = await store.transact(lambda one: one.execute("SELECT lane, seq FROM kept"))
        marks = (await store.load()).marks
    finally:
        await store.aclose()
    for lane, last in told.items():
        seqs = [seq for found, seq in rows if found == lane]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= last
        (mark,) = [mark for mark in marks if mark.sender == lane]
        assert max(mark.upto, *mark.seqs) == len(seqs)
