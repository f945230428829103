"""What a fault of messages is tried on: two processes and a wire, with messages under way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from restsock.messaging.nats import Nats
from restsock.testing import FaultyProxy
from tests.faults.config import Config
from tests.faults.field import BACKOFF, HANDSHAKE, INTERVAL, TIMEOUT, Child, Family
from tests.faults.ledger import Ledger, Line, read
from tests.faults.messages.ledger import MessageCounts, judge_messages, resumed
from tests.faults.messages.peer import CHANNEL, TABLE
from tests.messaging.nats.server import NatsServer, running
from tests.messaging.nats.test_publish import add_stream, stored
from tests.waiting import until

__all__ = ["Delivery", "MessageField", "MessageRow", "Role", "Side", "message_field"]

Delivery = Literal["at_most_once", "at_least_once"]
Side = Literal["dials", "listens"]
Role = Literal["send", "keep"]

_PAUSE = 0.004  # seconds between two messages


@dataclass
class MessageRow:
    """One line of the table.

    Attributes:
        fault: what was done.
        delivery: what is promised of the messages.
        sender: the end that it is at.
        counts: what became of the messages.
        back: seconds from the end of a fault until a message was handled that was sent after it;
            the longest. `None`: there was no end.
        limit: what is promised.
    """

    fault: str
    delivery: Delivery
    sender: Side
    counts: MessageCounts
    back: float | None = None
    limit: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(replace(self, counts=MessageCounts())), "counts": self.counts.as_json()}


class MessageField:
    """A sender and a receiver, connected through a proxy.

    Attributes:
        row: is filled in.
        proxy: the wire.
        children: the processes now, by what they do with messages.
        configs: what they are.
        broker: where the receiver publishes, in some rows.
    """

    def __init__(self, row: MessageRow, family: Family, ledger: Ledger, folder: Path) -> None:
        self.row = row
        self.proxy: FaultyProxy
        self.children: dict[Role, Child] = {}
        self.configs: dict[Role, Config] = {}
        self.broker: NatsServer | None = None
        self.ledger = ledger
        self._family = family
        self._folder = folder
        self._lines: list[Line] = []
        self._read = 0  # bytes of the ledger

    def lines(self) -> list[Line]:
        """The ledger so far."""
        for line in read(self.ledger.path, self._read):
            self._lines.append(line)
            self._read += line.size
        return self._lines

    async def handled(self, more: int = 10) -> None:
        """Waits for so many more messages that are handled."""
        wanted = self._count("H") + more
        await until(lambda: self._count("H") >= wanted)

    async def noted(self, kind: str, who: str) -> None:
        """Waits for a line of a process."""
        await until(lambda: any(x.kind == kind and x.words[0] == who for x in self.lines()), 60)

    async def refused(self, more: int) -> None:
        """Waits for so many more messages that are refused."""
        wanted = self._count("N") + more
        await until(lambda: self._count("N") >= wanted)

    def _count(self, kind: str) -> int:
        return sum(line.kind == kind for line in self.lines())

    def over(self) -> None:
        """Notes that the fault is over."""
        self.ledger.note("G")

    async def resumed(self) -> None:
        """Notes that the fault is over, and waits until a message of after it is handled."""
        behind = len(self.lines())
        self.over()
        await until(lambda: None not in resumed(self.lines()[behind:]))

    # --- processes ----------------------------------------------------------------------------

    async def start(self, role: Role) -> None:
        """Starts the process that does this, or another one in its place."""
        config = replace(self.configs[role], who=self._family.new_name(role))
        if config.port is not None and role in self.children:
            config = replace(config, port=self.children[role].port)
        self.configs[role] = config
        self.children[role] = await self._family.start(config)

    async def kill(self, role: Role) -> None:
        """SIGKILL; what the store of a receiver says then goes into the ledger."""
        child, config = self.children[role], self.configs[role]
        child.kill()
        await until(lambda: not _lives(child.pid))
        self.ledger.note("K", child.who)
        if role == "keep" and config.store:
            self.ledger.note("M", child.who, *self._marked(Path(config.store)))

    def _marked(self, store: Path) -> list[int]:
        """Which numbers the store has as handled, from a copy of its file: it is not touched."""
        copy = self._folder / "copy.db"
        for end in ("", "-wal"):
            source, target = Path(f"{store}{end}"), Path(f"{copy}{end}")
            target.unlink(missing_ok=True)
            if source.exists():
                shutil.copyfile(source, target)
        with contextlib.closing(sqlite3.connect(copy)) as database:
            upto = database.execute("SELECT upto FROM marks WHERE channel = ?", [CHANNEL])
            seqs = database.execute("SELECT seq FROM handled WHERE channel = ?", [CHANNEL])
            return [*(row[0] for row in upto.fetchall() or [(0,)]), *(row[0] for row in seqs)]

    async def close(self, role: Role) -> None:
        """SIGTERM, until the process has ended in good order."""
        child = self.children[role]
        child.send(signal.SIGTERM)
        await self.noted("Q", child.who)

    async def drained(self) -> None:
        """The sender sends no more; returns when all is handled, as far as it can be known."""
        sender = self.children["send"]
        sender.send(signal.SIGUSR1)
        await self.noted("Z", sender.who)
        if self.row.delivery == "at_most_once":
            last = [line.words[1] for line in self.lines() if line.kind == "S"][-1]
            await until(lambda: any(x.kind == "H" and x.words[1] == last for x in self.lines()))

    async def look_where_it_is_kept(self) -> None:
        """Notes what is in the place that the handlers keep messages in, if there is one."""
        place = self.configs["keep"].place
        if not place:
            return
        if place == "store":
            await self.close("keep")
            with contextlib.closing(sqlite3.connect(self.configs["keep"].store)) as database:
                rows = database.execute(f"SELECT id FROM {TABLE} ORDER BY rowid")
                found = [id_ for (id_,) in rows]
        else:
            found = await _stored(place)
        assert found, "nothing is there"
        for id_ in found:
            self.ledger.note("P", id_)


async def _add_stream(url: str) -> None:
    async with Nats(url) as nats:
        await add_stream(nats, CHANNEL, CHANNEL)


async def _stored(url: str) -> list[str]:
    async with Nats(url) as nats:
        return [json.loads(body) for _, body, _ in await stored(nats, CHANNEL)]


@contextlib.asynccontextmanager
async def message_field(
    fault: str,
    delivery: Delivery,
    sender: Side,
    family: Family,
    *,
    trouble: str = "",
    place: str = "",
) -> AsyncIterator[MessageField]:
    """A sender and a receiver at work; behind the block all is drained, and the row complete."""
    async with contextlib.AsyncExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="restsock-faults-"))
        folder = Path(name)
        ledger = Ledger(folder / "ledger")
        row = MessageRow(fault, delivery, sender, MessageCounts())
        one = MessageField(row, family, ledger, folder)
        durable = delivery == "at_least_once"
        if place == "nats":
            one.broker = await stack.enter_async_context(running(folder))
            place = one.broker.url
            await _add_stream(place)
        for role in _roles(sender):
            one.configs[role] = Config(
                who="",
                ledger=str(ledger.path),
                name="edge",
                interval=INTERVAL,
                timeout=TIMEOUT,
                handshake=HANDSHAKE,
                backoff=BACKOFF,
                pause=_PAUSE,
                messages=role,
                delivery=delivery,
                store=str(folder / f"{role}.db") if durable else "",
                trouble=trouble,
                place=place,
            )
        listener, dialer = _roles(sender)
        names = ("edge",) if listener == "send" else ()
        one.configs[listener] = replace(one.configs[listener], port=0, names=names)
        try:
            await one.start(listener)
            async with FaultyProxy("127.0.0.1", one.children[listener].port) as one.proxy:
                url = f"ws://127.0.0.1:{one.proxy.port}/"
                one.configs[dialer] = replace(one.configs[dialer], urls=(url,))
                await one.start(dialer)
                await one.handled()
                yield one
                await one.drained()
                await one.look_where_it_is_kept()
            row.counts = judge_messages(ledger.path, may_lose=not durable)
            times = [time for time in resumed(one.lines()) if time is not None]
            row.back = max(times, default=None)
        finally:
            for child in one.children.values():
                child.kill()
            ledger.close()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _roles(sender: Side) -> Sequence[Role]:
    """What the listener does, and what the dialer does."""
    return ("keep", "send") if sender == "dials" else ("send", "keep")
