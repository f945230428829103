"""The gateway: a page, a WebSocket whose messages are calls of the pet store, and its management.

Run by the example, as ``python -m examples.gateway.serve PORT``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import trio

import restsock
from restsock import Principal, Timeouts
from restsock.auth import BearerTokens
from restsock.gateway import (
    Action,
    Answers,
    Breaker,
    Channel,
    Gateway,
    Operations,
    Peer,
    Pipe,
    Router,
    Session,
    Timeout,
)
from restsock.gateway.management import Management

from .store import NAME, SPEC, TOKEN

PRICES = "token-of-whoever-makes-prices"
TOKENS = {
    TOKEN: Principal(NAME),
    PRICES: Principal("prices", claims={"scopes": ["write"]}),
}
PAGE = Path(__file__).with_name("page.html")


async def greet(session: Session) -> None:
    session.groups.add("visitors")


async def page(request: restsock.Request) -> restsock.Response:
    return restsock.Response(200, [("Content-Type", "text/html; charset=utf-8")], PAGE.read_text())


def make_gateway(more: Mapping[str, Answers] | None = None) -> Gateway:
    """The gateway, with further routes if there are some."""
    # A call that a store has not begun is passed to another one. If there is none, the breaker
    # answers at once after three failures, and tries again after half a second.
    breaker = Breaker(failures=3, pause=0.5)
    pets = Pipe(Operations(SPEC, to=Peer(NAME, wait=0.1)), [breaker, Timeout(5)])
    router = Router({"listPets": pets, "buyPet": pets, **(more or {})})
    return Gateway([Channel("/ws", Action(), router, on_connect=greet, contract=True)])


def listen(gateway: Gateway, port: int) -> restsock.Server:
    """The one port: for the page, for WebSockets, for stores, and for whoever makes prices."""
    return restsock.listen(
        "127.0.0.1",
        port,
        endpoints={**gateway, "/": page},
        names="share",
        auth=BearerTokens(TOKENS),
        app=Management(gateway),
        options=restsock.Options(timeouts=Timeouts(grace=5)),
    )


async def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("restsock.gateway").setLevel(logging.CRITICAL)  # failures are wanted here
    async with (
        listen(make_gateway(), int(sys.argv[1])) as server,
        restsock.drain_on_signal(server),
    ):
        print(server.url, flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    trio.run(main)
