"""A listener under attack, and an honest peer on it that must not notice.

The honest one asks and is asked without pause for as long as the attack lasts. Attackers share its
loop and its processor, so what its requests take is bounded generously: a peer that an attack
starves waits for the end of the attack, or indefinitely. Time in which other processes had the
processor does not count.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

import restsock
from tests.e2e.raw_peer import RawPeer
from tests.waiting import until

__all__ = [
    "HASTY",
    "HEARTBEAT",
    "IMPATIENT",
    "LIMITS",
    "OPTIONS",
    "Site",
    "own_time",
    "site",
]

LIMITS = restsock.Limits(max_streams=8, initial_window=16384, max_handshakes=64)
# Right handshakes have the time that they take on a busy machine.
TIMEOUTS = restsock.Timeouts(handshake=20, close=0.5, disconnect=0.05)
OPTIONS = restsock.Options(limits=LIMITS, timeouts=TIMEOUTS)
# For those whose handshake the time is to end, and no others.
HASTY = restsock.Options(limits=LIMITS, timeouts=replace(TIMEOUTS, handshake=0.5))
# For those whom silence is to end; the others need not answer pings.
HEARTBEAT = restsock.Heartbeat(interval=0.4, timeout=0.4)
IMPATIENT = restsock.Options(limits=LIMITS, timeouts=TIMEOUTS, heartbeat=HEARTBEAT)

# Seconds of `own_time`. The slowest answer that an honest peer may get while another is attacked.
PATIENCE = 2.0


class App:
    """What the listener serves; it counts.

    `/hang` never reads and never answers; `/download` sends a megabyte; everything else reads all
    and answers with the length of the body.
    """

    def __init__(self) -> None:
        self.called = 0
        self.running = 0
        self.most = 0
        self.paths: set[str] = set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        self.called += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self.paths.add(scope["path"])
        try:
            await self._answer(scope["path"], receive, send)
        finally:
            self.running -= 1

    async def _answer(self, path: str, receive: Any, send: Any) -> None:
        if path == "/hang":
            await trio.sleep_forever()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/download":
            for _ in range(64):
                await send({"type": "http.response.body", "body": bytes(16384), "more_body": True})
        await send({"type": "http.response.body", "body": str(size).encode()})


class Site:
    """The listener, the honest peer, and any number of others.

    Attributes:
        slowest: seconds of `own_time`; of the honest peer's requests.
        answers: how many it has had.
    """

    def __init__(self, server: restsock.Server, client: restsock.Client, app: App) -> None:
        self.server = server
        self.client = client
        self.app = app
        self.slowest = 0.0
        self.answers = 0
        self.strangers: list[RawPeer] = []

    async def stranger(self) -> RawPeer:
        """One who has only dialed yet."""
        peer = RawPeer(await trio.open_tcp_stream("127.0.0.1", self.server.address[1]))
        self.strangers.append(peer)
        return peer

    async def ready(self, **settings: Any) -> RawPeer:
        """One behind a right handshake."""
        peer = await self.stranger()
        await peer.upgrade()
        await peer.shake_hands(**settings)
        return peer

    async def be_honest(self) -> None:
        """Asks and is asked, without end."""
        for number in itertools.count():
            body = b"x" * (number % 500)
            target = f"/{number}"
            with self.asking():
                response = await self.client.request("POST", "/", body=body, timeout=10)
                assert (response.status, response.text) == (200, str(len(body)))
                response = await self.server.route("honest").request("GET", target, timeout=10)
                assert (response.status, response.text) == (200, target)
            await trio.sleep(0.002)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around what the honest peer is to get done in time."""
        begin = own_time()
        yield
        self.slowest = max(self.slowest, own_time() - begin)
        self.answers += 1

    async def answered(self, more: int = 3) -> None:
        """Waits for a few more answers to the honest peer."""
        wanted = self.answers + more
        await until(lambda: self.answers >= wanted)


def own_time() -> float:
    """Seconds, without those that this thread has waited for a processor that others had.

    Only Linux tells how long that was; elsewhere a busy machine counts.
    """
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1])  # nanoseconds
    except OSError:
        waited = 0
    return time.monotonic() - waited / 1e9


@asynccontextmanager
async def site(
    app: Any = None,
    *,
    options: restsock.Options = OPTIONS,
    kind: type[Site] = Site,
    honest_auth: Any = None,
    **listen_options: Any,
) -> AsyncIterator[Site]:
    """Runs it; at its end the honest peer must have noticed nothing, and nothing be left over."""
    own = App()
    errors = _Errors()
    logging.getLogger("restsock").addHandler(errors)
    strangers: list[RawPeer] = []
    auth: dict[str, Any] = {} if honest_auth is None else {"auth": honest_auth}
    if app is None:
        app = own
        listen_options["loop"] = "trio"
    try:
        async with restsock.listen(
            "127.0.0.1", 0, app=app, options=options, **listen_options
        ) as server:
            async with restsock.connect(
                server.url, app=_honest_app, name="honest", **auth
            ) as client:
                one = kind(server, client, own)
                one.strangers = strangers
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.be_honest)
                    await one.answered()
                    with trio.fail_after(40):
                        yield one
                    await one.answered()
                    nursery.cancel_scope.cancel()
                assert one.slowest < PATIENCE
                assert client.statistics().connections == 1
            for peer in strangers:
                await peer.close()
            await until(lambda: not len(server.connections))
            await until(lambda: not own.running)
    finally:
        logging.getLogger("restsock").removeHandler(errors)
        with trio.CancelScope(shield=True):
            for peer in strangers:
                await peer.close()
    assert not errors.messages


async def _honest_app(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, {}, request.path)


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
