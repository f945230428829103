"""What a store has to do, shown by the one in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from restsock.messaging import DeadLetter, Loaded, Mark, MemoryStore, OutRecord


def record(seq: int, **more: object) -> OutRecord:
    one = OutRecord("edge", "c", "e", seq, f"id-{seq}", 0, f'"body":{seq}')
    return replace(one, **more)  # type: ignore[arg-type]


async def test_the_outbox() -> None:
    store = MemoryStore()
    await store.open()
    assert await store.load() == Loaded()
    await store.add([record(1), record(2)])
    await store.add([record(3), record(1, destination="other")])
    await store.done([record(2).key, record(9).key])
    await store.attempts({record(3).key: 4, record(9).key: 1})
    loaded = await store.load()
    assert [*loaded.records] == [
        record(1),
        record(3, attempts=4),
        record(1, destination="other"),
    ]
    await store.aclose()


async def test_dead_letters() -> None:
    store = MemoryStore(dead_letters=2)
    await store.add([record(seq) for seq in range(1, 5)])
    for seq in range(1, 5):
        await store.dead([DeadLetter(record(seq), "why", 1.0)])
    loaded = await store.load()
    assert loaded.records == ()
    assert [letter.record.seq for letter in loaded.dead] == [3, 4]
    await store.revive([record(3).key, record(9).key])
    assert [letter.record.seq for letter in (await store.load()).dead] == [4]
    with pytest.raises(ValueError, match="dead_letters"):
        MemoryStore(dead_letters=-1)


async def test_marks() -> None:
    store = MemoryStore()
    await store.mark([Mark("s", "c", "e", 0, (2,)), Mark("t", "c", "e", 5)])
    await store.mark([Mark("s", "c", "e", 2, (4, 6))])
    assert (await store.load()).marks == (
        Mark("t", "c", "e", 5),
        Mark("s", "c", "e", 2, (4, 6)),  # changed last
    )
    await store.mark([Mark("s", "c", "e", 6)])
    await store.forget([("t", "c", "e"), ("u", "c", "e")])
    assert (await store.load()).marks == (Mark("s", "c", "e", 6),)
