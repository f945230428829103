"""The ingress as a whole, in memory and under a virtual clock."""

from __future__ import annotations

import gc
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from restsock import Principal, Request, Response, connect
from restsock.auth import Answered, BasicUsers, BearerTokens, Refused, Upgrade
from restsock.connection import Exchange
from restsock.ingress import Ingress, Route, Webhook
from restsock.ingress._relay import Relay
from restsock.ingress._request import Request as PassingRequest
from restsock.protocol import ResetCode

from .site import site

NEWLY = 31  # seconds after which a name that was never seen is not waited for


class Hanging:
    """An app that answers when it is told to, and knows who has left."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.begun = 0
        self.cancelled = 0

    async def __call__(self, request: Request) -> Response:
        self.begun += 1
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        return Response(200, [], b"done")


class Refusing:
    """A handler that has too much to do."""

    refused = 0

    def handle(self, exchange: Exchange) -> None:
        self.refused += 1
        exchange.observer = lambda event: None
        exchange.reset(ResetCode.REFUSED, "busy")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield


# --- who is there, and who is not ---------------------------------------------------------------


async def test_a_request_goes_to_its_peer_and_comes_back(autojump_clock: MockClock) -> None:
    async with site() as here:
        answer = await here.ask("/pets?a=1", method="POST", body=b"Rex")
        assert answer.status == 200
        told = answer.json()
        assert (told["method"], told["target"], told["body"]) == ("POST", "/pets?a=1", "Rex")
    (passed,) = here.passed
    assert (passed.name, passed.method, passed.target) == ("edge-1", "POST", "/pets")
    assert (passed.status, passed.received, passed.sent) == (200, 3, len(answer.body))
    assert (passed.principal, passed.may_have_run) == (None, False)


async def test_an_unknown_name_is_404_at_once(autojump_clock: MockClock) -> None:
    async with site() as here:
        await trio.sleep(NEWLY)
        begun = trio.current_time()
        answer = await here.ask(host="edge-9.localhost")
        assert trio.current_time() == begun
    assert (answer.status, answer["Content-Type"]) == (404, "application/problem+json")
    assert here.passed[-1].status == 404


async def test_right_after_the_start_a_name_may_be_about_to_come(autojump_clock: MockClock) -> None:
    async with site() as here:
        answer = await here.ask(host="edge-9.localhost")
        assert answer.status == 404
        assert trio.current_time() == pytest.approx(5, abs=0.5)


async def test_a_peer_that_is_away_is_waited_for(autojump_clock: MockClock) -> None:
    async with site(wait=7) as here:
        await here.lose_peer()
        begun = trio.current_time()
        answer = await here.ask(method="POST", body=b"x")
        assert trio.current_time() - begun == pytest.approx(7)
        assert (answer.status, answer["Retry-After"]) == (503, "2")
        assert answer["Restsock-May-Have-Run"] == "?0"
    assert (here.passed[-1].status, here.passed[-1].may_have_run) == (503, False)


async def test_a_peer_that_comes_back_in_time_answers(autojump_clock: MockClock) -> None:
    async with site() as here, trio.open_nursery() as nursery:
        await here.lose_peer()
        answers: list[Any] = []

        async def ask() -> None:
            fields = {"Transfer-Encoding": "chunked"}
            answers.append(await here.ask(method="POST", body=b"Rex", headers=fields))

        nursery.start_soon(ask)
        await trio.sleep(4)
        assert answers == []
        here.network.accept_again()
        await trio.sleep(4)
        assert answers[0].json()["body"] == "Rex"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_peer_that_is_lost_before_it_answers(
    autojump_clock: MockClock, method: str
) -> None:
    app = Hanging()
    async with site(app) as here, trio.open_nursery() as nursery:

        async def ask() -> None:
            answer = await here.ask(method=method)
            assert (answer.status, answer["Restsock-May-Have-Run"]) == (502, "?1")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert app.begun == 1
        await here.lose_peer()
    assert here.passed[-1].may_have_run is True


async def test_a_peer_that_is_lost_in_the_middle_cuts_the_answer(
    autojump_clock: MockClock,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        await trio.sleep_forever()

    async with site(app, client={"loop": "trio", "interface": "asgi"}) as here:
        caller = await here.dial()
        await caller.send()
        await wait_all_tasks_blocked()
        await here.lose_peer()
        with pytest.raises(Exception, match=r"closed|incomplete"):
            await caller.receive()
        assert b"some" not in caller.http.trailing_data[0]


async def test_a_client_that_leaves_cancels_the_app(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app) as here:
        caller = await here.dial()
        await caller.send()
        await wait_all_tasks_blocked()
        assert app.begun == 1
        await caller.stream.aclose()
        await trio.sleep(1)
        assert app.cancelled == 1
        assert here.ingress._in_flight == {}
        assert len(here.passed) == 1


async def test_a_client_that_leaves_while_it_waits_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with site() as here:
        await here.lose_peer()
        caller = await here.dial()
        await caller.send()
        await wait_all_tasks_blocked()
        assert here.server.statistics().waiting == 1
        await caller.stream.aclose()
        await trio.sleep(1)
        assert here.server.statistics().waiting == 0
        assert here.ingress._in_flight == {}


async def test_no_answer_in_time(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app, timeout=3) as here:
        begun = trio.current_time()
        answer = await here.ask()
        assert trio.current_time() - begun == pytest.approx(3)
        assert (answer.status, answer["Restsock-May-Have-Run"]) == (504, "?1")
        await trio.sleep(1)
        assert app.cancelled == 1


async def test_one_task_watches_the_times_of_all_requests(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app, timeout=1000) as here, trio.open_nursery() as nursery:
        assert here.ingress._nursery is not None
        for _ in range(5):
            nursery.start_soon(here.ask)
        await wait_all_tasks_blocked()
        assert len(here.ingress._nursery.child_tasks) == 2  # another one looks at files
        (bounds,) = here.ingress._time_limits._timeouts.values()
        assert len(bounds) == 5
        app.go.set()
        await trio.sleep(1)
        assert len(bounds) == 0
        await trio.sleep(1000)
        assert len(here.ingress._nursery.child_tasks) == 1
        assert (await here.ask()).status == 200
        assert len(here.ingress._nursery.child_tasks) == 2


async def test_a_peer_that_refuses_is_passed_over(autojump_clock: MockClock) -> None:
    """Of several peers of a name, one that refuses leaves a request to the next."""
    busy = Refusing()
    async with site(server={"names": "share"}) as here:
        other = connect("ws://memory/", app=busy, name="edge-1", proxy=False)
        other.dial_over(here.network.open_stream)
        async with other:
            await wait_all_tasks_blocked()
            assert len(here.server.connections.all_by_name("edge-1")) == 2
            answers = []
            for _ in range(4):
                await trio.sleep(2)  # it is asked again
                answers.append(await here.ask(method="POST", body=b"Rex"))
        assert [answer.json()["body"] for answer in answers] == ["Rex"] * 4
        assert busy.refused > 1


async def test_a_peer_that_goes_on_refusing_is_asked_for_a_while(
    autojump_clock: MockClock,
) -> None:
    busy = Refusing()
    async with site(busy, wait=5) as here:
        begun = trio.current_time()
        with trio.fail_after(60):
            answer = await here.ask(method="POST", body=b"Rex")
        assert 5 <= trio.current_time() - begun < 6.1
        assert (answer.status, answer["Restsock-May-Have-Run"]) == (503, "?0")
        assert busy.refused > 3


# --- bounds -------------------------------------------------------------------------------------


async def test_requests_in_flight_have_a_bound(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app, max_in_flight=1) as here:
        first = await here.dial()
        await first.send()
        await wait_all_tasks_blocked()
        answer = await here.ask()
        assert (answer.status, answer["Retry-After"]) == (503, "1")
        app.go.set()
        assert (await first.receive()).status == 200
        assert (await here.ask()).status == 200


@pytest.mark.parametrize("rest", [b"", b"raw bytes"])
async def test_an_upgrade_that_is_declined_is_over(autojump_clock: MockClock, rest: bytes) -> None:
    async with site(max_in_flight=1) as here:
        for _ in range(3):
            caller = await here.dial()
            await caller.send(headers={"Connection": "upgrade", "Upgrade": "websocket"})
            if rest:
                await caller.stream.send_all(rest)
            assert (await caller.receive()).status == 200
            await caller.stream.aclose()
        await wait_all_tasks_blocked()
        assert [passed.status for passed in here.passed] == [200] * 3


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
async def test_bodies_have_a_bound(autojump_clock: MockClock, headers: dict[str, str]) -> None:
    async with site(max_body=10) as here:
        assert (await here.ask(method="POST", body=b"x" * 10, headers=headers)).status == 200
        assert (await here.ask(method="POST", body=b"x" * 11, headers=headers)).status == 413


async def test_a_body_that_gets_too_large_may_have_run(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app, max_body=100) as here:
        caller = await here.dial()
        await caller.send(method="POST", headers={"Transfer-Encoding": "chunked"}, end=False)
        for _ in range(3):
            await caller.stream.send_all(b"28\r\n" + b"x" * 40 + b"\r\n")
            await wait_all_tasks_blocked()
        answer = await caller.receive()
        assert (answer.status, answer["Restsock-May-Have-Run"]) == (413, "?1")
        assert app.begun == 1
        # What has not come so far has not run.
        answer = await here.ask(method="POST", body=b"x" * 101)
        assert (answer.status, answer["Restsock-May-Have-Run"]) == (413, "?0")


async def test_a_body_that_is_announced_as_too_large_is_not_asked_for(
    autojump_clock: MockClock,
) -> None:
    app = Hanging()
    async with site(app, max_body=10) as here:
        caller = await here.dial()
        fields = {"Content-Length": "11", "Expect": "100-continue"}
        await caller.send(method="POST", headers=fields, end=False)
        answer = await caller.receive()
        assert (answer.status, answer.early) == (413, [])
        assert app.begun == 0


async def test_rates(autojump_clock: MockClock) -> None:
    routes = [Route("slow.example", "edge-1", rate="1/m")]
    async with site(rate="2/s", routes=routes) as here:
        assert [(await here.ask()).status for _ in range(3)] == [200, 200, 429]
        assert [(await here.ask(host="slow.example")).status for _ in range(2)] == [200, 429]
        answer = await here.ask(host="slow.example")
        assert int(answer["Retry-After"]) in (59, 60)
        await trio.sleep(1)
        assert (await here.ask()).status == 200


# --- rules --------------------------------------------------------------------------------------


async def test_swap_is_for_requests_to_come(autojump_clock: MockClock) -> None:
    app = Hanging()
    async with site(app) as here:
        first = await here.dial()
        await first.send()
        await wait_all_tasks_blocked()
        here.ingress.swap(Ingress(domains=["hub.example"], access=BearerTokens({"t": "anna"})))
        assert (await here.ask()).status == 404
        assert (await here.ask(host="edge-1.hub.example")).status == 401
        app.go.set()
        assert (await first.receive()).body == b"done"
        fields = {"Authorization": "Bearer t"}
        answer = await here.ask(host="edge-1.hub.example", headers=fields)
        assert answer.status == 200
        with pytest.raises(ValueError, match="public"):
            here.ingress.swap(Ingress())
        assert (await here.ask(host="edge-1.hub.example", headers=fields)).status == 200


async def test_explain_says_what_would_become_of_a_request(autojump_clock: MockClock) -> None:
    routes = [
        Route("api.example", "edge-2", path="/v1", strip=True, access=BearerTokens({"t": "a"})),
        Route("hooks.example", "edge-3", webhook=Webhook("github", "x")),
    ]
    async with site(routes=routes) as here:
        told = here.ingress.explain("GET", "http://edge-1.localhost:8080/pets?a=1")
        assert (told.name, told.target, told.access) == ("edge-1", "/pets?a=1", "open")
        assert told.connected
        told = here.ingress.explain("GET", "https://api.example/v1/pets")
        assert (told.name, told.target, told.access) == ("edge-2", "/pets", "BearerTokens")
        assert not told.connected
        told = here.ingress.explain("GET", "hooks.example")
        assert told.access == "a signature (github)"
        told = here.ingress.explain("GET", "http://localhost/", [("Restsock-Peer", "edge-1")])
        assert (told.name, told.how) == ("edge-1", "the field Restsock-Peer")
        told = here.ingress.explain("GET", "http://nobody.example/")
        assert (told.name, told.how[:3]) == (None, "404")
    assert here.passed == []


async def test_pages_of_ones_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("<p>Gone fishing: {detail}")
    async with site(pages=tmp_path) as here:
        answer = await here.ask(host="a.b.localhost", headers={"Accept": "text/html"})
        assert answer.body == b"<p>Gone fishing: There is no such host here."


def test_everybody_from_anywhere_has_to_be_asked_for() -> None:
    import restsock

    with pytest.raises(ValueError, match="public=True"):
        restsock.listen("0.0.0.0", 0, ingress=Ingress())
    restsock.listen("0.0.0.0", 0, ingress=Ingress(public=True))
    restsock.listen("0.0.0.0", 0, ingress=Ingress(access=BearerTokens({"t": "a"})))
    restsock.listen("127.0.0.1", 0, ingress=Ingress())


# --- access -------------------------------------------------------------------------------------

TOKENS = BearerTokens(
    {"t0k3n": Principal("anna"), "n0thing": Principal("bob", may_call=["edge-7"])}
)
ANNA = {"Authorization": "Bearer t0k3n"}


async def test_who_is_let_in_and_what_the_peer_is_told(autojump_clock: MockClock) -> None:
    async with site(access=TOKENS) as here:
        answer = await here.ask()
        assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Bearer realm="restsock"')
        answer = await here.ask(headers={**ANNA, "Restsock-Identity": "root"})
        fields = answer.json()["headers"]
        assert [v for n, v in fields if n.lower() == "restsock-identity"] == ["anna"]
        assert [v for n, v in fields if n.lower() == "authorization"] == []
    assert [passed.principal for passed in here.passed] == [None, "anna"]


async def test_a_route_has_its_own_access(autojump_clock: MockClock) -> None:
    users = BasicUsers({"anna": "pass"})
    async with site(access=TOKENS, routes=[Route("a.example", "edge-1", access=users)]) as here:
        assert (await here.ask(host="a.example", headers=ANNA)).status == 401
        basic = {"Authorization": "Basic YW5uYTpwYXNz"}
        assert (await here.ask(host="a.example", headers=basic)).status == 200
        assert (await here.ask(headers=basic)).status == 401


async def test_authenticators_of_any_kind(autojump_clock: MockClock) -> None:
    async def slow(upgrade: Upgrade) -> Principal | None:
        await trio.sleep(1)
        if upgrade.path == "/login":
            raise Answered(302, [(b"Location", b"/there"), (b"Set-Cookie", b"a=b")], b"go")
        return Principal("anna") if upgrade.method == "PUT" else None

    async with site(access=slow) as here:
        answer = await here.ask("/login", headers={"Accept": "text/html"})
        assert (answer.status, answer["Location"], answer.body) == (302, "/there", b"go")
        assert answer["Restsock-May-Have-Run"] == "?0"  # so it is none of the peer
        assert (await here.ask(method="PUT", body=b"x" * 100_000)).status == 200
        assert (await here.ask()).status == 401


async def test_an_authenticator_whose_answer_cannot_be_sent(autojump_clock: MockClock) -> None:
    async def split(upgrade: Upgrade) -> Principal | None:
        await trio.lowlevel.checkpoint()
        if upgrade.path == "/login":
            raise Answered(302, [(b"Location", b"/\r\nSet-Cookie: a=b")])
        return Principal("anna")

    async with site(access=split) as here:
        answer = await here.ask("/login")
        assert (answer.status, answer.all("Set-Cookie")) == (500, [])
        assert (await here.ask()).status == 200


async def test_an_authenticator_that_takes_too_long(autojump_clock: MockClock) -> None:
    async def slow(upgrade: Upgrade) -> Principal | None:
        await trio.sleep_forever()
        return None

    async with site(access=slow) as here:
        assert (await here.ask()).status == 503
        assert trio.current_time() < 60
        caller = await here.dial()
        await caller.send()
        await wait_all_tasks_blocked()
        await caller.stream.aclose()
        await trio.sleep(1)
        assert here.ingress._nursery is not None
        assert len(here.ingress._nursery.child_tasks) == 1


async def test_an_authenticator_that_fails_lets_nobody_in(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(upgrade: Upgrade) -> Principal | None:
        raise RuntimeError("s3cr3t")

    async with site(access=broken) as here:
        answer = await here.ask()
    assert answer.status == 500
    assert "s3cr3t" not in caplog.text + answer.body.decode()


async def test_wrong_credentials_are_logged_and_make_their_address_wait(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(access=TOKENS) as here:
        here.ingress._rules.proxies.trusts = lambda host: host == "memory"  # type: ignore[method-assign]
        wrong = {"Authorization": "Bearer wr0ng", "X-Forwarded-For": "203.0.113.7"}
        with caplog.at_level(logging.INFO):
            statuses = [(await here.ask("/x?k=s3cr3t", headers=wrong)).status for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        right = {**ANNA, "X-Forwarded-For": "203.0.113.7"}
        assert (await here.ask(headers=right)).status == 429
        assert (await here.ask(headers={**right, "X-Forwarded-For": "203.0.113.8"})).status == 200
        await trio.sleep(6)
        assert (await here.ask(headers=right)).status == 200
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("refused with")]
    assert len(lines) == 10
    assert "203.0.113.7" in lines[0]
    assert "GET /x for 'edge-1'" in lines[0]
    assert "s3cr3t" not in caplog.text
    assert "wr0ng" not in caplog.text


async def test_asking_without_credentials_is_no_failure(autojump_clock: MockClock) -> None:
    async with site(access=TOKENS) as here:
        assert {(await here.ask()).status for _ in range(15)} == {401}
        assert (await here.ask(headers=ANNA)).status == 200


async def test_a_refusal_may_have_any_status(autojump_clock: MockClock) -> None:
    async def locked(upgrade: Upgrade) -> Principal | None:
        raise Refused(423, "<b>locked</b>", headers={"Retry-After": "9"})

    async with site(access=locked) as here:
        answer = await here.ask(headers={"Accept": "text/html"})
    assert (answer.status, answer["Retry-After"]) == (423, "9")
    assert b"&lt;b&gt;locked" in answer.body


# --- webhooks -----------------------------------------------------------------------------------


def signed(body: bytes, secret: bytes = b"s3cr3t") -> dict[str, str]:
    return {"X-Hub-Signature-256": f"sha256={hmac.new(secret, body, 'sha256').hexdigest()}"}


async def test_only_signed_webhooks_reach_the_peer(autojump_clock: MockClock) -> None:
    route = Route("hooks.example", "edge-1", webhook=Webhook("github", "s3cr3t"))
    body = b"x" * 200_000
    async with site(access=TOKENS, routes=[route]) as here:

        async def send(body: bytes, headers: dict[str, str]) -> int:
            answer = await here.ask(method="POST", host="hooks.example", body=body, headers=headers)
            return answer.status

        for more in ({}, {"Transfer-Encoding": "chunked"}):
            assert await send(body, {**signed(body), **more}) == 200
            assert await send(body + b"y", {**signed(body), **more}) == 401
        assert await send(b"x" * (1024 * 1024 + 1), signed(b"")) == 413
        assert await send(b"", signed(b"")) == 200
        answer = await here.ask(host="hooks.example", headers=ANNA)
        assert answer.status == 401
        assert [await send(b"x", {}) for _ in range(9)][-1] == 429
    assert [passed.status for passed in here.passed if passed.status == 200] == [200] * 3


async def test_a_webhook_may_have_access_as_well(autojump_clock: MockClock) -> None:
    route = Route("hooks.example", "edge-1", access=TOKENS, webhook=Webhook("github", "s3cr3t"))
    async with site(routes=[route]) as here:
        ask: dict[str, Any] = {"method": "POST", "host": "hooks.example", "body": b"x"}
        assert (await here.ask(**ask, headers=signed(b"x"))).status == 401
        assert (await here.ask(**ask, headers={**signed(b"x"), **ANNA})).status == 200
        assert (await here.ask(**ask, headers=ANNA)).status == 401


# --- what is left of a request ------------------------------------------------------------------


async def test_nothing_is_left_of_a_request_that_is_over(autojump_clock: MockClock) -> None:
    """Nor does it wait for the collector of garbage, which would stop all others for a while."""
    kinds = (Exchange, Relay, PassingRequest)
    async with site() as here:
        caller = await here.dial()
        await caller.send("/", body=b"hello")
        assert (await caller.receive()).status == 200
        gc.collect()
        # Other tests may have connections that live as long as all tests do.
        before = {id(thing) for thing in gc.get_objects() if type(thing) in kinds}
        gc.disable()
        try:
            for target, headers in (
                ("/", {}),
                ("/", {"Host2": "x"}),
                ("/%zz", {"Restsock-Peer": "b"}),
            ):
                await here.ask(target, headers=headers)
                await wait_all_tasks_blocked()
            left = [
                thing
                for thing in gc.get_objects()
                if type(thing) in kinds and id(thing) not in before
            ]
        finally:
            gc.enable()
        assert left == []
