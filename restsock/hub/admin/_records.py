"""Operations on what the hub remembers: events of peers, and requests through the ingress."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import trio

from restsock._patterns import like
from restsock.connection import Response
from restsock.gateway.management import answer_json, answer_stream
from restsock.hub._records import Record, Ring
from restsock.ingress import Passed
from restsock.protocol import elements_of
from restsock.server import ConnectionEvent

from ._call import Call, OperationFunction

__all__ = ["OPERATIONS"]

# Seconds after which a comment shows that a stream without news is alive.
_KEEP_ALIVE = 15.0


async def _events(call: Call) -> Response:
    ring = call.hub.events
    after = _known(call)
    accepted = elements_of(call.request.headers, b"accept")
    if any(kind.partition(b";")[0].strip() == b"text/event-stream" for kind in accepted):
        return answer_stream(_stream(call, ring, after, _shown_event))
    found = ring.after(after)[: call.limit]
    latest = found[-1].id if found else ring.latest
    return answer_json({"items": [_shown_event(each) for each in found], "latest": latest})


async def _requests(call: Call) -> Response:
    name, status = call.query("name"), call.query("status")
    before = _number(call.query("cursor"))
    found = [
        record
        for record in reversed(list(call.hub.passed))
        if (before is None or record.number < before)
        and (name is None or like(name, record.value.name))
        and (status is None or _has_status(record.value, status))
    ]
    shown = found[: call.limit]
    more = shown[-1].id if len(found) > len(shown) else None
    return answer_json({"items": [_shown_request(each) for each in shown], "next": more})


async def _request_stream(call: Call) -> Response:
    return answer_stream(_stream(call, call.hub.passed, _known(call), _shown_request))


async def _stream(
    call: Call, ring: Ring[Any], after: str | None, show: Callable[[Record[Any]], dict[str, Any]]
) -> AsyncIterator[bytes]:
    """Server-sent events: those that are known to have been missed, and then what happens.

    It ends with the hub, and when the token of the call counts no more.
    """
    after = ring.latest if after is None else after
    yield b": \n\n"  # so that the head leaves
    while True:
        found: list[Record[Any]] | None = None
        with trio.move_on_after(_KEEP_ALIVE):
            found = await ring.wait(after)
        if found == [] or not call.may_go_on():
            return
        if found is None:
            yield b": \n\n"
        else:
            after = found[-1].id
            lines = (f"id: {each.id}\ndata: {json.dumps(show(each))}\n\n" for each in found)
            yield "".join(lines).encode()


def _known(call: Call) -> str | None:
    return call.request.header("last-event-id") or call.query("after")


def _number(id: str | None) -> int | None:
    number = (id or "").rpartition("-")[2]
    # More digits than any count has: no integer is made of them.
    return int(number) if number.isdecimal() and number.isascii() and len(number) < 19 else None


def _has_status(passed: Passed, wanted: str) -> bool:
    status = str(passed.status)
    return status[:1] == wanted[0] if wanted.endswith("xx") else status == wanted


def _shown_event(record: Record[ConnectionEvent]) -> dict[str, Any]:
    event = record.value
    return {
        "id": record.id,
        "time": record.time,
        "type": event.type,
        "connection_id": event.connection_id,
        "name": event.name,
        "principal": event.principal,
        "reason": event.reason,
        "code": event.code,
        "lost": event.lost,
    }


def _shown_request(record: Record[Passed]) -> dict[str, Any]:
    passed = record.value
    return {
        "id": record.id,
        "time": record.time,
        "name": passed.name,
        "method": passed.method,
        "target": passed.target,
        "client": passed.client,
        "principal": passed.principal,
        "status": passed.status,
        "received": passed.received,
        "sent": passed.sent,
        "seconds": round(passed.seconds, 6),
        "may_have_run": passed.may_have_run,
    }


OPERATIONS: dict[str, OperationFunction] = {
    "listEvents": _events,
    "listRequests": _requests,
    "streamRequests": _request_stream,
}
