"""Clients of a gateway, who call at a steady rate and want each answer once."""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

import trio

import restsock
from restsock.websockets import Dialer, Reconnect
from tests.faults.field import BACKOFF
from tests.faults.gateway.rows import AGAIN, ONCE, GatewayRow

__all__ = ["CLIENTS", "RATE", "Caller", "Calls"]

RATE = 200.0
"""Calls per second, of all clients together."""
CLIENTS = 8

_PATIENCE = 10.0  # seconds for the last answers
_SERVICE_RESTART = 1012


class Calls(Protocol):
    """What callers are to a run."""

    row: GatewayRow

    @property
    def stopped(self) -> bool:
        """Whether no further calls are made."""

    def note(self, action: str, said: dict[str, Any], took: float) -> None:
        """An answer, and the seconds until it came."""


class Caller:
    """A client. When the gateway says that it starts again, the client connects to the next one.

    Whatever has no answer by then has not run (docs/gateway.md), and is asked again.

    Args:
        calls: what it is part of.
        number: which one it is.
    """

    def __init__(self, calls: Calls, number: int) -> None:
        self._calls = calls
        self._number = number
        self._sent: dict[str, tuple[str, float]] = {}
        self._websocket: restsock.ClientWebSocket | None = None

    async def run(self, url: str) -> None:
        """Calls until that has stopped, and each call is answered or given up."""
        reconnect = Reconnect(initial=BACKOFF[0], cap=BACKOFF[1])
        dialer = Dialer(url, self._serve, reconnect=reconnect, proxy=False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.run)
            await self._ask()
            nursery.cancel_scope.cancel()
        self._calls.row.counts.unanswered += len(self._sent)

    async def _serve(self, websocket: restsock.ClientWebSocket) -> None:
        try:
            again, self._websocket = [*self._sent], websocket
            for id in again:
                await websocket.send(self._text(id))
            while True:
                self._hear(json.loads(await websocket.receive()))
        except restsock.WebSocketClosed as exc:
            if exc.code == _SERVICE_RESTART:
                self._calls.row.counts.moved += 1
            else:
                self._calls.row.counts.lost += 1
                self._calls.row.counts.unanswered += len(self._sent)
                self._sent.clear()  # they may have run
            raise
        finally:
            self._websocket = None

    def _text(self, id: str) -> str:
        action = self._sent[id][0]
        return json.dumps({"action": action, "id": id, "call": f"{action}/{id}"})

    async def _ask(self) -> None:
        calls, begun = self._calls, trio.current_time()
        pause, made = CLIENTS / RATE, 0
        await trio.sleep(self._number * pause / CLIENTS)
        while not calls.stopped:
            made += 1
            id = f"c{self._number}-{made}"
            self._sent[id] = ONCE if made % 2 else AGAIN, trio.current_time()
            calls.row.counts.sent += 1
            if (websocket := self._websocket) is not None:  # else with the next one
                try:
                    await websocket.send(self._text(id))
                except restsock.WebSocketClosed:
                    pass  # likewise
            await trio.sleep_until(begun + made * pause)
        with trio.move_on_after(_PATIENCE):
            while self._sent:  # noqa: ASYNC110  # the other task need not say each time
                await trio.sleep(0.01)

    def _hear(self, said: dict[str, Any]) -> None:
        calls = self._calls
        action, begun = self._sent.pop(said["id"], ("", 0.0))
        if not action:
            calls.row.counts.wrong += 1
            return
        if said["status"] < 400:
            calls.row.counts.answered += 1
            calls.row.counts.wrong += not _is_answer(said)
        else:
            calls.row.counts.failed += 1
        took = trio.current_time() - begun
        calls.row.delays.append(took)
        calls.note(action, said, took)


def _is_answer(said: dict[str, Any]) -> bool:
    body = said["body"]
    if isinstance(body, str):  # of a peer: a line that begins with the id of the call
        body = {"call": base64.b64decode(body).split(b" ")[0].decode()}
    return str(body["call"]).endswith("/" + str(said["id"]))
