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
from restsock.gateway.backends._grip_session import passes_as_is, value_of
from restsock.gateway.backends._link import code_for_client
from restsock.protocol import CloseCode

from ._answers import Problem

if TYPE_CHECKING:
    from restsock.gateway import Gateway, Session

__all__ = ["publish"]


def publish(gateway: Gateway, items: Iterable[Mapping[str, Any]]) -> int:
    """Publishes items in their order.

    Args:
        gateway: Whose groups they are for.
        items: As the document describes them.

    Returns:
        How many messages were handed to sockets, or wait for clients.

    Raises:
        Problem: One is not what the document says in words; those before it were published.
        TypeError: A dialect cannot express a message. ValueError: Likewise.
    """
    count = 0
    for item in items:
        message = item.get("formats", item).get("ws-message")
        if message is None:
            continue
        members = gateway.groups.members(item["channel"])
        action = message.get("action", "send")
        if action == "close":
            for session in members:
                code = code_for_client(message.get("code", CloseCode.NORMAL))
                session.close(code, message.get("reason", ""))
        elif action == "send":
            count += _send(gateway, members, message)
    return count


def _send(gateway: Gateway, members: Collection[Session], message: Mapping[str, Any]) -> int:
    if ("content" in message) == ("content-bin" in message):
        raise Problem(400, "A ws-message has content, or content-bin, and not both.")
    if "content-bin" in message:
        try:
            data = base64.b64decode(message["content-bin"], validate=True)
        except (binascii.Error, ValueError):
            raise Problem(400, "content-bin is not base64.") from None
        found = gateway.sessions.send_to(members, data)
        return _reached(found)
    text = message["content"]
    plain = [session for session in members if passes_as_is(session)]
    others = [session for session in members if not passes_as_is(session)]
    found = gateway.sessions.send_to(plain, text)
    return _reached({**found, **gateway.sessions.send_to(others, value_of(text))})


def _reached(found: Mapping[str, Delivery]) -> int:
    return sum(delivery in (Delivery.SENT, Delivery.QUEUED) for delivery in found.values())
