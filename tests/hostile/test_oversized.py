"""Too long, too many, too large; what `tests/e2e/test_hostile.py` does not have already."""

from __future__ import annotations

import pytest

import restsock
from tests.e2e.raw_peer import CLOSE, DATA, END, HEAD, get, hello
from tests.hostile.site import OPTIONS, site

TOO_LARGE, PROTOCOL = 5, 6


@pytest.mark.parametrize(
    "name", ["", "n" * 256, "n" * 60_000, "a\x00b", "\u202egnp.exe", 7, ["a"], {"a": 1}, True]
)
async def test_a_name_that_is_none(name: object) -> None:
    async with site() as one:
        peer = await one.stranger()
        await peer.upgrade()
        await peer.text(hello(name=name))
        code, reason = await peer.close_code()
        assert code == 4000
        assert len(reason) <= 123
        assert len(one.server.connections) == 1


async def test_many_fields() -> None:
    """As many as fit into a head: read in a moment, or refused in one."""
    async with site() as one:
        peer = await one.ready()
        lines = [f"X-{number}: y" for number in range(5000)]
        await peer.frame(HEAD, END, 1, get("/", *lines))
        got = await peer.answer(1)
        assert got.type == HEAD
        assert got.payload.split(b" ")[1] in (b"200", b"431")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get("/" + "a" * 60_000), b"200"),
        (get("/", "X: " + "a" * 60_000), b"200"),
        (get("/", "X" * 60_000 + ": a"), b"200"),
        (get("/" + "a" * 70_000), b"431"),
        (get("/", "X" * 70_000 + ": a"), b"431"),
        (get("/?" + "&".join(f"a{n}=b" for n in range(9000))), b"431"),
    ],
)
async def test_long_parts_of_a_head(head: bytes, status: bytes) -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, END, 1, head)
        got = await peer.answer(1)
        assert got.type == HEAD
        assert got.payload.split(b" ")[1] == status


async def test_long_trailers() -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, get("/", method="POST"))
        await peer.frame(HEAD, END, 1, b"X: " + b"a" * 70_000 + b"\r\n\r\n")
        assert await peer.reset_code(1) == TOO_LARGE


@pytest.mark.parametrize(
    ("length", "code"), [("9" * 18, None), ("9" * 19, PROTOCOL), ("9" * 4000, PROTOCOL)]
)
async def test_a_body_that_is_announced_to_be_endless(length: str, code: int | None) -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, get("/", f"Content-Length: {length}", method="POST"))
        if code is not None:
            assert await peer.reset_code(1) == code
        await peer.frame(HEAD, END, 3, get("/"))
        assert await peer.response_status(3) == 200


async def test_a_body_above_the_limit_is_a_413() -> None:
    options = restsock.Options(
        limits=restsock.Limits(max_body=1000, max_streams=8), timeouts=OPTIONS.timeouts
    )
    async with site(options=options) as one:
        peer = await one.ready()
        await peer.frame(HEAD, 0, 1, get("/", "Content-Length: 1001", method="POST"))
        assert await peer.response_status(1) == 413
        await peer.frame(HEAD, 0, 3, get("/", method="POST"))
        await peer.frame(DATA, 0, 3, bytes(1001))
        assert await peer.response_status(3) == 413


async def test_stream_numbers_to_the_end() -> None:
    async with site() as one:
        peer = await one.ready()
        await peer.frame(HEAD, END, 2**32 - 1, get("/"))
        assert await peer.response_status(2**32 - 1) == 200
        await peer.frame(HEAD, END, 1, get("/never"))  # used up: numbers only grow
        await peer.frame(CLOSE, 0, 1)
        await one.answered()
        assert "/never" not in one.app.paths
