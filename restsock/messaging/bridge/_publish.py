"""From the peers to a broker: a handler that publishes what it gets."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from restsock.messaging._errors import InvalidMessage, MessagingError
from restsock.messaging.engine import encode_json, is_name

from ._subject import SubjectTemplate

if TYPE_CHECKING:
    from restsock.messaging._message import Message

    from ._interface import Publisher

__all__ = ["publish_to"]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,4096}")
# Headers by which a message tells a broker what to do, or that say where it is from.
_RESERVED = ("nats-", "restsock-", "content-type")
# Ids that no two peers make: a UUID, also as the number in the ids of this project's outputs.
_UNIQUE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|msg-[0-9]{1,20}-[0-9]{30,39}")
# How often a sender is asked for time.
_WORKING = 10.0


def publish_to(
    publisher: Publisher, subject: str, *, patience: float = 60.0, id_suffix: str = ""
) -> Callable[[Message], Awaitable[None]]:
    """A handler that publishes each message, and returns once the broker has it.

        messaging.on("readings")(publish_to(nats.jetstream(), "readings.{peer}"))

    So the peer gets its acknowledgement after the broker has confirmed. While the broker is away,
    the handler waits and asks the sender for time: no attempt fails, and messages wait at the
    sender.

    A body of bytes is published as it is, any other as JSON; `Content-Type` says which. Headers are
    those of the message, with `Restsock-Peer` and `Restsock-Channel`.

    Args:
        publisher: of the broker.
        subject: a template, in which `{peer}` is the name of the peer and `{channel}` the channel,
            each a token of its own. A message is refused for good if its peer or channel is not one
            token, or if its headers are not valid or begin with `Nats-` or `Restsock-`.
        id_suffix: appended to the ids of messages. A stream of JetStream stores one message for
            each id, whatever its subject: if several handlers publish the same messages to one
            stream, all but one need a suffix of their own. Printable, at most 255 characters.
        patience: seconds that the sender is asked to wait each time; above 10.

    Raises:
        ValueError: the template, the time or the suffix is not valid.
    """
    template = SubjectTemplate(subject)
    if patience <= _WORKING:
        raise ValueError(f"patience has to be above {_WORKING} seconds, not {patience!r}")

    if id_suffix and not is_name(id_suffix):
        raise ValueError(f"a suffix is at most 255 printable characters, not {id_suffix!r}")

    async def publish(message: Message) -> None:
        peer = message.session.name
        where = template.fill({"peer": peer, "channel": message.channel})
        body, kind = _encoded(message.body)
        headers = {**_checked(message.headers), "Content-Type": kind}
        headers["Restsock-Channel"] = message.channel
        if peer is not None:
            headers["Restsock-Peer"] = peer
        failure: MessagingError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_for_time, message, patience)
            try:
                await publisher.publish(
                    where, body, id=_id_of(message) + id_suffix, headers=headers
                )
            except MessagingError as exc:
                failure = exc  # raised below, where no nursery wraps it: its kind counts
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    return publish


async def _ask_for_time(message: Message, patience: float) -> None:
    while True:
        await trio.sleep(_WORKING)
        message.working(patience)


def _id_of(message: Message) -> str:
    """What the broker is to know a message by, whenever it comes again."""
    session = message.session
    if not session.foreign or _UNIQUE.fullmatch(message.id):
        return message.id
    # Others may be numbers: those of two peers can be equal.
    return f"{session.name or session.id}:{message.id}"


def _encoded(body: Any) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    return encode_json(body).encode(), "application/json"


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise InvalidMessage(f"the header {name[:40]!r} cannot be published")
        if name.lower().startswith(_RESERVED):
            raise InvalidMessage(f"the header {name[:40]!r} is not for peers")
    return dict(headers)
