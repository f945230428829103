"""`run_output`: from lines, and from NATS, to peers."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from restsock._strict_json import NotJSON, read_json
from restsock.messaging import MessagingError, Receipt
from restsock.messaging.bridge import Deliveries

from ._carrier import Carrier
from ._config import Dial, OutputConfig
from ._lines import Lines, TooLong
from ._nats import check_streams, subscriber_of

if TYPE_CHECKING:
    from restsock.messaging.bridge import Incoming, Subscriber

__all__ = ["Sent", "run_output"]

# Bytes that a message has beside its line: subject, time, envelope.
_BESIDE = 1024
# Seconds until JetStream sends a message again that no peer has taken.
_RETRY_AFTER = 2.0


@dataclass
class Sent:
    """What became of the messages.

    Attributes:
        messages: those that were sent.
        refused: lines that were no messages: too long, or no JSON; and likewise messages of NATS.
        lost: messages that a peer has not acknowledged, or that were given up. What JetStream sends
            again is not counted.
    """

    messages: int = 0
    refused: int = 0
    lost: int = 0


async def run_output(
    carrier: Carrier,
    config: OutputConfig,
    read: Callable[[], bytes],
    *,
    on_ready: Callable[[], object] | None = None,
) -> Sent:
    """Sends messages to all peers that are connected, until there are no more or it is closed.

    None are read while nobody is connected. Lines come to an end; then, unless there are ports of
    NATS as well, it waits until all is acknowledged or, with `delivery_mode` at-least-once, given
    up; at most once, it waits for `ack_timeout`.

    JetStream is told that a message is handled when all peers that were connected have acknowledged
    it, or have given up, and one at least has it; at most once, when it is queued for them.

    Args:
        carrier: of the configuration; it is entered here.
        config: made by `load_output`.
        read: gives the next bytes, and none at the end. It is called in a thread, and may block.
        on_ready: is called on the loop, once peers can connect.

    Raises:
        ConfigError: there is no stream of JetStream for a port; it names the key.
        BrokerUnavailable: there is no NATS, or no JetStream.
        MessagingError: NATS does not let this side subscribe.
        OSError: what `read` raises; or the carrier cannot listen.
        WebSocketRefused: as of `Carrier.wait_closed`.
        HandshakeError: likewise.
    """
    sender = _Sender(carrier, config)
    failures: list[Exception] = []

    async def send_all(source: Callable[[], Any]) -> None:
        try:
            await source()
        except (OSError, MessagingError) as exc:
            failures.append(exc)
            await carrier.aclose(grace=0)

    async def send_lines() -> None:
        await sender.send_lines(read)
        if config.nats is None:
            await sender.wait_done()
            await carrier.aclose()

    with carrier.scope:
        async with AsyncExitStack() as stack:
            sources: list[Callable[[], Any]] = []
            if any(source.type == "stdio" for source in config.sources):
                sources.append(send_lines)
            if config.nats is not None:
                nats = carrier.nats = config.nats.make()
                await stack.enter_async_context(nats)
                streams = await check_streams(nats, config.sources)
                for source in config.sources:
                    if source.type != "stdio":
                        subscriber = subscriber_of(nats, source, streams.get(source.key, ""))
                        sources.append(partial(sender.send_incoming, subscriber))
            await stack.enter_async_context(carrier)
            nursery = await stack.enter_async_context(trio.open_nursery())
            for each in sources:
                nursery.start_soon(send_all, each)
            if on_ready is not None:
                on_ready()
            try:
                await carrier.wait_closed()
            except Exception as exc:  # noqa: BLE001  # raised below, where no nursery wraps it
                failures.append(exc)
            sender.finish()
            nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return sender.sent


class _Sender:
    def __init__(self, carrier: Carrier, config: OutputConfig) -> None:
        self.sent = Sent()
        self._messaging = carrier.messaging
        self._config = config
        self._carrier = carrier
        self._dialed = isinstance(config.place, Dial)
        self._of_broker: set[str] = set()  # ids of messages that JetStream sends again
        self._messaging.on_dead_letter(self._note_lost)

    def _note_lost(self, letter: Any) -> None:
        if letter.record.id not in self._of_broker:
            self.sent.lost += 1

    def finish(self) -> None:
        """Counts what is given up now."""
        if self._config.reliable:
            left = self._messaging.statistics().outbox_messages - len(self._of_broker)
            self.sent.lost += max(0, left)

    # --- lines --------------------------------------------------------------------------------

    async def send_lines(self, read: Callable[[], bytes]) -> None:
        """Sends all lines there are. Raises what `read` raises."""
        lines = Lines(self._config.options.max_message - _BESIDE)
        while not self._carrier.closing:
            await self._somebody()
            data = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
            for line in lines.feed(data) if data else lines.end():
                await self._send_line(line)
            if not data:
                break

    async def wait_done(self) -> None:
        """Waits until all is sent, and acknowledged or given up."""
        await self._messaging.wait_until(lambda: self._carrier.drained)
        # Who has taken a message may drop it when we leave, until it is handled.
        with trio.move_on_after(self._config.options.ack_timeout):
            dialect = self._config.dialect
            await self._messaging.wait_until(lambda: not dialect.unconfirmed)

    async def _somebody(self) -> None:
        sessions = self._messaging.sessions
        await self._messaging.wait_until(lambda: len(sessions) > 0)

    async def _send_line(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            self.sent.refused += 1
            return
        try:
            body = self._body(line, self._config.subject)
        except (NotJSON, UnicodeDecodeError):
            self.sent.refused += 1
            return
        await self._somebody()
        await self._send(body)

    # --- NATS ---------------------------------------------------------------------------------

    async def send_incoming(self, subscriber: Subscriber) -> None:
        """Sends what comes to a subscriber, until it is cancelled or the carrier closes.

        What was not handled by then comes again, if the broker does that.

        Raises:
            MessagingError: it cannot subscribe.
        """
        deliveries = Deliveries()
        async with subscriber.open() as messages, trio.open_nursery() as nursery:
            async for incoming in messages:
                await self._somebody()
                if self._carrier.closing:
                    await trio.sleep_forever()  # for the grace of what is under way
                if deliveries.begin(incoming):
                    await self._pass_on(incoming, deliveries, nursery)

    async def _pass_on(
        self, incoming: Incoming, deliveries: Deliveries, nursery: trio.Nursery
    ) -> None:
        try:
            body = self._body_of(incoming)
        except NotJSON:
            self.sent.refused += 1
            deliveries.refused(incoming)
            return
        receipts = await self._send(body, again=bool(incoming.key))
        if receipts is None:
            deliveries.refused(incoming)
        elif not receipts:
            deliveries.failed(incoming, _RETRY_AFTER)
        elif all(receipt is None for receipt in receipts):
            deliveries.handled(incoming)
        else:
            nursery.start_soon(self._follow, incoming, deliveries, receipts)

    async def _follow(
        self, incoming: Incoming, deliveries: Deliveries, receipts: list[Receipt | None]
    ) -> None:
        handled = False
        for receipt in receipts:
            handled |= receipt is None or await receipt.handled()
            if receipt is not None:
                self._of_broker.discard(receipt.id)
        if handled:
            deliveries.handled(incoming)
        else:
            deliveries.failed(incoming, _RETRY_AFTER)

    # --- both ---------------------------------------------------------------------------------

    async def _send(self, body: Any, *, again: bool = False) -> list[Receipt | None] | None:
        """Sends a message to all. One peer that has gone, or has no room, keeps it from no other.

        Args:
            body: of the message.
            again: whether it comes again if nobody takes it.

        Returns:
            For each peer that takes it a receipt, or `None` where it is sent at most once; `None`
            alone if the message cannot be sent to anybody.
        """
        subject, messaging = self._config.subject, self._messaging
        receipts: list[Receipt | None] = []
        problems: list[MessagingError] = []
        sessions = [*messaging.sessions]
        if self._config.reliable:
            for to in [""] if self._dialed else sessions:
                channel = messaging.channel(subject, delivery="at_least_once", to=to)
                try:
                    receipt = await channel.send_tracked(body)
                except MessagingError as exc:
                    problems.append(exc)
                else:
                    if again:
                        self._of_broker.add(receipt.id)
                    receipts.append(receipt)
        else:
            for session in sessions:
                try:
                    await session.send(subject, body)
                except MessagingError as exc:
                    problems.append(exc)
                else:
                    receipts.append(None)
        self.sent.messages += bool(receipts) or not problems
        if any(problem.kind == "invalid" for problem in problems):
            self.sent.refused += 1
            return None
        if not again:
            self.sent.lost += len(problems)
        return receipts

    def _body_of(self, incoming: Incoming) -> Any:
        """What is sent for a message of NATS. Raises `NotJSON`."""
        try:
            return self._body(incoming.body, incoming.subject)
        except UnicodeDecodeError:
            data = base64.b64encode(incoming.body).decode()
            return {**_members(incoming.subject), "raw_data": data, "encoding": "base64"}

    def _body(self, line: bytes, subject: str) -> Any:
        """What is sent for a line: with a subject and a time, unless it is to pass as it is.

        Raises `NotJSON` or `UnicodeDecodeError`.
        """
        if self._config.passthrough:
            return read_json(line)
        try:
            value = read_json(line)
        except NotJSON:
            value = line.decode()
        if isinstance(value, dict):
            return {**_members(subject), **value}
        return {**_members(subject), "raw_data": value}


def _members(subject: str) -> dict[str, Any]:
    return {"timestamp": int(time.time() * 1000), "subject": subject}
