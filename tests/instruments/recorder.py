"""An instrument that writes everything down, and apps to watch."""

from __future__ import annotations

import threading
from typing import Any

import trio

from restsock import Instrument, Request, Response


class Recorder(Instrument):
    """Attributes:
    told: (what, the arguments without the connection), in order, from any thread.
    threads: on which threads.
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.threads: set[int] = set()

    def _note(self, what: str, *args: Any) -> None:
        self.told.append((what, *args))
        self.threads.add(threading.get_ident())

    def all(self, what: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in list(self.told) if entry[0] == what]

    def sum(self, what: str) -> int:
        return sum(args[0] for args in self.all(what))

    def connection_opened(self, connection: Any) -> None:
        self._note("connection_opened", connection.id)

    def connection_closed(self, connection: Any, closed: Any) -> None:
        self._note("connection_closed", connection.id, closed.code)

    def reconnected(self, connection: Any) -> None:
        self._note("reconnected", connection.id)

    def handshake_failed(self, side: str) -> None:
        self._note("handshake_failed", side)

    def round_trip(self, connection: Any, seconds: float) -> None:
        self._note("round_trip", seconds)

    def bytes_sent(self, connection: Any, nbytes: int) -> None:
        self._note("bytes_sent", nbytes)

    def bytes_received(self, connection: Any, nbytes: int) -> None:
        self._note("bytes_received", nbytes)

    def stream_opened(self, connection: Any, direction: str) -> None:
        self._note("stream_opened", direction)

    def stream_closed(
        self, connection: Any, direction: str, outcome: str, status: int, seconds: float
    ) -> None:
        assert seconds >= 0
        self._note("stream_closed", direction, outcome, status)

    def http_client_opened(self, connection: Any) -> None:
        self._note("http_client_opened", connection.id)

    def http_client_closed(self, connection: Any, closed: Any) -> None:
        self._note("http_client_closed", connection.id, closed.code)

    def http_request_opened(self, connection: Any) -> None:
        self._note("http_request_opened")

    def http_request_closed(
        self, connection: Any, outcome: str, status: int, seconds: float
    ) -> None:
        assert seconds >= 0
        self._note("http_request_closed", outcome, status)

    def call_opened(self, channel: str, key: str) -> None:
        self._note("call_opened", channel, key)

    def call_closed(
        self, channel: str, key: str, outcome: str, status: int, seconds: float
    ) -> None:
        self._note("call_closed", channel, key, outcome, status, seconds)

    def call_begun(self, channel: str, key: str, fields: Any) -> Any:
        self._note("call_begun", channel, key, dict(fields))
        return key

    def call_fields(self) -> Any:
        self._note("call_fields")
        return {"x-seen": "by the recorder"}

    def call_ended(self, token: Any, status: int, error: BaseException | None) -> None:
        self._note("call_ended", token, status, error)

    def error(self, connection: Any, kind: str) -> None:
        self._note("error", kind)

    def limit_hit(self, kind: str) -> None:
        self._note("limit_hit", kind)

    def queue(self, name: str, depth: int) -> None:
        self._note("queue", name, depth)

    def request_fields(self, head: Any) -> Any:
        self._note("request_fields", head.target)
        return [(b"X-Seen", b"by the recorder")]

    def serving_begun(self, connection: Any, head: Any) -> Any:
        self._note("serving_begun", head.target)
        return head.target

    def serving_ended(self, token: Any, status: int) -> None:
        self._note("serving_ended", token, status)


class Broken(Instrument):
    """Fails whatever it is told."""

    calls = 0

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "calls":
            return object.__getattribute__(self, name)

        def fail(*args: Any) -> Any:
            type(self).calls += 1
            raise ZeroDivisionError(name)

        return fail


async def app(request: Request) -> Response:
    """/status/418, /hang, /fail, /fields (what the header has), and "fine" for all else."""
    if request.path.startswith("/status/"):
        return Response(int(request.path[8:]))
    if request.path == "/hang":
        await trio.sleep_forever()
    if request.path == "/fail":
        raise ZeroDivisionError("on purpose")
    if request.path == "/fields":
        lines = [name + b": " + value for name, value in request.headers]
        return Response(200, body=b"\n".join(lines))
    return Response(200, body="fine")
