"""Operations on the connections of peers, and on their names."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from restsock._patterns import like
from restsock.connection import Connection, Response
from restsock.gateway.management import MAX_ITEMS, Problem, answer_json, answer_nothing
from restsock.protocol import CloseCode

from ._call import Call, OperationFunction, page

__all__ = ["OPERATIONS"]


async def _list(call: Call) -> Response:
    name, state = call.query("name"), call.query("state")
    found = [
        connection
        for connection in call.hub.server.connections
        if (name is None or like(name, connection.name or ""))
        and (state is None or state == _state(connection))
    ]
    return page(found, call, lambda c: c.id, lambda c: _shown(call, c))


async def _get(call: Call) -> Response:
    connection = _found(call)
    details = {
        "metadata": connection.metadata,
        "statistics": asdict(connection.statistics()),
    }
    return answer_json({**_shown(call, connection), **details})


async def _close(call: Call) -> Response:
    if call.query("reconnect") == "true":
        code, reason = CloseCode.GOING_AWAY, "closed by an administrator: dial again"
    else:
        code, reason = CloseCode.NORMAL, "closed by an administrator"
    _found(call).close_soon(code, reason)
    return answer_nothing()


async def _drain(call: Call) -> Response:
    _found(call).drain_soon(CloseCode.GOING_AWAY, "drained by an administrator: dial again")
    return answer_nothing(202)


async def _name(call: Call) -> Response:
    hub, name = call.hub, call.variables["name"]
    if not hub.server.connections.was_seen(name):
        raise Problem(404, "No peer of this name is, or was, connected.")
    members = hub.server.connections.all_by_name(name)
    return answer_json(
        {
            "name": name,
            "connected": bool(members),
            "members": [_shown(call, member) for member in members[:MAX_ITEMS]],
            "url": hub.url_for(name),
            "ingress": asdict(hub.passed.of(name)),
        }
    )


def _found(call: Call) -> Connection:
    connection = call.hub.server.connections.by_id(call.variables["id"])
    if connection is None:
        raise Problem(404, "There is no such connection.")
    return connection


def _state(connection: Connection) -> str:
    return "leaving" if connection.leaving else "open"


def _shown(call: Call, connection: Connection) -> dict[str, Any]:
    name = connection.name
    age = call.hub.age_of(connection.id)
    principal = connection.principal
    return {
        "id": connection.id,
        "name": name,
        "principal": None if principal is None else principal.name,
        "address": str(connection.peer),
        "tls": connection.peer.tls,
        "state": _state(connection),
        "age": None if age is None else round(age, 3),
        "round_trip": connection.round_trip,
        "in_flight": connection.outstanding,
        "requests": connection.statistics().requests_sent,
        "url": None if name is None else call.hub.url_for(name),
    }


OPERATIONS: dict[str, OperationFunction] = {
    "listPeers": _list,
    "getPeer": _get,
    "closePeer": _close,
    "drainPeer": _drain,
    "getName": _name,
}
