"""Messages for channels of GRIP, in the form in which its libraries publish them.

::

    {"items": [{"channel": "room-7", "formats": {"ws-message": {"content": "hello"}}}]}

A channel is the group of that name. Some libraries leave out `formats`, and have what is in it
beside the channel. An item without the format `ws-message` is for other clients than WebSockets,
and is left out; ids of items are ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from restsock.gateway._session import Delivery
from restsock.protocol import CloseCode

from ._grip_session import passes_as_is, value_of
from ._link import code_for_client

if TYPE_CHECKING:
    from restsock.gateway._groups import Groups
    from restsock.gateway._session import Session
    from restsock.gateway._sessions import Sessions

__all__ = ["MalformedItem", "publish_items"]


class MalformedItem(ValueError):
    """An item is not what it should be."""


def publish_items(sessions: Sessions, groups: Groups, items: Iterable[Mapping[str, Any]]) -> int:
    """Publishes items in their order.

    Args:
        sessions: Those of the gateway.
        groups: Whom they are for.
        items: As the document describes them.

    Returns:
        How many messages were handed to sockets, or wait for clients.

    Raises:
        MalformedItem: One is malformed; those before it were published.
        TypeError: A dialect cannot express a message. ValueError: Likewise.
    """
    count = 0
    for item in items:
        message = item.get("formats", item).get("ws-message")
        if message is None:
            continue
        members = groups.members(item["channel"])
        action = message.get("action", "send")
        if action == "close":
            for session in members:
                code = code_for_client(message.get("code", CloseCode.NORMAL))
                session.close(code, message.get("reason", ""))
        elif action == "send":
            count += _send(sessions, members, message)
    return count


def _send(sessions: Sessions, members: Collection[Session], message: Mapping[str, Any]) -> int:
    if ("content" in message) == ("content-bin" in message):
        raise MalformedItem("a ws-message has content, or content-bin, and not both")
    if "content-bin" in message:
        try:
            data = base64.b64decode(message["content-bin"], validate=True)
        except (binascii.Error, ValueError):
            raise MalformedItem("content-bin is not base64") from None
        found = sessions.send_to(members, data)
        return _reached(found)
    text = message["content"]
    plain = [session for session in members if passes_as_is(session)]
    others = [session for session in members if not passes_as_is(session)]
    found = sessions.send_to(plain, text)
    return _reached({**found, **sessions.send_to(others, value_of(text))})


def _reached(found: Mapping[str, Delivery]) -> int:
    return sum(delivery in (Delivery.SENT, Delivery.QUEUED) for delivery in found.values())
