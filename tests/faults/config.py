"""What a peer is to be."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import restsock
from tests.faults.ledger import Ledger

__all__ = ["Config", "Errors", "options_of"]


@dataclass(frozen=True)
class Config:
    """What a peer is to be. Goes through JSON.

    Attributes:
        who: its name in the ledger, unique.
        ledger: the path.
        port: to listen on; 0: any. None: it dials.
        urls: to dial, each with a client of its own.
        name: what the clients call themselves.
        app: "asgi", "wsgi" or "": none.
        leak: bytes that the app keeps of each request, for a test of what is to find them.
        interval: of the heartbeat, in seconds; None: none.
        timeout: of the heartbeat.
        handshake: time-out.
        backoff: first pause and longest.
        host: "uvicorn" or "hypercorn": the web server that it listens in; "": none.
        names: whom a listener calls.
        kinds: of requests to send; none: it sends none.
        tasks: of the load.
        threads: of the load.
        pause: of the load.
        messages: "send" or "keep": it is an end of messages, and nothing else; "": none.
        delivery: of the messages.
        store: the file that they are kept in; "": memory.
        place: where the handler keeps messages: "" in the ledger alone; "store" in a table of its
            store, by `Message.transact`; the URL of a NATS server: in JetStream.
        trouble: what SIGUSR2 begins and ends there: "disk" or "clock".
    """

    who: str
    ledger: str
    port: int | None = None
    urls: tuple[str, ...] = ()
    name: str | None = None
    app: str = "asgi"
    leak: int = 0
    interval: float | None = 0.3
    timeout: float = 0.3
    handshake: float = 0.5
    backoff: tuple[float, float] = (0.05, 0.2)
    host: str = ""
    names: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    tasks: int = 2
    threads: int = 0
    pause: float = 0.01
    messages: str = ""
    delivery: Literal["at_most_once", "at_least_once"] = "at_least_once"
    store: str = ""
    place: str = ""
    trouble: str = ""


def options_of(config: Config) -> restsock.Options:
    """Its options."""
    return restsock.Options(
        heartbeat=restsock.Heartbeat(interval=config.interval, timeout=config.timeout),
        timeouts=restsock.Timeouts(handshake=config.handshake, connect=10, close=1, disconnect=0.2),
    )


class Errors(logging.Handler):
    """Takes what is logged as an error into the ledger, where it is judged."""

    def __init__(self, ledger: Ledger, who: str) -> None:
        super().__init__(logging.ERROR)
        self._ledger = ledger
        self._who = who

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._ledger.note("E", self._who, f"{record.getMessage()} {error!r}")
