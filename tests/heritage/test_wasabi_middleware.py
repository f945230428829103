"""What Wasabi promises of its middleware, kept at a gateway; and the faults of its that are not.

Promises are kept over real sockets. What depends on time to the second has a clock that jumps.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import restsock
from restsock import Backoff
from restsock.auth import Answered, BasicUsers, BearerTokens, Refused
from restsock.connection import Peer
from restsock.gateway import (
    Breaker,
    Cache,
    CallFailed,
    CircuitOpen,
    Errors,
    Gateway,
    Limit,
    Measure,
    Message,
    Pipe,
    Rate,
    Reply,
    Retry,
    Session,
    Timeout,
    Trace,
)
from restsock.instruments.opentelemetry import OpenTelemetryInstrument
from restsock.server import TrustedProxies
from tests.gateway.middleware.calls import Backend, failure, hang, may_have_run, message, not_run
from tests.gateway.site import Gate, action, connected, served
from tests.instruments.recorder import Recorder
from tests.waiting import until

# --- before the WebSocket -----------------------------------------------------------------


async def refusal(server: restsock.Server, **headers: str) -> restsock.WebSocketRefused:
    """How a client with these fields is turned away."""
    with pytest.raises(restsock.WebSocketRefused) as caught:
        async with connected(server, headers={k.title(): v for k, v in headers.items()}):
            pass
    return caught.value


async def test_users_and_passwords_are_checked_before_the_upgrade() -> None:
    async with served(action(auth=BasicUsers({"eve": "secret"}))) as server:
        assert (await refusal(server)).status == 401
        assert (await refusal(server, authorization="Basic ZXZlOndyb25n")).status == 401
        async with connected(server, auth=restsock.auth.Basic("eve", "secret")) as client:
            assert (await client.ask({"action": "echo", "id": 1}))["status"] == 200


async def test_response_times_do_not_reveal_passwords_or_tokens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are not compared, but looked up by a digest with a key that nobody knows."""
    keys: list[bytes] = []
    real = hmac.digest

    def digest(key: bytes, secret: bytes, name: str) -> bytes:
        keys.append(key)
        return real(key, secret, name)

    monkeypatch.setattr(hmac, "digest", digest)
    for auth in (BasicUsers({"eve": "secret"}), BearerTokens({"good": "eve"})):
        async with served(action(auth=auth)) as server:
            keys.clear()
            field = "Basic ZXZlOndyb25n" if isinstance(auth, BasicUsers) else "Bearer wrong"
            assert (await refusal(server, authorization=field)).status == 401
            assert [len(key) >= 16 for key in keys] == [True]


@pytest.mark.parametrize("field", ["B", "Bearer", "Bearer  x", "Basic good", "Digest good", "good"])
async def test_a_short_token_or_another_scheme_neither_passes_nor_crashes(
    field: str,
) -> None:
    async with served(action(auth=BearerTokens({"good": "eve"}))) as server:
        assert (await refusal(server, authorization=field)).status in (400, 401)
        async with connected(server, headers={"Authorization": "Bearer good"}) as client:
            assert (await client.ask({"action": "echo", "id": 1}))["status"] == 200


async def address_seen(trusted: Any, **headers: str) -> Peer:
    seen: list[Peer] = []
    channel = action(
        on_connect=lambda session: seen.append(session.request.peer), trusted_proxies=trusted
    )
    async with served(channel) as server:
        async with connected(server, headers={k.replace("_", "-"): v for k, v in headers.items()}):
            pass
    return seen[0]


async def test_the_address_of_a_client_comes_from_trusted_proxies() -> None:
    peer = await address_seen("127.0.0.1", X_Forwarded_For="198.51.100.7, 203.0.113.9")
    assert peer.host == "203.0.113.9"
    cloudflare = TrustedProxies("127.0.0.1", client_ip="cloudflare")
    assert (await address_seen(cloudflare, CF_Connecting_IP="203.0.113.9")).host == "203.0.113.9"


async def test_the_address_of_a_client_does_not_come_from_untrusted_peers() -> None:
    assert (await address_seen((), X_Forwarded_For="203.0.113.9")).host == "127.0.0.1"
    elsewhere = TrustedProxies("10.0.0.0/8", client_ip="cloudflare")
    assert (await address_seen(elsewhere, CF_Connecting_IP="203.0.113.9")).host == "127.0.0.1"


async def test_an_ipv6_address_of_cloudfront_is_split_from_its_port() -> None:
    cloudfront = TrustedProxies("127.0.0.1", client_ip="cloudfront")
    peer = await address_seen(cloudfront, CloudFront_Viewer_Address="2001:db8:1::9:46532")
    assert (peer.host, peer.port) == ("2001:db8:1::9", 46532)


async def test_a_function_refuses_a_client_with_its_own_message_or_stashes_data() -> None:
    def look(session: Session) -> None:
        if session.request.header("X-Plan") is None:
            fields = [(b"Content-Type", b"text/plain"), (b"X-Why", b"no plan")]
            raise Answered(402, fields, b"Choose a plan first.")
        session.stash["plan"] = session.request.header("X-Plan")

    async def plan(asked: Message) -> Any:
        return asked.session.stash["plan"]

    async with served(action({"plan": plan}, on_connect=look)) as server:
        refused = await refusal(server)
        assert (refused.status, (b"X-Why", b"no plan") in refused.response.headers) == (402, True)
        assert refused.response.content == b"Choose a plan first."
        async with connected(server, headers={"X-Plan": "gold"}) as client:
            assert (await client.ask({"action": "plan", "id": 1}))["body"] == "gold"


async def test_a_function_that_fails_admits_no_client() -> None:
    async with served(action(on_connect=lambda session: 1 / 0)) as server:
        assert (await refusal(server)).status == 500

    def no(session: Session) -> None:
        raise Refused(403, "not you")

    async with served(action(on_connect=no)) as server:
        assert (await refusal(server)).status == 403


# --- calls --------------------------------------------------------------------------------


async def test_an_error_handler_can_change_the_message_of_an_error() -> None:
    def sorry(asked: Message, reply: Reply, error: Exception | None) -> Reply | None:
        if not isinstance(error, CallFailed):
            return None
        return reply.replace(body={**reply.body, "detail": "Sorry!"})

    routes = {"fails": Pipe(Backend(not_run(404))), "breaks": Pipe(Backend(ZeroDivisionError("x")))}
    async with served(action(routes, middleware=[Errors(sorry)])) as server:
        async with connected(server) as client:
            found = await client.ask({"action": "fails", "id": 1})
            assert (found["id"], found["error"]["detail"]) == (1, "Sorry!")
            found = await client.ask({"action": "breaks", "id": 2})
            assert (found["id"], found["status"]) == (2, 500)
            found = await client.ask({"action": "unknown", "id": 3})
            assert (found["id"], found["status"]) == (3, 404)


async def test_the_calls_of_all_clients_together_are_limited_and_others_wait() -> None:
    gate, limit = Gate(), Limit(2)
    async with served(action(gate, middleware=[limit])) as server:
        async with connected(server) as one, connected(server) as other:
            for number in range(2):
                for client in (one, other):
                    await client.say({"action": "x", "id": number})
            await until(lambda: limit.statistics == {"in_flight": 2, "waiting": 2})
            assert len(gate.begun) == 2
            gate.open()
            for client in (one, other):
                assert {(await client.hear())["status"] for _ in range(2)} == {200}
            assert len(gate.begun) == 4


async def test_each_key_has_its_own_rate_limit() -> None:
    rate = Rate("2/h", key=lambda asked: asked.body.get("tenant"))
    async with served(action({"echo": Pipe(Backend("ok"))}, middleware=[rate])) as server:
        async with connected(server) as client:
            found = []
            for number, tenant in enumerate(["a", "a", "a", "b"]):
                asked = {"action": "echo", "id": number, "tenant": tenant}
                found.append((await client.ask(asked))["status"])
            assert found == [200, 200, 429, 200]


async def test_idle_keys_of_a_rate_limit_are_forgotten(autojump_clock: object) -> None:
    rate = Rate(1, key=lambda asked: asked.body)
    for number in range(500):
        await rate(message(body=number), Backend())
    await trio.sleep(10)
    for _ in range(300):
        await rate(message(body="new"), Backend())
        await trio.sleep(1)
    assert len(rate._buckets) <= 2


async def test_a_timeout_also_stops_calls_that_ignore_deadlines(
    autojump_clock: object,
) -> None:
    backend = Backend(takes=3600)
    assert (await failure(Timeout(2)(message(), backend))).status == 504
    assert (trio.current_time(), backend.under_way, backend.cancelled) == (2, 0, 1)


@pytest.mark.parametrize(
    ("backoff", "times"),
    [
        (Backoff(initial=2, factor=1, jitter=False), [0, 2, 4, 6]),
        (Backoff(initial=1, factor=2, jitter=False), [0, 1, 3, 7]),
        (Backoff(initial=1, factor=10, cap=5, jitter=False), [0, 1, 6, 11]),
    ],
    ids=["linear", "exponential", "capped"],
)
async def test_failed_calls_are_retried_after_constant_or_growing_pauses(
    autojump_clock: object, backoff: Backoff, times: list[float]
) -> None:
    backend = Backend(not_run())
    await failure(Retry(4, backoff=backoff)(message(), backend))
    assert backend.times == times
    assert trio.current_time() == times[-1]  # and there is no wait after the last one


async def test_a_function_decides_which_failures_are_retried(autojump_clock: object) -> None:
    retry = Retry(2, when=lambda asked, failed: failed.status == 500)
    for failed, calls in ((may_have_run(500), 2), (may_have_run(503), 1)):
        backend = Backend(failed)
        await failure(retry(message(), backend))
        assert len(backend.calls) == calls


@pytest.mark.parametrize("attempts", [0, -1, 1.5, None])
def test_zero_attempts_is_an_error_not_a_success(attempts: Any) -> None:
    with pytest.raises(ValueError, match=r"Retry\.attempts"):
        Retry(attempts)


@pytest.mark.parametrize("initial", [0, -1])
def test_a_pause_that_is_not_positive_is_an_error_at_construction(initial: float) -> None:
    with pytest.raises(ValueError, match=r"Backoff\.initial"):
        Retry(3, backoff=Backoff(initial=initial))


async def test_the_second_attempt_does_not_inherit_the_timeout_of_the_first(
    autojump_clock: object,
) -> None:
    backend, timeout = Backend(hang, "fine"), Timeout(1)

    async def call(asked: Message) -> Reply:
        return await timeout(asked, backend)

    retry = Retry(2, idempotent="*", backoff=Backoff(initial=1, jitter=False))
    assert (await retry(message(), call)).body == "fine"
    assert [each.deadline for each in backend.calls] == [1, 3]


async def opened(breaker: Breaker, times: int = 5) -> None:
    for _ in range(times):
        await failure(breaker(message(), Backend(may_have_run())))


async def test_consecutive_failures_open_the_breaker_and_it_tries_again_later(
    autojump_clock: object,
) -> None:
    breaker, backend = Breaker(failures=5, pause=30), Backend()
    await opened(breaker)
    assert isinstance(await failure(breaker(message(), backend)), CircuitOpen)
    assert (backend.calls, trio.current_time()) == ([], 0)
    await trio.sleep(30)
    assert (await breaker(message(), backend)).body == "fine"
    assert (await breaker(message(), backend)).body == "fine"


async def test_a_breaker_refuses_with_its_own_error_in_every_state(
    autojump_clock: object,
) -> None:
    breaker = Breaker(failures=5, pause=30)
    await opened(breaker)
    refused = [await failure(breaker(message(), Backend()))]
    await trio.sleep(30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaker, message(), hang)
        await trio.testing.wait_all_tasks_blocked()
        refused.append(await failure(breaker(message(), Backend())))
        nursery.cancel_scope.cancel()
    assert [(type(each), each.status) for each in refused] == [(CircuitOpen, 503)] * 2


async def test_a_breaker_does_not_count_clients_that_left_or_invalid_requests(
    autojump_clock: object,
) -> None:
    breaker = Breaker(failures=1, slow=None)
    with trio.move_on_after(1):
        await breaker(message(), hang)
    await failure(breaker(message(), Backend(not_run(422))))
    assert (await breaker(message(), Backend())).body == "fine"


async def test_a_failing_backend_does_not_open_the_breaker_of_another(
    autojump_clock: object,
) -> None:
    breaker = Breaker(failures=1, key="key")
    await failure(breaker(message("orders"), Backend(may_have_run())))
    assert isinstance(await failure(breaker(message("orders"), Backend())), CircuitOpen)
    assert (await breaker(message("quotes"), Backend())).body == "fine"


async def test_equal_concurrent_requests_share_one_call_and_its_result_is_cached() -> None:
    gate = Gate()
    cache = Cache(60, shared=True)
    async with served(action({"quotes": Pipe(gate, [cache])})) as server:
        async with connected(server) as one, connected(server) as other:
            for client in (one, other):
                await client.say({"action": "quotes", "id": 1})
            await until(lambda: cache.shared_calls == 1)
            gate.open()
            for client in (one, other):
                assert (await client.hear())["status"] == 200
            assert (await one.ask({"action": "quotes", "id": 2}))["status"] == 200
    assert len(gate.begun) == 1


async def test_a_client_that_leaves_does_not_fail_others_that_share_its_call() -> None:
    gate, cache = Gate(), Cache(0, shared=True)
    gateway = Gateway([action({"quotes": Pipe(gate, [cache])})])
    async with served(gateway) as server:
        async with connected(server) as other:
            async with connected(server) as first:
                await first.say({"action": "quotes", "id": 1})
                await gate.wait(1)
                await other.say({"action": "quotes", "id": 1})
                await until(lambda: cache.shared_calls == 1)
            await until(lambda: len(gateway.sessions) == 1)
            gate.open()
            assert (await other.hear())["status"] == 200
    assert (len(gate.begun), gate.cancelled) == (1, [])


async def test_failures_are_not_cached(autojump_clock: object) -> None:
    cache = Cache(60)
    async with cache.running():
        backend = Backend(Reply("no", 500), "fine")
        assert (await cache(message(), backend)).status == 500
        assert (await cache(message(), backend)).body == "fine"


async def test_no_client_gets_what_was_cached_for_another() -> None:
    async def who(asked: Message) -> Any:
        return asked.session.principal.name if asked.session.principal else None

    auth = BearerTokens({"one": "eve", "two": "joe"})
    async with served(action({"who": Pipe(who, [Cache(60)])}, auth=auth)) as server:
        for token, name in (("one", "eve"), ("two", "joe")):
            async with connected(server, headers={"Authorization": f"Bearer {token}"}) as client:
                assert (await client.ask({"action": "who", "id": 1}))["body"] == name


async def test_calls_are_measured_with_duration_and_errors() -> None:
    recorder = Recorder()
    routes: dict[str, Any] = {"good": Pipe(Backend()), "bad": Pipe(Backend(may_have_run()))}
    measure = Measure(recorder, channel="/ws", keys=["good", "bad"])
    async with served(action(routes, middleware=[measure])) as server:
        async with connected(server) as client:
            for number, key in enumerate(routes):
                await client.ask({"action": key, "id": number})
    told = [each[:4] for each in recorder.all("call_closed")]
    assert told == [("/ws", "good", "answered", 200), ("/ws", "bad", "failed", 503)]
    assert all(0 <= each[4] < 30 for each in recorder.all("call_closed"))


async def test_calls_have_a_span_with_their_error() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace = Trace(OpenTelemetryInstrument(tracer_provider=provider), channel="/ws")
    routes: dict[str, Any] = {"good": Pipe(Backend()), "bad": Pipe(Backend(may_have_run()))}
    async with served(action(routes, middleware=[trace])) as server:
        async with connected(server) as client:
            for number, key in enumerate(routes):
                await client.ask({"action": key, "id": number})
    errors = [
        dict(each.attributes or {}).get("error.type") for each in exporter.get_finished_spans()
    ]
    assert errors == [None, "CallFailed"]


@pytest.mark.parametrize("what", [None, "tracer", object()])
def test_a_missing_tracer_is_an_error_at_construction(what: Any) -> None:
    if what is None:
        assert Trace() is not None  # that of OpenTelemetry
    else:
        with pytest.raises(TypeError, match="Trace needs an Instrument"):
            Trace(what)


async def test_middleware_runs_in_the_order_of_its_list() -> None:
    order: list[str] = []

    def named(name: str) -> Callable[..., Any]:
        return lambda asked: order.append(name)

    limits = [
        Limit(1, scope=named("first")),
        Rate(1, key=named("second")),
        Limit(1, scope=named("last")),
    ]
    async with served(action({"echo": Pipe(Backend())}, middleware=limits)) as server:
        async with connected(server) as client:
            await client.ask({"action": "echo", "id": 1})
    assert order == ["first", "second", "last"]
