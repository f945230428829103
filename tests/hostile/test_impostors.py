"""A name, an id, an address that is not the peer's own."""

from __future__ import annotations

import struct

import pytest
import trio

import restsock
from restsock.auth import Bearer, BearerTokens, Principal
from tests.e2e.raw_peer import DATA, END, GOAWAY, HEAD, RESET, UPGRADE, WINDOW, envelope, get, hello
from tests.hostile.site import OPTIONS, Site, site
from tests.waiting import until


async def _noted(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, {}, request.connection.name or "nobody")


async def test_frames_on_the_streams_of_others() -> None:
    """Numbers are those of a connection: what a peer says of 1, 3 or 2 concerns its own."""
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, END, 1, get("/hang"))
        for number in range(1, 200, 2):
            for type, payload in (
                (RESET, struct.pack("!H", 1)),
                (DATA, b"mine"),
                (WINDOW, struct.pack("!I", 1)),
            ):
                if number == 1 or type != DATA:
                    await peer.frame(HEAD, END, number, get("/"))
                    await peer.frame(type, 0, number, payload)
        await one.answered(10)
        assert one.server.connections.by_name("honest") is not None


async def test_somebody_s_goaway_is_his_own() -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(GOAWAY, 0, 0, struct.pack("!IH", 0, 1000))
        await one.answered(10)


async def test_an_answer_to_what_was_not_asked() -> None:
    """A listener's streams are even; nobody asked this peer anything."""
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, END, 2, b"HTTP/1.1 200 OK\r\n\r\nfor honest")
        assert (await peer.close_code())[0] == 4002


async def test_the_id_of_another_connection() -> None:
    async with site() as one:
        honest = one.server.connections.by_name("honest")
        assert honest is not None
        peer = await one.stranger()
        await peer.upgrade()
        await peer.text(hello())
        await peer.message()
        await peer.text(envelope("ready", {"connection_id": honest.id}))
        assert (await peer.close_code())[0] == 4000


async def test_fields_that_claim_to_be_somebody() -> None:
    """An app learns who calls from the connection; what a head says is what a head says."""
    async with site(_noted, kind=_AnySite) as one:
        peer = await one.ready()
        lines = ("X-Forwarded-For: honest", "X-Restsock-Name: honest", "Forwarded: for=honest")
        await peer.frame(HEAD, END, 1, get("/", *lines))
        got = await peer.answer(1)
        assert got.payload.partition(b"\r\n\r\n")[2] == b"nobody"


class _AnySite(Site):
    """Is told its own name, each time."""

    async def be_honest(self) -> None:
        while True:
            response = await self.client.request("GET", "/", timeout=10)
            assert response.text == "honest"
            self.answers += 1
            await trio.sleep(0.005)


# --- names that belong to somebody ----------------------------------------------------------------

TOKENS = BearerTokens(
    {
        "token-of-honest": Principal("honest"),
        "token-of-mallory": Principal("mallory", may_call=()),
    }
)


@pytest.mark.parametrize("names", ["replace", "reject", "share"])
async def test_the_name_of_somebody_else(names: str) -> None:
    """Who is known as mallory does not become honest, whatever happens to two of a name."""
    async with site(auth=TOKENS, names=names, honest_auth=Bearer("token-of-honest")) as one:
        with pytest.raises(restsock.HandshakeError) as info:
            async with restsock.connect(
                one.server.url, name="honest", auth=Bearer("token-of-mallory"), options=OPTIONS
            ):
                pass
        assert not info.value.retryable
        await one.answered(10)
        async with restsock.connect(
            one.server.url, name="mallory", auth=Bearer("token-of-mallory"), options=OPTIONS
        ) as mallory:
            # It may dial in under its own name; it may not call.
            assert (await mallory.request("GET", "/")).status == 403


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Authorization: Bearer token-of-nobody\r\n",
        b"Authorization: Bearer token-of-honest2\r\n",
        b"Authorization: Bearer token-of-hones\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Basic aG9uZXN0Og==\r\n",
        b"Authorization: Bearer token-of-nobody\r\nAuthorization: Bearer token-of-honest\r\n",
        b"Cookie: Authorization=Bearer token-of-honest\r\n",
    ],
)
async def test_no_token_or_a_wrong_one(line: bytes) -> None:
    async with site(auth=TOKENS, honest_auth=Bearer("token-of-honest")) as one:
        peer = await one.stranger()
        await peer.raw(UPGRADE[:-2] + line + b"\r\n")
        head = await peer.head()
        assert head.split(b" ")[1] in (b"401", b"400")
        assert b"101" not in head.split(b"\r\n")[0]
        await until(lambda: len(one.server.connections) == 1)


async def test_without_authentication_the_newest_has_the_name() -> None:
    """Documented (SECURITY.md): a name without `auth=` is a label, and anybody may carry it."""
    async with restsock.listen("127.0.0.1", 0, options=OPTIONS) as server:
        async with restsock.connect(server.url, app=_noted, name="edge") as first:
            async with restsock.connect(server.url, app=_noted, name="edge"):
                closed = await first.wait_closed()
                assert closed.code == 4004
