"""What a peer can make a connection hold, measured, is within what docs/limits.md says.

Each kind of thing that is kept beside its bytes is sent in the form that weighs most.
"""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from restsock import Limits, Options, Timeouts
from restsock.connection import AsyncExchange, Connection, Exchange
from restsock.protocol import DataReceived, HelloReceived, RequestHead
from restsock.server import _events as events_module
from restsock.server._events import ConnectionEvent, EventHub
from restsock.server._registry import Connections
from restsock.testing import Pair, connected_pair
from restsock.threads import ThreadExchange
from restsock.threads._inbox import ThreadInbox
from tests.e2e.raw_peer import DATA, END, HEAD, RESET, frame, get, hello
from tests.limits.scene import scene
from tests.protocol.vectors import make_multiplexer

STREAMS = 8
LIMITS = Limits(max_streams=STREAMS, initial_window=16384, max_window=16384)
OPTIONS = Options(limits=LIMITS, timeouts=Timeouts(disconnect=0.01))
GET = RequestHead(b"GET", b"/", [(b"Host", b"a")])

# docs/limits.md, "Memory": what a field and a stream take beside their bytes.
FIELD = 256
STREAM = 16 * 1024
PER_STREAM = LIMITS.initial_window + 2 * LIMITS.max_head + 2 * LIMITS.max_fields * FIELD + STREAM

# The heads that weigh most: as many fields as may be, and as many bytes.
TINY = b"a:\r\n" * 254
HUGE = b"".join(b"x%03d:%s\r\n" % (n, b"v" * 245) for n in range(254))
HEADS = pytest.mark.parametrize("fields", [TINY, HUGE], ids=["tiny fields", "long fields"])


@contextmanager
def measured() -> Iterator[Callable[[], int]]:
    """Gives a function that tells how many bytes are held that were not before."""
    gc.collect()
    gc.freeze()  # what is there already need not be looked at again and again
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]

        def held() -> int:
            gc.collect()
            return tracemalloc.get_traced_memory()[0] - before

        yield held
    finally:
        tracemalloc.stop()
        gc.unfreeze()


async def hang(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await trio.sleep_forever()


async def inject(connection: Connection, frames: list[bytes]) -> None:
    """Has one end send frames that it never would."""
    with connection.lock:
        connection.multiplexer.control += frames
        connection.writer.wake()
    await wait_all_tasks_blocked()


def pair() -> Any:
    return connected_pair(app_a=hang, app_b=hang, loop_a="trio", loop_b="trio", options=OPTIONS)


async def ask(pair: Pair, *, thread: bool) -> list[Any]:
    """Has the listener send as many requests as it may, which nobody answers."""
    if thread:
        opened: list[Any] = [
            await trio.to_thread.run_sync(ThreadExchange.open, pair.listener, GET)
            for _ in range(STREAMS)
        ]
    else:
        opened = [AsyncExchange.open(pair.listener, GET) for _ in range(STREAMS)]
    await wait_all_tasks_blocked()
    return opened


# --- streams ----------------------------------------------------------------------------------


@HEADS
async def test_request_heads_and_their_bodies(fields: bytes) -> None:
    head = get("/", method="POST")[:-2] + fields + b"\r\n"
    frames = [frame(HEAD, 0, 2 * n + 1, head) for n in range(STREAMS)]
    frames += [frame(DATA, 0, 2 * n + 1, bytes(16384)) for n in range(STREAMS)]
    async with pair() as (dialer, listener):
        with measured() as held:
            await inject(dialer, frames)
            assert listener.multiplexer.open_streams == STREAMS
            assert held() < STREAMS * PER_STREAM


@pytest.mark.parametrize("thread", [False, True])
@HEADS
async def test_response_heads_and_trailers(fields: bytes, thread: bool) -> None:
    async with pair() as ends:
        opened = await ask(ends, thread=thread)
        frames = []
        for n in range(2, 2 * STREAMS + 2, 2):
            frames.append(frame(HEAD, 0, n, b"HTTP/1.1 200 \r\n" + fields + b"\r\n"))
            frames.append(frame(DATA, 0, n, bytes(16384)))
            frames.append(frame(HEAD, END, n, fields + b"\r\n"))
        with measured() as held:
            await inject(ends.dialer, frames)
            assert ends.listener.multiplexer.open_streams == 0
            assert held() < STREAMS * PER_STREAM
        for exchange in opened:
            inbox = exchange.inbox if isinstance(exchange, ThreadExchange) else exchange
            assert inbox.error is None
            exchange.close()


@pytest.mark.parametrize("thread", [False, True])
async def test_informational_heads(thread: bool) -> None:
    """Two heads of full size have bytes for 7,700 of them."""
    interim = b"HTTP/1.1 103 \r\n\r\n"
    async with pair() as ends:
        opened = await ask(ends, thread=thread)
        with measured() as held:
            await inject(ends.dialer, [frame(HEAD, 0, 2, interim)] * 1500)
            assert ends.listener.multiplexer.open_streams == STREAMS
            assert held() < 8 * STREAM  # what the wires of the test keep included
        for exchange in opened:
            exchange.close()


@pytest.mark.parametrize("thread", [False, True])
async def test_reasons(thread: bool) -> None:
    async with pair() as ends:
        opened = await ask(ends, thread=thread)
        with measured() as held:
            reset = b"\0\7" + b"\xff" * 1024
            await inject(
                ends.dialer, [frame(RESET, 0, n, reset) for n in range(2, 2 * STREAMS + 2, 2)]
            )
            assert ends.listener.multiplexer.open_streams == 0
            assert held() < STREAMS * STREAM
        for exchange in opened:
            exchange.close()


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_bodies_by_the_byte(kind: str) -> None:
    """Credit counts bytes; each of them comes in a read of its own, and nobody takes it."""
    exchange = Exchange(GET, lambda event: None)

    async def receive() -> int:
        if kind == "thread":
            observer: Any = ThreadInbox(trio.lowlevel.current_trio_token())
        else:
            observer = AsyncExchange(exchange, limit=1)
        with measured() as held:
            for _ in range(LIMITS.initial_window):
                observer(DataReceived(1, b"x"))
            return held()

    assert trio.run(receive) < LIMITS.initial_window + STREAM


# --- connections ------------------------------------------------------------------------------


def heaviest(limits: Limits) -> str:
    """Metadata that is as heavy as a listener takes it."""
    return json.dumps([{}] * ((limits.max_metadata_memory - 1024) // 73))


def accepted(metadata: str) -> HelloReceived:
    session = make_multiplexer("listener", LIMITS)
    session.receive_message(hello(metadata="?").decode().replace('"?"', metadata))
    (event,) = session.events.take()
    assert isinstance(event, HelloReceived)
    return event


@pytest.mark.parametrize(
    "metadata",
    [
        heaviest(LIMITS),
        json.dumps("\U0001f600" * 16_000, ensure_ascii=False),
        json.dumps([[number] for number in range(1000, 2700)]),
        json.dumps({str(number): 1.5 for number in range(1500)}),
        "[" * 32 + "]" * 32,
    ],
    ids=["objects", "wide text", "arrays", "members", "deep"],
)
def test_metadata(metadata: str) -> None:
    with measured() as held:
        event = accepted(metadata)
        most = held()
    assert event.metadata
    assert most < LIMITS.max_metadata_memory + 8192


@pytest.mark.parametrize(
    ("metadata", "limit"),
    [
        ([{}] * 16_000, "max_metadata_memory"),
        ([[]] * 16_000, "max_metadata_memory"),
        (list(range(1000, 9000)), "max_metadata_memory"),
        (json.loads("[" * 33 + "]" * 33), "max_metadata_depth"),
        (json.loads('{"a":' * 33 + "1" + "}" * 33), "max_metadata_depth"),
        (json.loads("[" * 200 + "]" * 200), "max_metadata_depth"),
    ],
)
async def test_metadata_that_is_too_heavy_fails_the_handshake(metadata: Any, limit: str) -> None:
    async with scene(Options()) as s:
        peer = await s.upgraded()
        await peer.text(hello(metadata=metadata))
        code, reason = await peer.close_code()
        assert code == 4000
        assert "metadata" in reason or "handshake message" in reason
        await s.hit(limit)


def test_unread_events_of_peers_that_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 1024 * 1024
    monkeypatch.setattr(events_module, "_MAX_WEIGHT", most)
    metadata = heaviest(LIMITS)
    hub = EventHub()
    events = hub.subscribe(1000)
    with measured() as held:
        for number in range(10):
            event = ConnectionEvent(
                type="ConnectionReceived",
                connection_id=str(number),
                metadata=accepted(metadata).metadata,
            )
            hub.publish(event)
        del event
        assert held() < most + 64 * 1024
    kept = 0
    while (event := events.receive_nowait()).type != "EventsLost":
        kept += 1
    assert event.lost == 10 - kept
    assert kept == most // LIMITS.max_metadata_memory
    hub.publish(ConnectionEvent(type="ConnectionReceived", metadata={"light": True}))
    assert events.receive_nowait().metadata == {"light": True}


def test_the_register_of_metadata_and_names() -> None:
    registry = Connections()
    text = "\U0001f600" * 16_000
    listed: list[Any] = [SimpleNamespace(id=str(n), name=None, metadata=text) for n in range(100)]
    with measured() as held:
        for connection in listed:
            registry.add(connection)
        assert held() < 100 * 512
    assert registry.by_metadata(text) == listed
    with measured() as held:
        for number in range(11_000):
            name = f"{number:05}" + "\U0001f600" * 250
            gone: Any = SimpleNamespace(id=str(number), name=name, metadata=None)
            registry.add(gone)
            registry.remove(gone)
        assert held() < 10_000 * 1280 + 1024 * 1024


async def test_a_peer_that_does_all_of_it_at_once() -> None:
    """The sum that docs/limits.md gives, for a connection whose streams are all open."""
    async with pair() as ends:
        opened = await ask(ends, thread=False)
        frames = []
        for n in range(STREAMS):
            head = get("/", method="POST")[:-2] + HUGE + b"\r\n"
            frames.append(frame(HEAD, 0, 2 * n + 1, head))
            frames.append(frame(DATA, 0, 2 * n + 1, bytes(16384)))
            frames.append(frame(HEAD, 0, 2 * n + 2, b"HTTP/1.1 103 \r\n" + TINY + b"\r\n"))
            frames.append(frame(HEAD, 0, 2 * n + 2, b"HTTP/1.1 200 \r\n" + HUGE + b"\r\n"))
            frames.append(frame(DATA, 0, 2 * n + 2, bytes(16384)))
        with measured() as held:
            await inject(ends.dialer, frames)
            assert ends.listener.multiplexer.open_streams == 2 * STREAMS
            assert held() < 2 * STREAMS * PER_STREAM
        for exchange in opened:
            exchange.close()
