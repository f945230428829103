"""Pages of browsers on a listener: which may dial in where this machine alone can reach it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from restsock import listen
from restsock.auth import BearerTokens
from tests.e2e.raw_peer import UPGRADE
from tests.plain_client import dial, statuses

SAME = b"Origin: http://hub.test\r\n\r\n"
OTHER = b"Origin: http://evil.test\r\n\r\n"


async def status(page: bytes, **arguments: Any) -> int:
    """What an upgrade of a page is answered with."""
    if "sockets" not in arguments:
        arguments |= {"host": "127.0.0.1", "port": 0}
    async with listen(**arguments) as server, dial(server) as client:
        await client.send(UPGRADE.removesuffix(b"\r\n") + page)
        (found,) = statuses(await client.receive())
    return found


async def test_on_loopback_without_credentials_no_page_dials_in() -> None:
    """Any page can have any host there, by DNS rebinding."""
    assert await status(SAME) == 403
    assert await status(SAME, sockets=[socket.create_server(("127.0.0.1", 0))]) == 403
    assert await status(b"\r\n") == 101


@pytest.mark.parametrize(
    ("arguments", "same", "other"),
    [
        ({"origins": "http://hub.test"}, 101, 403),
        ({"origins": "*"}, 101, 101),
        ({"auth": BearerTokens({"secret": "edge-1"})}, 401, 403),
    ],
)
async def test_those_that_are_named_do(arguments: dict[str, Any], same: int, other: int) -> None:
    assert await status(SAME, **arguments) == same
    assert await status(OTHER, **arguments) == other
