"""Where a dialer is that comes through a proxy: what counts, from whom, and for what."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import restsock.sync
from restsock import Backoff, HandshakeError, Limits, Options, Principal, connect, listen
from restsock._addresses import ip_of
from restsock.auth import Refused, Upgrade
from restsock.connection import Peer
from restsock.server._proxies import TrustedProxies
from tests.waiting import until

ONCE = Backoff(tries=1)
X, F = "X-Forwarded-For", "Forwarded"


def located(
    *fields: tuple[str, str], peer: str = "127.0.0.1", trusted: Any = ("127.0.0.1", "10.0.0.0/8")
) -> Peer:
    headers = [(name.encode(), value.encode()) for name, value in fields]
    return TrustedProxies(trusted).locate(Peer(peer, 4711, tls=True), headers)


HERE = ("127.0.0.1", 4711)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], HERE),
        ([(X, "203.0.113.9")], ("203.0.113.9", 0)),
        ([("x-forwarded-for", " 203.0.113.9\t")], ("203.0.113.9", 0)),
        ([(X, "203.0.113.9:80")], ("203.0.113.9", 80)),
        ([(X, "2001:db8::9")], ("2001:db8::9", 0)),
        ([(X, "[2001:DB8:0::9]:80")], ("2001:db8::9", 80)),
        ([(X, "::ffff:203.0.113.9")], ("203.0.113.9", 0)),
        # From the right, past those that are trusted, and no further.
        ([(X, "1.1.1.1, 203.0.113.9")], ("203.0.113.9", 0)),
        ([(X, "1.1.1.1, 203.0.113.9, 10.1.2.3, 127.0.0.1")], ("203.0.113.9", 0)),
        ([(X, "1.1.1.1"), (X, "203.0.113.9")], ("203.0.113.9", 0)),
        ([(X, "127.0.0.1, 203.0.113.9")], ("203.0.113.9", 0)),
        ([(X, "nonsense, 203.0.113.9,,")], ("203.0.113.9", 0)),
        ([(X, "10.0.0.2, 10.0.0.1")], ("10.0.0.2", 0)),
        # Somebody whom the proxy does not know, or does not name.
        ([(X, "1.1.1.1, unknown")], HERE),
        ([(X, "1.1.1.1, unknown, 10.0.0.1")], ("10.0.0.1", 0)),
        ([(F, "for=1.1.1.1, for=_hidden")], HERE),
        ([(F, "for=1.1.1.1, for=Unknown")], HERE),
        ([(F, "for=1.1.1.1, proto=https")], HERE),
        ([(X, "")], HERE),
        ([(F, "")], HERE),
        ([(F, "for=203.0.113.9")], ("203.0.113.9", 0)),
        ([(F, 'For="203.0.113.9:80";proto=https;by=10.0.0.1')], ("203.0.113.9", 80)),
        ([(F, 'proto=https; for="[2001:db8::9]:_port" ; host="a, b"')], ("2001:db8::9", 0)),
        ([(F, r'for="\[2001:db8::9\]";')], ("2001:db8::9", 0)),
        ([(F, 'for=1.1.1.1,for="203.0.113.9", ,for=10.0.0.1')], ("203.0.113.9", 0)),
        ([(F, "for=1.1.1.1"), (F, "for=203.0.113.9")], ("203.0.113.9", 0)),
        # A quoted text ends with its line.
        ([(F, 'for="1.1.1.1'), (F, "for=203.0.113.9")], ("203.0.113.9", 0)),
        ([(X, "1.1.1.1, 203.0.113.9"), (F, 'for="203.0.113.9:80"')], ("203.0.113.9", 80)),
    ],
)
def test_whom_the_proxies_name(fields: list[tuple[str, str]], expected: tuple[str, int]) -> None:
    assert located(*fields) == Peer(*expected, tls=True)


@pytest.mark.parametrize(
    "fields",
    [
        [(X, "nonsense")],
        [(X, "203.0.113.9:80:80x")],
        [(X, "203.0.113.9:123456")],
        [(X, "[2001:db8::9")],
        [(X, "[2001:db8::9]x")],
        [(X, "fe80::1%eth0")],
        [(X, "203.0.113.9/8")],
        [(F, "203.0.113.9")],
        [(F, "for=[2001:db8::9]")],
        [(F, 'for="2001:db8::9')],
        [(F, 'for="1.1.1.1, for=203.0.113.9')],
        [(F, "for=1.1.1.1;for=203.0.113.9")],
        [(F, "a=b;A=b;for=203.0.113.9")],
        [(F, "for =203.0.113.9")],
        [(F, 'for=""')],
        # The proxy has set one of them, and let the client's other one pass.
        [(X, "203.0.113.9"), (F, "for=127.0.0.1")],
        [(F, "for=203.0.113.9"), (X, "unknown")],
    ],
)
def test_what_is_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused) as caught:
        located(*fields)
    assert caught.value.status == 400
    # And means nothing from anybody else.
    assert located(*fields, peer="203.0.113.7").host == "203.0.113.7"


@pytest.mark.parametrize("trusted", [(), "10.0.0.0/8", ["127.0.0.2", "::1"]])
def test_nobody_else_is_believed(trusted: Any) -> None:
    for peer in ("127.0.0.1", "memory", "fe80::1%lo"):
        fields = ((X, "203.0.113.9"), (F, "for=203.0.113.8"))
        assert located(*fields, peer=peer, trusted=trusted) == Peer(peer, 4711, tls=True)


def test_networks_of_either_kind() -> None:
    for peer in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "fe80::1%eth0"):
        found = located(
            (X, "203.0.113.9"), peer=peer, trusted=("10.0.0.0/8", "fd00::/8", "fe80::1")
        )
        assert found.host == "203.0.113.9"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
def test_what_the_client_says_itself_never_counts(forged: str) -> None:
    """The proxy appends; whatever stands before that names nobody else."""
    assert located((X, f"{forged}, 203.0.113.9")).host == "203.0.113.9"
    assert located((F, forged), (F, "for=203.0.113.9")).host == "203.0.113.9"
    try:
        found = located((F, f'{forged}, for="203.0.113.9:80"'))
    except Refused:
        return
    assert found == Peer("203.0.113.9", 80, tls=True)


def test_long_fields_take_no_long_time() -> None:
    begun = time.process_time()
    for field in ("for=" + "a" * 60_000, 'for="' + "\\" * 60_000, "," * 60_000, "a=b;" * 15_000):
        for name in (X, F):
            try:
                located((name, field))
            except Refused:
                pass
    located((X, "127.0.0.1," * 6_000))
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("*", ValueError),
        (["10.0.0.1/8"], ValueError),
        (["proxy.example"], ValueError),
        ([7], TypeError),
    ],
)
def test_what_is_no_network(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="trusted_proxies must be addresses and networks"):
        listen("127.0.0.1", 0, trusted_proxies=wrong)


# --- content delivery networks ------------------------------------------------------------

CF, CLOUDFRONT = "CF-Connecting-IP", "CloudFront-Viewer-Address"


def viewed(network: Any, *fields: tuple[str, str], peer: str = "127.0.0.1") -> Peer:
    proxies = TrustedProxies(["127.0.0.1", "10.0.0.0/8"], client_ip=network)
    headers = [(name.encode(), value.encode()) for name, value in fields]
    return TrustedProxies(proxies).locate(Peer(peer, 4711, tls=True), headers)


@pytest.mark.parametrize(
    ("network", "fields", "expected"),
    [
        ("cloudflare", [(CF, "203.0.113.9")], ("203.0.113.9", 0)),
        ("cloudflare", [(CF, " 2001:DB8::9 ")], ("2001:db8::9", 0)),
        ("cloudflare", [(CF, "203.0.113.9"), (X, "1.1.1.1, 203.0.113.9")], ("203.0.113.9", 0)),
        ("cloudflare", [(CF, "203.0.113.9"), (X, "203.0.113.9, 10.0.0.7")], ("203.0.113.9", 0)),
        ("cloudfront", [(CLOUDFRONT, "203.0.113.9:46532")], ("203.0.113.9", 46532)),
        # The port of an IPv6 address follows the last colon, with brackets or without.
        ("cloudfront", [(CLOUDFRONT, "2001:db8:0:1::9:46532")], ("2001:db8:0:1::9", 46532)),
        ("cloudfront", [(CLOUDFRONT, "[2001:db8::9]:46532")], ("2001:db8::9", 46532)),
        ("cloudfront", [(CLOUDFRONT, "::ffff:203.0.113.9:80")], ("203.0.113.9", 80)),
        # Without it the others count, and the field of another network never does.
        ("cloudflare", [(X, "203.0.113.9")], ("203.0.113.9", 0)),
        ("cloudflare", [], HERE),
        ("cloudflare", [(CLOUDFRONT, "203.0.113.9:1")], HERE),
        ("cloudfront", [(CF, "203.0.113.9")], HERE),
        (None, [(CF, "203.0.113.9"), (CLOUDFRONT, "203.0.113.8:1")], HERE),
    ],
)
def test_what_a_content_delivery_network_says(
    network: Any, fields: list[tuple[str, str]], expected: tuple[str, int]
) -> None:
    assert viewed(network, *fields) == Peer(*expected, tls=True)


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        ("cloudflare", [(CF, "203.0.113.9:80")]),
        ("cloudflare", [(CF, "203.0.113.9, 203.0.113.8")]),
        ("cloudflare", [(CF, "")]),
        ("cloudflare", [(CF, "fe80::1%eth0")]),
        ("cloudflare", [(CF, "203.0.113.9"), (CF, "203.0.113.9")]),
        ("cloudfront", [(CLOUDFRONT, "203.0.113.9")]),
        ("cloudfront", [(CLOUDFRONT, "203.0.113.9:")]),
        ("cloudfront", [(CLOUDFRONT, "203.0.113.9:123456")]),
        ("cloudfront", [(CLOUDFRONT, "[2001:db8::9]46532")]),
        ("cloudfront", [(CLOUDFRONT, "[203.0.113.9:46532")]),
        ("cloudfront", [(CLOUDFRONT, "nobody:1")]),
        # Somebody has gone around the network, straight to the proxy that adds to X-Forwarded-For.
        ("cloudflare", [(CF, "192.0.2.1"), (X, "203.0.113.9")]),
        ("cloudflare", [(CF, "192.0.2.1"), (F, "for=203.0.113.9")]),
    ],
)
def test_what_is_refused_of_a_content_delivery_network(
    network: Any, fields: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refused) as caught:
        viewed(network, *fields)
    assert caught.value.status == 400


def test_a_content_delivery_network_is_believed_from_its_own_addresses_alone() -> None:
    for peer in ("203.0.113.7", "192.0.2.1", "::1"):
        assert viewed("cloudflare", (CF, "192.0.2.1"), peer=peer).host == peer
        assert viewed("cloudfront", (CLOUDFRONT, "192.0.2.1:1"), peer=peer).host == peer


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30))
def test_a_field_of_a_content_delivery_network_is_an_address_or_refused(text: str) -> None:
    for network, name in (("cloudflare", CF), ("cloudfront", CLOUDFRONT)):
        try:
            found = viewed(network, (name, text))
        except Refused:
            continue
        assert ip_of(found.host) is not None
        assert 0 <= found.port <= 99999


def test_there_are_two_of_them() -> None:
    with pytest.raises(ValueError, match="client_ip must be 'cloudflare' or 'cloudfront'"):
        TrustedProxies((), client_ip="akamai")  # type: ignore[arg-type]


async def test_it_counts_for_each_listener() -> None:
    proxies = TrustedProxies("127.0.0.1", client_ip="cloudfront")
    async with listen("127.0.0.1", 0, trusted_proxies=proxies) as server:
        async with connect(server.url, headers={CLOUDFRONT: "2001:db8::9:46532"}):
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            assert connection.peer == Peer("2001:db8::9", 46532)


# --- over sockets -------------------------------------------------------------------------


async def test_it_counts_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restsock")
    asked: list[tuple[str, int]] = []

    async def auth(upgrade: Upgrade) -> Principal | None:
        asked.append((upgrade.host, upgrade.port))
        return None if upgrade.host == "203.0.113.1" else Principal("edge")

    options = Options(limits=Limits(max_connections_per_address=1))

    def dial(field: str) -> restsock.Client:
        return connect(server.url, headers={X: field}, backoff=ONCE)

    async with listen(
        "127.0.0.1", 0, auth=auth, options=options, trusted_proxies="127.0.0.1"
    ) as server:
        async with dial("203.0.113.9:80"):
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            assert connection.peer == Peer("203.0.113.9", 80)
            with pytest.raises(HandshakeError) as caught:
                async with dial("1.1.1.1, 203.0.113.9"):
                    pass
            assert caught.value.status == 429
            async with dial("203.0.113.10"):
                pass
        await until(lambda: not len(server.connections))
        async with dial("203.0.113.9"):  # its place is free again
            pass
        for field, status in (("203.0.113.1", 401), ("nonsense", 400)):
            with pytest.raises(HandshakeError) as caught:
                async with dial(field):
                    pass
            assert caught.value.status == status
        await until(lambda: not len(server.connections) and len(server._limiter) == 0)
    assert ("203.0.113.9", 80) in asked
    text = caplog.text
    assert "from 203.0.113.9:80" in text
    assert "203.0.113.1:0: no connection: refused with 401" in text
    assert "203.0.113.9:0: no connection: refused with 429" in text


async def test_it_counts_for_nothing_by_default() -> None:
    async with listen("127.0.0.1", 0) as server:
        async with connect(server.url, headers={X: "203.0.113.9", F: "for=203.0.113.9"}):
            await until(lambda: len(server.connections) == 1)
            (connection,) = server.connections
            assert connection.peer.host == "127.0.0.1"
            assert connection.peer.port != 0


def test_for_threads() -> None:
    with restsock.sync.listen("127.0.0.1", 0, trusted_proxies=["127.0.0.0/8"]) as server:
        events = server.events()
        with restsock.sync.connect(server.url, headers={F: "for=203.0.113.9"}):
            next(events)
            (connection,) = server.connections
            assert connection.peer.host == "203.0.113.9"
