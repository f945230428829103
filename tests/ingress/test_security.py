"""Mistakes that others have made at this place, each with the test that would catch it here.

The table in docs/ingress.md names them; the docstring of each test begins with the mistake.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import restsock.sync
from restsock import Principal, Request, Response, forward
from restsock.auth import Addresses, BasicUsers, BearerTokens, Refused, Upgrade
from restsock.ingress import Ingress, Route, Webhook
from restsock.ingress._names import Naming
from restsock.protocol import RequestHead
from tests.ports import free_port

from .site import HOST, site

EVIL = "<script>alert(1)</script>"
MARKUP = re.compile(rb"<(?!/?(?:meta|title|body|h1|p|!doctype)\b)", re.IGNORECASE)

TOKENS = BearerTokens(
    {
        "t0k3n": Principal("anna"),
        "0ther": Principal("bob", may_call=["edge-7"]),
    }
)
ANNA = {"Authorization": "Bearer t0k3n"}
BOB = {"Authorization": "Bearer 0ther"}


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
async def test_markup_in_error_pages(autojump_clock: MockClock, accept: str) -> None:
    """Reflected XSS: the host, path or name of a request comes back as markup in an error page."""

    async def refuse(upgrade: Upgrade) -> Principal | None:
        raise Refused(403, f"{upgrade.target} {upgrade.header('x-evil')}")

    routes = [Route("closed.example", "edge-1", access=refuse)]
    async with site(routes=routes, access=TOKENS) as here:
        await here.lose_peer()
        answers = [
            await here.ask(target, host=host, headers={"Accept": accept, **headers})
            for target, host, headers in (
                (f"/{EVIL}", HOST, {}),
                (f"/{EVIL}?{EVIL}", HOST, ANNA),
                (f"/_/{EVIL}/", "localhost", ANNA),
                ("/", "localhost", {"Restsock-Peer": EVIL}),
                (f"/{EVIL}", "closed.example", {"X-Evil": EVIL}),
                ("/", "'+alert(1)+'.localhost", ANNA),
            )
        ]
        for line in (f"GET / HTTP/1.1\r\n{EVIL}", f"{EVIL} / HTTP/1.1", f"GET / {EVIL}/1.1"):
            caller = await here.dial()
            data = f"{line}\r\nHost: {HOST}\r\nAccept: {accept}\r\nX: {EVIL}\r\n\r\n"
            await caller.stream.send_all(data.encode())
            refused = bytes(await caller.stream.receive_some())
            assert refused.split(b" ")[1] in (b"400", b"505")
            assert EVIL.encode() not in refused
            assert b"Content-Type: text/html" not in refused
            await caller.stream.aclose()
    assert {answer.status for answer in answers} >= {401, 403, 404, 503}
    for answer in answers:
        if answer["Content-Type"].startswith("text/html"):
            assert not MARKUP.search(answer.body), answer.body
            assert answer["Content-Security-Policy"].startswith("default-src 'none'")
        else:
            assert answer["Content-Type"] == "application/problem+json"
            json.loads(answer.body)


async def test_errors_tell_nothing_of_the_inside(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors that tell strangers about the inside: the address or the exception of an upstream."""
    port = free_port()

    async def broken(request: Request) -> Response:
        raise RuntimeError("the-secret-of-the-app")

    for app in (broken, forward(f"http://127.0.0.1:{port}")):
        async with site(app) as here:
            answer = await here.ask("/x")
        shown = answer.body + repr(answer.headers).encode()
        assert answer.status in (500, 502)
        for inside in (b"the-secret", b"RuntimeError", b"Traceback", str(port).encode()):
            assert inside not in shown
    assert str(port) in caplog.text
    assert "RuntimeError" in caplog.text


# --- one way to say whom it is for --------------------------------------------------------------


SIGNALS = {
    "host": [None, "edge-1.localhost", "edge-2.localhost", "routed.example"],
    "field": [None, "edge-1", "edge-2"],
    "path": [None, "edge-1", "edge-2"],
}


@pytest.mark.parametrize(
    ("host", "peer", "path"), list(itertools.product(*SIGNALS.values())), ids=str
)
async def test_routing_and_access_agree(
    autojump_clock: MockClock, host: str | None, peer: str | None, path: str | None
) -> None:
    """A route decided by one field, and access by another: each reads its own part of a request."""
    target = "/x" if path is None else f"/_/{path}/x"
    headers = {} if peer is None else {"Restsock-Peer": peer}
    routes = [Route("routed.example", "edge-1")]
    only = BearerTokens({"t": Principal("anna", may_call=["edge-2"])})
    async with site(routes=routes, path_prefix=True, access=only) as here:
        naming = here.ingress._rules.naming
        head = RequestHead(
            b"GET",
            target.encode(),
            [(b"Host", (host or "localhost").encode())]
            + [(b"Restsock-Peer", value.encode()) for value in headers.values()],
        )
        try:
            name: str | int = naming.find(head).name
        except Refused as refused:
            name = refused.status
        fields = {**headers, "Authorization": "Bearer t"}
        own = host or "localhost"
        answer = await here.ask(target, host=own, headers=fields)
        absolute = await here.ask(f"http://{own}{target}", host=own, headers=fields)
        assert (absolute.status, absolute.body) == (answer.status, answer.body)
        for other in ("edge-1.localhost", "edge-2.localhost", "routed.example"):
            if other != own:
                twice = await here.ask(f"http://{other}{target}", host=own, headers=fields)
                assert twice.status == 400
    told = {one for one in (host_name(host), peer, path if host is None else None) if one}
    if len(told) > 1:
        assert (name, answer.status) == (400, 400)
    elif not told:
        assert (name, answer.status) == (404, 404)
    else:
        assert {name} == told
        # Only edge-1 is there, and only edge-2 may be called: nobody gets through.
        assert answer.status in (404, 503)
        assert b"edge" not in answer.body


def host_name(host: str | None) -> str | None:
    return {"edge-2.localhost": "edge-2", None: None}.get(host, "edge-1")


@pytest.mark.parametrize("rule", [{"access": TOKENS}, {"webhook": Webhook("github", "s3cr3t")}])
async def test_no_other_name_goes_round_a_route(
    autojump_clock: MockClock, rule: dict[str, Any]
) -> None:
    """A guarded door beside an open one: what asks for something is for one of several names."""
    routes = [Route("routed.example", "edge-1", **rule)]
    other_ways: list[tuple[str, str, dict[str, str]]] = [
        ("/", "edge-1.localhost", {}),
        ("/", "EDGE-1", {}),
        ("/", "localhost", {"Restsock-Peer": "edge-1"}),
        ("/_/edge-1/", "localhost", {}),
    ]
    async with site(routes=routes, path_prefix=True) as here:
        assert (await here.ask(host="routed.example")).status == 401
        for target, host, headers in other_ways:
            assert (await here.ask(target, host=host, headers=headers)).status == 404
            told = here.ingress.explain("GET", f"http://{host}{target}", list(headers.items()))
            assert (told.name, told.how[:3]) == (None, "404")
    # Where the ingress itself asks for something, that counts for the other ways.
    async with site(routes=routes, path_prefix=True, access=TOKENS) as here:
        for target, host, headers in other_ways:
            assert (await here.ask(target, host=host, headers=headers)).status == 401
            answer = await here.ask(target, host=host, headers={**headers, **ANNA})
            assert answer.status == 200


# --- fields -------------------------------------------------------------------------------------

INTERNAL = [
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"),
    *("X-Forwarded-User", "Forwarded", "X-Real-IP", "X-Original-URL", "Via", "Proxy"),
    *("Proxy-Authorization", "Restsock-Identity", "Restsock-Replay", "Restsock-Forward"),
    *("X_Forwarded_For", "Restsock_Identity", "X-Forwarded_For"),
]


async def test_fields_of_the_inside_are_not_believed(autojump_clock: MockClock) -> None:
    """An internal field believed from outside: a caller writes what only the hub may write."""
    async with site(access=TOKENS) as here:
        fields = [(name, "forged") for name in INTERNAL] * 2
        answer = await here.ask(headers=[*fields, *ANNA.items()])
    told = answer.json()["headers"]
    assert "forged" not in json.dumps(told)
    assert [value for name, value in told if name.lower() == "restsock-identity"] == ["anna"]


# --- access -------------------------------------------------------------------------------------


async def test_access_is_asked_at_each_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Access asked at the beginning alone: what is withdrawn goes on over an open connection."""
    file = tmp_path / "tokens.json"
    file.write_text('{"t0k3n": "anna"}')
    store = BearerTokens(file=file)
    async with site(access=store) as here:
        caller = await here.dial()
        await caller.send(headers=ANNA)
        assert (await caller.receive()).status == 200
        store._load('{"other": "anna"}')  # as a look at the file does
        caller.http.start_next_cycle()
        await caller.send(headers=ANNA)
        assert (await caller.receive()).status == 401
        here.ingress.swap(Ingress(domains=["localhost"], access=TOKENS))
        caller.http.start_next_cycle()
        await caller.send(headers=ANNA)
        assert (await caller.receive()).status == 200
        here.ingress.swap(Ingress(domains=["localhost"], access=Addresses("192.0.2.1")))
        caller.http.start_next_cycle()
        await caller.send(headers=ANNA)
        assert (await caller.receive()).status == 403


async def test_what_a_stranger_sends_is_bounded(autojump_clock: MockClock) -> None:
    """Allocation by a number that nobody has checked, before anybody was let in."""
    async with site(access=TOKENS) as here:
        for name, value in (
            ("Cookie", "; ".join(f"a{number}={number}" for number in range(3000))),
            ("Cookie", "chunks=4294967295"),
            ("Range", "bytes=0-99999999999999999999"),
            ("Accept", ",".join(["text/x"] * 5000)),
            ("Authorization", "Bearer " + "x" * 30_000),
            ("Content-Length", "999999999999999999"),
            ("Content-Length", "9" * 30),
            ("X-Forwarded-For", ", ".join(["203.0.113.7"] * 2000)),
        ):
            caller = await here.dial()
            await caller.stream.send_all(
                f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{name}: {value}\r\n\r\n".encode()
            )
            data = bytes(await caller.stream.receive_some())
            assert data.split(b" ")[1] in (b"400", b"401", b"431")
            await caller.stream.aclose()
        await trio.sleep(1)
        assert here.ingress._in_flight == {}


@pytest.mark.parametrize(
    "name",
    [
        *("..", "%2e%2e", "..%2f..%2fetc", "a%2fb", "%00", "a%00b", "\u202eabc", "%E2%80%AE"),
        *("a" * 64, ".", "-", "_x", "a_b", "xn--a", "%", "a\\b"),
    ],
)
def test_names_are_labels(name: str) -> None:
    """Traversal by names: one that is a path, or looks like another one, where a label is due."""
    naming = Naming(["hub.example"], [], header=False, path_prefix=True)
    encoded = name.encode("utf-8")
    for host, target in (
        (encoded + b".hub.example", b"/"),
        (encoded, b"/"),
        (b"hub.example", b"/_/" + encoded + b"/x"),
    ):
        with pytest.raises(Refused) as refused:
            naming.find(RequestHead(b"GET", target, [(b"Host", host)]))
        assert refused.value.status in (400, 404)


async def test_unknown_and_forbidden_look_alike(autojump_clock: MockClock) -> None:
    """Enumeration: an answer that differs tells a stranger which names there are."""
    async with site(access=TOKENS) as here:
        await trio.sleep(31)
        for headers in ({}, BOB):
            seen = []
            for host in (HOST, "edge-9.localhost"):
                begun = trio.current_time()
                answer = await here.ask(host=host, headers=headers)
                fields = [(n, v) for n, v in answer.headers if n.lower() != "date"]
                seen.append((answer.status, fields, answer.body, trio.current_time() - begun))
            assert seen[0] == seen[1]
        # Nor does it while the peer is away, which makes others wait.
        await here.lose_peer()
        begun = trio.current_time()
        assert (await here.ask(headers=BOB)).status == 404
        assert trio.current_time() == begun


# --- framing ------------------------------------------------------------------------------------


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: edge-1.localhost\r\n\r\n"
MALFORMED = {
    "length and chunks": b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\n",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 0, 0\r\n\r\n",
    "a signed length": b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: +0\r\n\r\n",
    "chunks in 1.0": b"POST / HTTP/1.0\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "coding twice": b"POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n"
    b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "space before the colon": b"POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding : chunked\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: %s\n\n",
    "a folded field": b"GET / HTTP/1.1\r\nHost: %s\r\nX: a\r\n Content-Length: 4\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: %s\r\nHost: edge-2.localhost\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: %s\r\n\r\n",
    "a target and a host that differ": b"GET http://edge-2.localhost/ HTTP/1.1\r\nHost: %s\r\n\r\n",
    "a malformed chunk": b"POST / HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "CONNECT": b"CONNECT edge-1:80 HTTP/1.1\r\nHost: %s\r\n\r\n",
    "an unknown version": b"GET / HTTP/3.0\r\nHost: %s\r\n\r\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: %s\r\nX: \x00\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_nothing_is_smuggled(autojump_clock: MockClock, kind: str) -> None:
    """Smuggling: framing that two readers understand differently hides a second request."""
    targets: list[str] = []

    async def note(request: Request) -> Response:
        targets.append(request.target)
        return Response(200, [], b"ok")

    async with site(note) as here:
        caller = await here.dial()
        await caller.stream.send_all(MALFORMED[kind].replace(b"%s", HOST.encode()) + SMUGGLED)
        data = b""
        with trio.move_on_after(60), pytest.raises(trio.ClosedResourceError):
            while piece := await caller.stream.receive_some():
                data += piece
            raise trio.ClosedResourceError
    status = int(data.split(b" ")[1])
    assert status in (400, 501, 505)
    assert data.count(b"HTTP/1.1 ") == 1
    assert "/smuggled" not in targets


async def test_an_upgrade_to_http_2_does_not_cross(autojump_clock: MockClock) -> None:
    """Smuggling by h2c: the way behind an upgrade is open for requests that nobody looks at."""
    async with site() as here:
        for protocol in ("h2c", "HTTP/2.0", "TLS/1.0", "h2c, websocket"):
            answer = await here.ask(
                headers={
                    "Connection": "Upgrade, HTTP2-Settings",
                    "Upgrade": protocol,
                    "HTTP2-Settings": "AAMAAABkAAQAAP__",
                }
            )
            assert answer.status == 200
            names = {name.lower() for name, _ in answer.json()["headers"]}
            assert not names & {"upgrade", "http2-settings", "connection"}


# --- neighbours ---------------------------------------------------------------------------------


async def test_peers_are_neighbours_and_not_one(autojump_clock: MockClock) -> None:
    """Peers that share an origin or a domain: cookies and service workers of one are for all."""

    async def app(request: Request) -> Response:
        fields = [
            ("Set-Cookie", "a=b; Domain=localhost; Path=/"),
            ("Set-Cookie", "c=d; domain=.LOCALHOST"),
            ("Service-Worker-Allowed", "/"),
            ("Clear-Site-Data", '"*"'),
            ("Restsock-May-Have-Run", "?0"),
        ]
        return Response(200, fields, b"")

    async with site(app, path_prefix=True) as here:
        answer = await here.ask()
        assert answer.all("Set-Cookie") == ["a=b; Path=/", "c=d"]
        assert answer.all("Restsock-May-Have-Run") == []
        answer = await here.ask("/_/edge-1/", host="localhost")
        assert answer.all("Set-Cookie") == ["a=b; Path=/_/edge-1/", "c=d"]
        assert answer.all("Service-Worker-Allowed") == []
        assert answer.all("Clear-Site-Data") == []


async def test_a_request_says_no_url_to_go_to(autojump_clock: MockClock) -> None:
    """SSRF: a request chooses the address that is asked for it, inside of the network."""
    with socket.create_server(("127.0.0.1", 0)) as inside:
        port = inside.getsockname()[1]
        async with site() as here:
            for target, host, headers in (
                (f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}", {}),
                ("/", f"127.0.0.1:{port}", {}),
                ("/", "localhost", {"Restsock-Peer": f"127.0.0.1:{port}"}),
                ("/", "localhost", {"Restsock-Peer": f"http://127.0.0.1:{port}/"}),
                (f"/_/127.0.0.1:{port}/", "localhost", {}),
                ("/", HOST, {"X-Forwarded-Host": f"127.0.0.1:{port}"}),
            ):
                answer = await here.ask(target, host=host, headers=headers)
                assert answer.status in (200, 404)
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()


# --- secrets ------------------------------------------------------------------------------------


def test_secrets_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Secrets in what is printed: in a repr, a log line, or the text of an error."""
    kept = [
        BearerTokens({"canary": "anna"}),
        BasicUsers({"anna": "canary"}),
        Webhook("github", "canary"),
        Route("a.example", "edge-1", webhook=Webhook("slack", "canary")),
    ]
    assert "canary" not in repr(kept)
    ingress = Ingress(access=kept[0])  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG):
        with restsock.sync.listen("127.0.0.1", 0, ingress=ingress) as server:
            for value in ("Bearer canary2", "Basic Y2FuYXJ5OmNhbmFyeQ==", "canary"):
                with socket.create_connection(server.address, timeout=10) as client:
                    client.sendall(
                        f"GET /?token=canary HTTP/1.1\r\nHost: {HOST}\r\nCookie: canary\r\n"
                        f"Authorization: {value}\r\nConnection: close\r\n\r\n".encode()
                    )
                    answer = b"".join(iter(lambda c=client: c.recv(65536), b""))  # type: ignore[misc]
                    assert b"canary" not in answer
    assert "canary" not in caplog.text
    assert "Y2Fu" not in caplog.text


def test_the_table_names_each_of_these_tests() -> None:
    text = (Path(__file__).parents[2] / "docs" / "ingress.md").read_text(encoding="utf-8")
    table = text.partition("## Mistakes of others")[2]
    named = set(re.findall(r"`(test_\w+)`", table))
    assert named == set(mistakes())


def mistakes() -> Iterator[str]:
    for name, value in globals().items():
        if name.startswith("test_") and name != "test_the_table_names_each_of_these_tests":
            assert value.__doc__, name
            yield name
