"""`run_output`: from lines to peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from restsock._strict_json import NotJSON, read_json
from restsock.messaging import MessagingError, Session

from ._carrier import Carrier, is_idle
from ._config import Dial, OutputConfig
from ._lines import Lines, TooLong

__all__ = ["Sent", "run_output"]

# How often is looked whether a peer has come, or all is sent; in seconds.
_LOOK = 0.02
# Bytes that a message has beside its line: subject, time, envelope.
_BESIDE = 1024


@dataclass
class Sent:
    """What became of the lines.

    Attributes:
        messages: those that were sent.
        refused: lines that were no messages: too long, or no JSON.
        lost: messages that no peer has acknowledged, or that were given up.
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
    """Sends lines to all peers that are connected, until there are no more or it is closed.

    No line is read while nobody is connected. At the end it waits until all is acknowledged or,
    with `delivery_mode` at-least-once, given up; at most once, it waits for `ack_timeout`.

    Args:
        carrier: of the configuration; it is entered here.
        config: made by `load_output`.
        read: gives the next bytes, and none at the end. It is called in a thread, and may block.
        on_ready: is called on the loop, once peers can connect.

    Raises:
        OSError: what `read` raises; or the carrier cannot listen.
        WebSocketRefused: as of `Carrier.wait_closed`.
        HandshakeError: likewise.
    """
    sender = _Sender(carrier, config)
    failures: list[Exception] = []

    async def send_all() -> None:
        try:
            await sender.send_all(read)
        except OSError as exc:
            failures.append(exc)
        await carrier.aclose()

    async with carrier, trio.open_nursery() as nursery:
        nursery.start_soon(send_all)
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
        self._messaging.on_dead_letter(self._note_lost)

    def _note_lost(self, letter: object) -> None:
        self.sent.lost += 1

    def finish(self) -> None:
        """Counts what is given up now."""
        if self._config.reliable:
            self.sent.lost += self._messaging.statistics().outbox_messages

    async def send_all(self, read: Callable[[], bytes]) -> None:
        lines = Lines(self._config.options.max_message - _BESIDE)
        while not self._carrier.closing:
            await self._somebody()
            data = await trio.to_thread.run_sync(read, abandon_on_cancel=True)
            for line in lines.feed(data) if data else lines.end():
                await self._send_line(line)
            if not data:
                break
        await _until(self._done)
        # Who has taken a message may drop it when we leave, until it is handled.
        with trio.move_on_after(self._config.options.ack_timeout):
            await _until(lambda: not self._config.dialect.unconfirmed)

    async def _somebody(self) -> None:
        await _until(lambda: len(self._messaging.sessions) > 0)

    def _done(self) -> bool:
        if self._config.reliable and self._messaging.statistics().outbox_messages:
            return False
        return all(map(is_idle, self._messaging.sessions))

    async def _send_line(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            self.sent.refused += 1
            return
        try:
            body = self._body(line)
        except (NotJSON, UnicodeDecodeError):
            self.sent.refused += 1
            return
        await self._somebody()
        subject, reliable = self._config.subject, self._config.reliable
        try:
            if self._dialed and reliable:
                channel = self._messaging.channel(subject, delivery="at_least_once")
                await channel.send(body)
            else:
                for session in [*self._messaging.sessions]:
                    await self._send_to(session, body)
        except MessagingError:
            self.sent.lost += 1
            return
        self.sent.messages += 1

    async def _send_to(self, session: Session, body: Any) -> None:
        """One peer that has gone, or has no room, does not keep the others from a message."""
        reliable = self._config.reliable
        try:
            await session.send(
                self._config.subject,
                body,
                delivery="at_least_once" if reliable else "at_most_once",
            )
        except MessagingError:
            self.sent.lost += 1

    def _body(self, line: bytes) -> Any:
        """What is sent for a line: with a subject and a time, unless it is to pass as it is."""
        if self._config.passthrough:
            return read_json(line)
        try:
            value = read_json(line)
        except NotJSON:
            value = line.decode()
        members = {"timestamp": int(time.time() * 1000), "subject": self._config.subject}
        if isinstance(value, dict):
            return {**members, **value}
        return {**members, "raw_data": value}


async def _until(reached: Callable[[], bool]) -> None:
    """Looks again and again: nothing tells of it."""
    while True:
        if reached():
            return
        await trio.sleep(_LOOK)
