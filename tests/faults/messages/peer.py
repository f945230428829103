"""An end of messages in a process of its own: it sends them, or it keeps them.

It is forked as the other peers are, and obeys signals:

SIGTERM   close in good order, and end
SIGUSR1   send no more, and note in the ledger that all that was sent is handled
SIGUSR2   begin or end what `Config.trouble` names: with "disk" no file may grow any more, with
          "clock" it is an hour late
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

import trio

import restsock
from restsock.messaging import (
    MemoryStore,
    Message,
    Messaging,
    MessagingOptions,
    QueueFull,
    SQLiteStore,
    StoreFailed,
    Transaction,
)
from tests.faults.config import Config, Errors, options_of
from tests.faults.ledger import Ledger
from tests.faults.listening import listening

__all__ = ["CHANNEL", "TABLE", "MessagePeer"]

CHANNEL = "readings"
TABLE = "kept"

# Bytes that a file may have beyond the ledger, when the disk is full: a few messages of a store.
_ROOM = 32 * 1024
_LATE = 3600.0

_time, _time_ns = time.time, time.time_ns

Keeper: TypeAlias = Callable[[Message], Awaitable[None]]


def _make_table(transaction: Transaction) -> None:
    # Not unique: what comes twice shall be seen.
    transaction.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (id TEXT)")


async def _keep_in_store(message: Message) -> None:
    await message.transact(
        lambda one: one.execute(f"INSERT INTO {TABLE} VALUES (?)", [message.body])
    )


class MessagePeer:
    """One end, in its own process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ledger = Ledger(config.ledger)
        store = SQLiteStore(config.store) if config.store else MemoryStore()
        # What could not be acknowledged, since the disk was full, shall come again soon.
        options = MessagingOptions(
            ack_timeout=2.0, redelivery=restsock.Backoff(initial=0.1, cap=0.5, tries=0)
        )
        self.messaging = Messaging(store, options=options)
        self._stopped = trio.Event()
        self._idle = trio.Event()
        self._troubled = False
        logging.getLogger("restsock").addHandler(Errors(self.ledger, config.who))

    async def run(self) -> None:
        config = self.config
        async with contextlib.AsyncExitStack() as stack:
            if config.messages == "keep":
                self.messaging.on(CHANNEL)(await self._keeper(stack))
            await stack.enter_async_context(self.messaging)
            if config.place == "store" and config.messages == "keep":
                await self.messaging.transact(_make_table)
            port = await self._open(stack)
            print(json.dumps({"who": config.who, "pid": os.getpid(), "port": port}), flush=True)
            async with trio.open_nursery() as nursery:
                if config.messages == "send":
                    nursery.start_soon(self._send)
                else:
                    self._idle.set()
                await self._obey(nursery)
                self._stopped.set()
                await self._idle.wait()
                nursery.cancel_scope.cancel()
        self.ledger.note("Q", config.who)

    async def _open(self, stack: contextlib.AsyncExitStack) -> int:
        config, options = self.config, options_of(self.config)
        if config.port is not None:
            server = await listening(stack, config.port, options=options, messaging=self.messaging)
            port: int = server.address[1]
            return port
        initial, cap = config.backoff
        client = restsock.connect(
            config.urls[0],
            name=config.name,
            options=options,
            backoff=restsock.Backoff(initial=initial, cap=cap, jitter=False),
            messaging=self.messaging,
        )
        await stack.enter_async_context(client)
        return 0

    async def _keeper(self, stack: contextlib.AsyncExitStack) -> Keeper:
        """The handler."""
        place = self.config.place
        if not place:
            return self._keep
        if place == "store":
            return partial(self._then_note, _keep_in_store)
        from restsock.messaging.bridge import publish_to
        from restsock.messaging.nats import Nats, NatsOptions

        initial, cap = self.config.backoff
        backoff = restsock.Backoff(initial=initial, cap=cap, jitter=False)
        options = NatsOptions(ack_timeout=2.0, backoff=backoff)
        nats = await stack.enter_async_context(Nats(place, options=options))
        return partial(self._then_note, publish_to(nats.jetstream(), CHANNEL))

    async def _then_note(self, keep: Keeper, message: Message) -> None:
        """Keeps it where it is to be; that is read at the end, and judged."""
        await keep(message)
        self.ledger.note("H", self.config.who, message.body, message.seq)

    async def _keep(self, message: Message) -> None:
        # The effect of the handler: before it returns, so before anything is stored of it.
        self.ledger.note("H", self.config.who, message.body, message.seq)
        await trio.lowlevel.checkpoint()

    async def _send(self) -> None:
        config = self.config
        channel = self.messaging.channel(
            CHANNEL, delivery=config.delivery, to=config.names[0] if config.names else ""
        )
        number = 0
        while not self._stopped.is_set():
            number += 1
            id_ = f"{config.who}.{number}"
            self.ledger.note("S", config.who, id_)
            try:
                await channel.send(id_)
            except (StoreFailed, QueueFull) as error:
                self.ledger.note("N", id_, type(error).__name__)
            else:
                self.ledger.note("A", id_)
            await trio.sleep(config.pause)
        self._idle.set()

    async def _drain(self) -> None:
        self._stopped.set()
        await self._idle.wait()
        config = self.config
        to = config.names[0] if config.names else ""
        await self.messaging.channel(CHANNEL, delivery=config.delivery, to=to).drain()
        self.ledger.note("Z", config.who)

    async def _obey(self, nursery: trio.Nursery) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2) as signals:
            async for number in signals:
                if number == signal.SIGTERM:
                    return
                if number == signal.SIGUSR1:
                    nursery.start_soon(self._drain)
                else:
                    self._trouble()

    def _trouble(self) -> None:
        self._troubled = not self._troubled
        if self.config.trouble == "disk":
            import resource  # not everywhere, where this module is loaded

            most = resource.RLIM_INFINITY
            if self._troubled:
                most = self.ledger.path.stat().st_size + _ROOM
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        else:
            late = _LATE if self._troubled else 0.0
            time.time = lambda: _time() - late
            time.time_ns = lambda: _time_ns() - int(late * 1e9)
