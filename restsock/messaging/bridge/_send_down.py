"""From a broker to the peers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import trio

from restsock.messaging._errors import MessagingError
from restsock.messaging.engine import check_name

from ._deliveries import Deliveries
from ._subject import SubjectTemplate

if TYPE_CHECKING:
    from restsock.messaging._channel import Receipt
    from restsock.messaging._messaging import Messaging
    from restsock.messaging._options import Delivery

    from ._interface import Incoming, Subscriber

__all__ = ["send_down"]

# What a broker says to its own clients is not for peers.
_NOT_FOR_PEERS = ("nats-", "restsock-", "content-type")


async def send_down(
    messaging: Messaging,
    subscriber: Subscriber,
    subject: str,
    *,
    channel: str = "messages",
    delivery: Delivery = "at_least_once",
    absent: Literal["retry", "wait"] = "retry",
    retry_after: float = 5.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Sends the messages of a broker to peers. Runs until it is cancelled, or the messaging closes.

        await nursery.start(send_down, messaging, nats.pull("COMMANDS", "hub"), "commands.{peer}")

    With `{peer}` in the template, a message goes to the peer of that name; without it, to all
    sessions, at most once. The broker gets its acknowledgement when the peer has handled the
    message (at least once), or when it is queued (at most once). A message that was not handled
    comes again, unless it can never be handled. If the broker repeats a message that is in flight,
    or one of the last 10,000 handled, the peer does not get it again.

    A body is read as JSON if possible, unless its `Content-Type` is `application/octet-stream`;
    otherwise it is bytes.

    Args:
        messaging: of the peers; open.
        subscriber: of the broker.
        subject: a template. `{peer}` is the name of a peer, and `{channel}` the channel.
        channel: the channel, if the subject does not have it.
        delivery: to the peer.
        absent: what happens to an at-least-once message for a peer that is not connected.
            `"retry"`: the broker sends it again later; then it may come after others. `"wait"`: it
            waits here, in order, and counts against the window of the subscriber.
        retry_after: seconds until the broker repeats a message that was not handled.
        task_status: is told when it has subscribed.

    Raises:
        ValueError: the template, the channel or another argument is not valid.
        MessagingClosed: the messaging was closed.
        MessagingError: the broker does not let this side subscribe.
    """
    template = SubjectTemplate(subject)
    if "channel" not in template.names:
        check_name("channel", channel)
    if delivery not in ("at_most_once", "at_least_once"):
        raise ValueError(f"delivery is at_most_once or at_least_once, not {delivery!r}")
    if absent not in ("retry", "wait") or not retry_after >= 0:
        raise ValueError('absent is "retry" or "wait", and retry_after 0 or more seconds')
    async with subscriber.open() as messages, trio.open_nursery() as nursery:
        task_status.started()
        down = _Down(messaging, template, channel, delivery, absent, retry_after, nursery)
        async for incoming in messages:
            await down.take(incoming)


class _Down:
    def __init__(
        self,
        messaging: Messaging,
        template: SubjectTemplate,
        channel: str,
        delivery: Delivery,
        absent: str,
        retry_after: float,
        nursery: trio.Nursery,
    ) -> None:
        self._messaging = messaging
        self._template = template
        self._channel = channel
        self._delivery = delivery
        self._absent = absent
        self._retry_after = retry_after
        self._nursery = nursery
        self._deliveries = Deliveries()

    async def take(self, incoming: Incoming) -> None:
        """Sends one message on."""
        deliveries = self._deliveries
        if not deliveries.begin(incoming):
            return
        try:
            receipt = await self._send(incoming)
        except MessagingError as exc:
            if exc.kind == "fatal":
                raise
            if exc.kind == "invalid":
                deliveries.refused(incoming)
            else:
                deliveries.failed(incoming, self._retry_after)
        except ValueError:  # the subject has a name in it that none can have
            deliveries.refused(incoming)
        except _AbsentPeer:
            deliveries.failed(incoming, self._retry_after)
        else:
            if receipt is None:
                deliveries.handled(incoming)
            else:
                self._nursery.start_soon(self._follow, receipt, incoming)

    async def _follow(self, receipt: Receipt, incoming: Incoming) -> None:
        if await receipt.handled():
            self._deliveries.handled(incoming)
        else:
            self._deliveries.failed(incoming, self._retry_after)

    async def _send(self, incoming: Incoming) -> Receipt | None:
        """Raises `MessagingError`, `ValueError` or `_AbsentPeer`."""
        values = self._template.read(incoming.subject)
        if values is None:
            raise ValueError("another subject")
        channel, peer = values.get("channel", self._channel), values.get("peer")
        body = _decoded(incoming)
        headers = {
            name: value
            for name, value in incoming.headers.items()
            if not name.lower().startswith(_NOT_FOR_PEERS)
        }
        sessions = self._messaging.sessions
        if peer is None:
            await sessions.broadcast(channel, body, headers=headers)
            return None
        to = self._messaging.channel(channel, delivery=self._delivery, to=peer)
        if self._delivery == "at_most_once":
            await to.send(body, headers=headers)
            return None
        if self._absent == "retry" and sessions.named(peer) is None:
            raise _AbsentPeer
        return await to.send_tracked(body, headers=headers)


class _AbsentPeer(Exception):  # named for what is the case
    pass


def _decoded(incoming: Incoming) -> Any:
    headers = {name.lower(): value for name, value in incoming.headers.items()}
    if headers.get("content-type") == "application/octet-stream":
        return incoming.body
    try:
        return json.loads(incoming.body)
    except (ValueError, RecursionError):
        return incoming.body
