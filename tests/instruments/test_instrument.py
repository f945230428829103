"""An instrument is told everything, once, at either end; and cannot hurt the traffic."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import restsock
import restsock.sync
from restsock import Backoff, Instrument, StreamRefused, StreamReset
from restsock.connection import Exchange, Instruments, instruments_of
from restsock.protocol import RequestHead, ResetCode
from restsock.testing import connected_pair
from tests.instruments.recorder import Broken, Recorder, app
from tests.memory_network import MemoryListener
from tests.plain_client import dial
from tests.server.test_server import client_of, server_of, settled
from tests.waiting import until


class Resets:
    """Serves by resetting, with the code in the path."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def handle(self, exchange: Exchange) -> None:
        exchange.observer = lambda event: None
        self.exchanges.append(exchange)
        if exchange.request.target == b"/bug":
            raise ZeroDivisionError("in the handler")
        exchange.reset(int(exchange.request.target[1:]), "on purpose")

    def running(self) -> Any:
        return nullcontext()


# --- what is told -------------------------------------------------------------------------


async def test_a_request_is_told_at_both_ends(autojump_clock: MockClock) -> None:
    here, there = Recorder(), Recorder()
    async with connected_pair(app_b=app, instrument_a=here, instrument_b=there) as pair:
        response = await pair.dialer.request("GET", "/status/418")
        assert response.status == 418
        await settled()
        sent, received = pair.dialer.statistics(), pair.listener.statistics()
        assert here.sum("bytes_sent") == sent.bytes_sent > 0
        assert here.sum("bytes_received") == sent.bytes_received == there.sum("bytes_sent")
        assert there.sum("bytes_received") == received.bytes_received
        assert here.all("round_trip")
        assert there.all("round_trip")
        id = pair.dialer.id
    assert here.all("stream_opened") == [("sent",)]
    assert here.all("stream_closed") == [("sent", "answered", 418)]
    assert there.all("stream_opened") == [("received",)]
    assert there.all("stream_closed") == [("received", "answered", 418)]
    assert here.all("connection_opened") == there.all("connection_opened") == [(id,)]
    assert here.all("connection_closed") == there.all("connection_closed") == [(id, 1000)]
    assert here.all("error") == there.all("error") == []
    assert there.all("serving_begun") == [(b"/status/418",)]
    assert there.all("serving_ended") == [(b"/status/418", 418)]
    # Bounds: a connection is opened first and closed last.
    assert here.told[0][0] == "connection_opened"
    assert here.told[-1][0] == "connection_closed"


async def test_fields_of_an_instrument_reach_the_app() -> None:
    async with connected_pair(app_b=app, instrument_a=Recorder()) as pair:
        response = await pair.dialer.request("GET", "/fields", headers={"A": "b"})
        assert b"A: b\nX-Seen: by the recorder" in response.content


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (ResetCode.CANCEL, "cancelled"),
        (ResetCode.TIMEOUT, "timed_out"),
        (ResetCode.INTERNAL, "reset"),
        (ResetCode.FLOW, "reset"),
    ],
)
async def test_a_reset_is_told_with_its_outcome(code: ResetCode, outcome: str) -> None:
    here, there = Recorder(), Recorder()
    async with connected_pair(app_b=Resets(), instrument_a=here, instrument_b=there) as pair:
        with pytest.raises(StreamReset):
            await pair.dialer.request("GET", f"/{int(code)}")
        assert pair.dialer.statistics().sent[outcome] == 1
        assert pair.dialer.statistics().resets_received == {code.name: 1}
        assert pair.listener.statistics().received[outcome] == 1
        assert pair.listener.statistics().resets_sent == {code.name: 1}
    assert here.all("stream_closed") == [("sent", outcome, 0)]
    assert there.all("stream_closed") == [("received", outcome, 0)]


async def test_each_attempt_at_a_refused_request_is_told(autojump_clock: MockClock) -> None:
    here = Recorder()
    handler = Resets()
    async with connected_pair(app_b=handler, instrument_a=here) as pair:
        with pytest.raises((StreamRefused, restsock.RequestTimeout)):
            await pair.dialer.request("GET", f"/{int(ResetCode.REFUSED)}", timeout=1)
        attempts = len(handler.exchanges)
        assert attempts >= 1
        assert pair.dialer.statistics().sent["refused"] == attempts
    assert here.all("stream_closed") == [("sent", "refused", 0)] * attempts
    assert len(here.all("stream_opened")) == attempts


async def test_a_requester_who_leaves(autojump_clock: MockClock) -> None:
    here, there = Recorder(), Recorder()
    async with connected_pair(app_b=app, instrument_a=here, instrument_b=there) as pair:
        with pytest.raises(restsock.RequestTimeout):
            await pair.dialer.request("GET", "/hang", timeout=1)
        await settled()
        assert pair.dialer.statistics().sent["cancelled"] == 1
        assert pair.listener.statistics().received["cancelled"] == 1
    assert here.all("stream_closed") == [("sent", "cancelled", 0)]
    assert there.all("stream_closed") == [("received", "cancelled", 0)]
    assert there.all("serving_ended") == [(b"/hang", 0)]


async def test_a_connection_that_breaks(autojump_clock: MockClock) -> None:
    here, there = Recorder(), Recorder()
    async with connected_pair(app_b=app, instrument_a=here, instrument_b=there) as pair:

        async def ask() -> None:
            with pytest.raises(restsock.ConnectionClosed):
                await pair.dialer.request("GET", "/hang")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await settled()
            await pair.wire.cut()
        assert pair.dialer.statistics().sent["lost"] == 1
        assert pair.dialer.statistics().open_streams == 0
    assert here.all("stream_closed") == [("sent", "lost", 0)]
    assert there.all("stream_closed") == [("received", "lost", 0)]
    assert here.told[-1][:1] == ("connection_closed",)


async def test_a_bug_in_a_handler_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    there = Recorder()
    async with connected_pair(app_b=Resets(), instrument_b=there) as pair:
        with pytest.raises(StreamReset):
            await pair.dialer.request("GET", "/bug")
    assert there.all("error") == [("handler",)]
    assert there.all("stream_closed") == [("received", "reset", 0)]


async def test_a_peer_that_breaks_the_protocol() -> None:
    there = Recorder()
    async with connected_pair(app_b=app, instrument_b=there) as pair:
        pair.dialer.multiplexer.control.append(b"123")  # no frame
        with pair.dialer.lock:
            pair.dialer.writer.flush()
        await pair.listener.wait_closed()
    assert there.all("error") == [("protocol",)]
    assert there.all("connection_closed") == [(pair.listener.id, 4002)]


async def test_connections_that_come_again(autojump_clock: MockClock) -> None:
    here, there = Recorder(), Recorder()
    listener = MemoryListener()
    server = server_of(listener, instrument=there)
    client = client_of(listener, instrument=here)
    async with server, client:
        for _ in range(2):
            connection = await client.wait_connected()
            await settled()
            await next(iter(server.connections)).aclose(1001)
            await connection.wait_closed()
        await client.wait_connected()
        assert client.statistics().reconnects == 2
    assert len(here.all("connection_opened")) == 3
    assert len(here.all("reconnected")) == 2
    assert there.all("reconnected") == []
    assert len(there.all("connection_closed")) == 3


async def test_handshakes_that_fail(autojump_clock: MockClock) -> None:
    here, there = Recorder(), Recorder()
    listener = MemoryListener()
    async with server_of(listener, instrument=there) as server:
        stream = await listener.open_stream(None)  # type: ignore[arg-type]  # nobody looks
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n")
        await settled()
        await stream.aclose()
        await settled()
        assert server.statistics().handshakes_failed == 1
        assert there.all("handshake_failed") == [("listener",)]
    # Nobody listens any more.
    client = client_of(listener, instrument=here, backoff=Backoff(tries=3))
    with pytest.raises(restsock.HandshakeError):
        async with client:
            pass
    assert client.statistics().failures == 3
    assert here.all("handshake_failed") == [("dialer",)] * 3


async def test_limits_and_the_queue_of_workers() -> None:
    there = Recorder()
    entered = trio.Event()
    token = trio.lowlevel.current_trio_token()
    go_on = threading.Event()

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        token.run_sync_soon(entered.set)
        assert go_on.wait(10)
        start_response("200 OK", [])
        return [b"done"]

    async with restsock.listen(
        "127.0.0.1", 0, app=wsgi, interface="wsgi", instrument=there, workers=1, queue_size=1
    ) as server:
        async with restsock.connect(server.url) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.request, "GET", "/1")
            await entered.wait()
            nursery.start_soon(client.request, "GET", "/2")
            await until(lambda: there.all("queue"))
            assert server.statistics().queued == 1
            health = server.health()
            assert not health.ok
            assert "queue" in health.reasons[0]
            response = await client.request("GET", "/3")
            assert response.status == 503
            go_on.set()
        assert server.statistics().queued == 0
        assert server.statistics().limits == {"queue_size": 1}
        assert server.health().ok
        assert "the limit queue_size was hit 0 s ago" in server.health().reasons
    assert there.all("queue") == [("workers", 1), ("workers", 0)]
    assert there.all("limit_hit") == [("queue_size",)]


async def test_threads_are_counted_exactly() -> None:
    """On a plain socket threads send by themselves, under the connection's lock."""
    here, there = Recorder(), Recorder()
    number, each = 6, 40

    def work() -> None:
        with restsock.sync.listen("127.0.0.1", 0, app=app, instrument=there) as server:
            with restsock.sync.connect(server.url, instrument=here) as client:

                def ask() -> None:
                    for _ in range(each):
                        assert client.request("GET", "/", timeout=10).status == 200

                threads = [threading.Thread(target=ask) for _ in range(number)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                traffic = client.statistics().traffic
                assert traffic.sent["answered"] == traffic.requests_sent == number * each
                assert here.sum("bytes_sent") == client.statistics().traffic.bytes_sent

    await trio.to_thread.run_sync(work)
    assert len(here.threads) > 1, "no thread has sent anything itself"
    assert here.all("stream_closed") == [("sent", "answered", 200)] * (number * each)
    assert there.all("stream_closed") == [("received", "answered", 200)] * (number * each)
    assert len(here.all("stream_opened")) == number * each


# --- what it cannot do --------------------------------------------------------------------


async def test_an_instrument_that_raises_is_dropped(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    healthy = Recorder()
    Broken.calls = 0
    both = [Broken(), healthy]
    async with connected_pair(app_b=app, instrument_a=both, instrument_b=Broken()) as pair:
        for _ in range(3):
            assert (await pair.dialer.request("GET", "/")).status == 200
    assert healthy.all("stream_closed") == [("sent", "answered", 200)] * 3
    assert Broken.calls == 2, "each of the two is called once"
    records = [r for r in caplog.records if "not used any more" in r.getMessage()]
    assert len(records) == 2
    assert all(r.exc_info is not None for r in records)


@pytest.mark.parametrize(
    "what", sorted(name for name in vars(Instrument) if not name.startswith("_"))
)
async def test_no_event_lets_an_error_through(
    what: str, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    def fail(*args: Any) -> Any:
        raise ZeroDivisionError(what)

    bad, good = Instrument(), Recorder()
    setattr(bad, what, fail)
    instruments = instruments_of([bad, good])
    assert instruments is not None
    arguments: dict[str, tuple[Any, ...]] = {
        "connection_closed": (None, restsock.Closed(True, 1000, "", False)),
        "http_client_closed": (None, restsock.Closed(True, 1000, "", False)),
        "http_request_closed": (None, "answered", 200, 0.1),
        "round_trip": (None, 0.1),
        "bytes_sent": (None, 1),
        "bytes_received": (None, 1),
        "stream_opened": (None, "sent"),
        "stream_closed": (None, "sent", "answered", 200, 0.1),
        "error": (None, "stream"),
        "queue": ("workers", 1),
        "serving_ended": ([(bad, None), (good, None)], 200),
        "serving_begun": (None, _Head()),
        "request_fields": (_Head(),),
        "call_opened": ("gateway", "other"),
        "call_closed": ("gateway", "other", "answered", 200, 0.1),
        "call_begun": ("gateway", "other", {}),
        "call_fields": (),
        "call_ended": ([(bad, None), (good, None)], 200, ValueError()),
    }
    connection: Any = _Head()
    args = tuple(connection if a is None else a for a in arguments.get(what, (_Head(),)))
    for _ in range(3):
        getattr(instruments, what)(*args)
    assert len(good.all(what)) == 3
    assert len([r for r in caplog.records if "not used any more" in r.getMessage()]) == 1


class _Head:
    target = b"/"
    id = "1"
    name = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


@pytest.mark.parametrize(
    "field", [(b"X", b"a\r\nY: b"), (b"X Y", b"a"), ("X", "a"), (b"X", b""), (b"X",)]
)
async def test_fields_that_cannot_be_sent_cost_no_request(
    field: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Instrument):
        def request_fields(self, head: Any) -> Any:
            return [field]

    async with connected_pair(app_b=app, instrument_a=Wrong()) as pair:
        response = await pair.dialer.request("GET", "/fields")
        assert response.status == 200
        assert b"X" not in response.content
    assert "Wrong has failed and is not used any more" in caplog.text


@pytest.mark.parametrize("wrong", [42, "prometheus", [Recorder(), 42], Recorder])
def test_what_is_no_instrument(wrong: Any) -> None:
    with pytest.raises(TypeError):
        restsock.connect("ws://hub/", instrument=wrong)
    with pytest.raises(TypeError):
        restsock.listen("127.0.0.1", 0, instrument=wrong)


def test_none_costs_nothing() -> None:
    assert instruments_of(None) is None
    assert instruments_of([]) is None
    both = instruments_of([Recorder(), Recorder()])
    assert isinstance(both, Instruments)
    assert instruments_of(both) is both


async def test_a_rejected_request_is_counted_at_its_receiver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Recorder()
    listener = MemoryListener()

    def encode(head: RequestHead) -> tuple[bytes, None]:
        return b"no head\r\n\r\n", None

    async with server_of(listener, instrument=there) as server:
        async with client_of(listener) as client:
            monkeypatch.setattr("restsock.protocol._multiplexer.encode_request_fast", encode)
            with pytest.raises(StreamReset):
                await client.request("GET", "/", timeout=5)
            traffic = server.statistics().traffic
            assert (traffic.rejected, traffic.requests_received) == (1, 0)
            assert server.statistics().limits == {"malformed": 1}
    assert there.all("error") == [("rejected",)]
    assert there.all("limit_hit") == [("malformed",)]
    assert there.all("stream_opened") == []


async def test_clients_of_plain_http() -> None:
    there = Recorder()
    async with restsock.listen("127.0.0.1", 0, endpoints={"/": app}, instrument=there) as server:
        async with dial(server) as client:
            await client.get()
            await client.get("/status/404")
            await client.get("/fail")
            assert there.told[0][0] == "http_client_opened"
            assert there.all("http_request_opened") == [()] * 3
            closed = [("answered", 200), ("answered", 404), ("answered", 500)]
            assert there.all("http_request_closed") == closed
            assert there.all("serving_ended") == [
                (b"/", 200),
                (b"/status/404", 404),
                (b"/fail", 500),
            ]
            await client.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(there.all("http_request_opened")) == 4)
        await until(lambda: there.all("http_client_closed"))
        assert there.all("http_request_closed")[3] == ("lost", 0)
        (opened,) = there.all("http_client_opened")
        (ended,) = there.all("http_client_closed")
        assert opened[0] == ended[0]
    # All else is about peers.
    for what in ("connection_opened", "connection_closed", "stream_opened", "handshake_failed"):
        assert there.all(what) == []


async def test_what_passes_through_an_ingress_is_told_on_both_sides() -> None:
    there = Recorder()
    ingress = restsock.ingress.Ingress(public=True)
    async with (
        restsock.listen("127.0.0.1", 0, ingress=ingress, instrument=there) as server,
        restsock.connect(server.url, app=app, name="edge-1") as peer,
        dial(server) as client,
    ):
        await peer.wait_connected()
        fields = b"Host: localhost\r\nRestsock-Peer: edge-1\r\n"
        await client.send(b"GET /status/418 HTTP/1.1\r\n" + fields + b"\r\n")
        assert (await client.response())[0] == 418
        await until(lambda: there.all("http_request_closed") and there.all("stream_closed"))
    assert there.all("http_request_closed") == [("answered", 418)]
    assert there.all("stream_closed") == [("sent", "answered", 418)]
