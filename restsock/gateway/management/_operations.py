"""All operations, by the ids that the document has for them."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from restsock.connection import Response
from restsock.gateway._contract import asyncapi
from restsock.gateway._session import Delivery
from restsock.gateway.backends import MalformedItem, publish_items
from restsock.protocol import CloseCode

from ._answers import Problem, answer_json, answer_nothing, page_of
from ._operation_api import OperationCall

if TYPE_CHECKING:
    from restsock.gateway import Gateway, Session

__all__ = ["OPERATIONS", "Call"]


@dataclass(frozen=True, slots=True)
class Call(OperationCall):
    """One call of an operation.

    Attributes:
        gateway: What it is about.
    """

    gateway: Gateway

    def session(self) -> Session:
        """The session that it is about.

        Raises:
            Problem: There is none.
        """
        found = self.gateway.sessions.get(self.variables["id"])
        if found is None:
            raise Problem(410, "There is no such session, or not any more.")
        return found

    async def message(self) -> tuple[Any, frozenset[str]]:
        """What is to be sent, and who does not get it.

        Raises:
            Problem: It is not what the document says in words.
        """
        body = await self.body()
        if ("message" in body) == ("base64" in body):
            raise Problem(400, "Give message, or base64, and not both.")
        except_ = frozenset(body.get("except", ()))
        if "message" in body:
            return body["message"], except_
        try:
            return base64.b64decode(body["base64"], validate=True), except_
        except (binascii.Error, ValueError):
            raise Problem(400, "base64 is not what its name says.") from None


async def _sessions(call: Call) -> Response:
    channel, group, principal = (call.query(name) for name in ("channel", "group", "principal"))
    gateway = call.gateway
    found = gateway.sessions if group is None else gateway.groups.members(group)
    chosen = [
        session
        for session in found
        if (channel is None or session.channel == channel)
        and (principal is None or _principal(session) == principal)
    ]
    page = page_of(chosen, call.query("cursor"), call.limit, lambda one: one.id, _shown)
    return answer_json(page)


async def _session(call: Call) -> Response:
    session = call.session()
    return answer_json({**_shown(session), "metadata": _plain(session.metadata)})


async def _send(call: Call) -> Response:
    session = call.session()
    body, _ = await call.message()
    with _sayable():
        delivery = session.send_nowait(body)
    if delivery is Delivery.GONE:
        raise Problem(410, "There is no such session any more.")
    return answer_json({"delivery": str(delivery)})


async def _close(call: Call) -> Response:
    session = call.session()
    try:
        session.close(int(call.query("code") or CloseCode.NORMAL), call.query("reason") or "")
    except ValueError as exc:
        raise Problem(400, str(exc)) from None
    return answer_nothing()


async def _groups(call: Call) -> Response:
    groups = call.gateway.groups
    page = page_of(
        [*groups],
        call.query("cursor"),
        call.limit,
        str,
        lambda name: {"name": name, "sessions": len(groups.members(name))},
    )
    return answer_json(page)


async def _members(call: Call) -> Response:
    members = call.gateway.groups.members(call.variables["group"])
    page = page_of(members, call.query("cursor"), call.limit, lambda one: one.id, _shown)
    return answer_json(page)


async def _send_to_group(call: Call) -> Response:
    body, except_ = await call.message()
    with _sayable():
        found = call.gateway.groups.send(call.variables["group"], body, except_=except_)
    return _deliveries(found)


async def _join(call: Call) -> Response:
    try:
        here = call.gateway.groups.add(call.variables["group"], call.session())
    except ValueError as exc:
        raise Problem(400, str(exc)) from None
    if not here:
        raise Problem(410, "There is no such session any more.")
    return answer_nothing()


async def _leave(call: Call) -> Response:
    call.gateway.groups.remove(call.variables["group"], call.session())
    return answer_nothing()


async def _broadcast(call: Call) -> Response:
    body, except_ = await call.message()
    channel = call.query("channel")
    chosen = [one for one in call.gateway.sessions if channel in (None, one.channel)]
    with _sayable():
        found = call.gateway.sessions.send_to(chosen, body, except_)
    return _deliveries(found)


async def _publish(call: Call) -> Response:
    items = (await call.body())["items"]
    gateway = call.gateway
    try:
        with _sayable():
            published = publish_items(gateway.sessions, gateway.groups, items)
    except MalformedItem as exc:
        raise Problem(400, f"This is no item: {exc}.") from None
    return answer_json({"published": published})


async def _contract(call: Call) -> Response:
    channel = call.gateway.channels.get(call.query("channel") or "")
    if channel is None:
        raise Problem(404, "There is no channel at this path.")
    return answer_json(asyncapi(channel))


async def _statistics(call: Call) -> Response:
    found = call.gateway.statistics()
    health = call.gateway.health()
    return answer_json(
        {
            "healthy": health.ok,
            "reasons": list(health.reasons),
            "groups": found.groups,
            "channels": {path: asdict(each) for path, each in found.channels.items()},
        }
    )


class _sayable:  # noqa: N801  # a block, as of contextlib
    """Answers 422 where a dialect has no way to say what is to be sent."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (TypeError, ValueError)) and not isinstance(error, MalformedItem):
            raise Problem(422, f"This cannot be sent: {error}") from None


def _deliveries(found: Mapping[str, Delivery]) -> Response:
    counts = Counter(map(str, found.values()))
    return answer_json(
        {
            "counts": {str(kind): counts[str(kind)] for kind in Delivery},
            "deliveries": {id: str(delivery) for id, delivery in found.items()},
        }
    )


def _principal(session: Session) -> str | None:
    return None if session.principal is None else session.principal.name


def _shown(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "channel": session.channel,
        "principal": _principal(session),
        "address": str(session.request.peer),
        "connected_at": session.connected_at,
        "groups": sorted(session.groups),
        "in_flight": session.in_flight,
        "dropped": session.dropped,
    }


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON; what a program has put there that is none is left out."""
    found = {}
    for name, value in metadata.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            continue
        found[str(name)] = value
    return found


OperationFunction: TypeAlias = Callable[[Call], Awaitable[Response]]
"""Answers the calls of one operation; may raise `Problem`."""

OPERATIONS: dict[str, OperationFunction] = {
    "listConnections": _sessions,
    "getConnection": _session,
    "sendToConnection": _send,
    "closeConnection": _close,
    "listGroups": _groups,
    "listMembers": _members,
    "sendToGroup": _send_to_group,
    "joinGroup": _join,
    "leaveGroup": _leave,
    "broadcast": _broadcast,
    "publish": _publish,
    "getContract": _contract,
    "getStatistics": _statistics,
}
