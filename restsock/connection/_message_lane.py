"""Messages beside the exchanges of a connection: its envelopes (spec, "Messages").

What they mean is for others to know (`restsock.messaging`). Here is how they leave and arrive: they
take turns with the frames of the streams, so that neither waits for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from restsock.protocol import EnvelopeReceived

from ._lifecycle import CLOSING

if TYPE_CHECKING:
    from restsock.protocol import Envelope, EnvelopesSent, MessagingSettings

    from ._connection import Connection

__all__ = ["MessageLane", "MessageReceiver", "MessagingLike"]


class MessagingLike(Protocol):
    """What a client or a server gives the messages of its connections to. Calls are on the loop."""

    @property
    def settings(self) -> MessagingSettings:
        """What peers are told of it."""

    def check_running(self) -> None:
        """Raises `RuntimeError` unless it runs, on this loop."""

    def attach_connection(self, connection: Connection) -> None:
        """Learns of a connection that is about to begin, and may open a `MessageLane` on it."""

    def detach_connection(self, connection: Connection) -> None:
        """Learns that it has ended; or one that was never attached."""


class MessageReceiver(Protocol):
    """Whom the envelopes of one connection are for. Calls are on the loop, and must not wait."""

    def receive(self, envelope: Envelope, size: int) -> None:
        """Takes one, of so many bytes. It is JSON and an envelope, and no more is known of it."""

    def resume(self) -> None:
        """There is room to send again."""


class _Step:
    """The lanes of a loop that have something to send at the end of its present step.

    One task of the loop sends for all of them. To have the loop call back would wake it by a byte
    through a socket.
    """

    __slots__ = ("_lanes", "_lot")

    def __init__(self) -> None:
        self._lanes: list[MessageLane] = []
        self._lot = trio.lowlevel.ParkingLot()
        trio.lowlevel.spawn_system_task(self._run, name="restsock messages")

    def add(self, lane: MessageLane) -> None:
        if not self._lanes:
            self._lot.unpark()
        self._lanes.append(lane)

    async def _run(self) -> None:
        while True:
            if self._lanes:  # added by what was told while these left
                await trio.lowlevel.checkpoint()
            else:
                await self._lot.park()
            lanes, self._lanes = self._lanes, []
            for lane in lanes:
                lane.flush()


_step: trio.lowlevel.RunVar[_Step | None] = trio.lowlevel.RunVar("restsock-message-step", None)


def _step_of_this_loop() -> _Step:
    step = _step.get()
    if step is None:
        step = _Step()
        _step.set(step)
    return step


class MessageLane:
    """The way of envelopes to and from a peer. On the loop.

    Args:
        connection: It has not begun, and has no other lane.
        receiver: Gets what the peer sends.

    Attributes:
        peer: What the peer has told of how it takes messages; `None` if it takes none.
    """

    __slots__ = ("_due", "_lifecycle", "_multiplexer", "_receiver", "_step", "_writer", "peer")

    def __init__(self, connection: Connection, receiver: MessageReceiver) -> None:
        self.peer: MessagingSettings | None = connection.multiplexer.peer.messaging
        self._step = _step_of_this_loop()
        self._due = False  # whether the loop is going to send what was queued
        self._receiver = receiver
        self._multiplexer = connection.multiplexer
        self._lifecycle = connection.lifecycle
        self._writer = connection.writer
        connection.lane = self

    @property
    def room(self) -> int:
        """How many characters may be queued by now; who has more waits for `resume`."""
        return 0 if self._lifecycle.state >= CLOSING else self._multiplexer.envelope_room

    def send(self, text: str, size: int, *, first: bool = False) -> bool:
        """Queues an envelope; see `room`. What is queued in one step of the loop leaves together.

        Args:
            text: All of it.
            size: Its length in UTF-8, in bytes.
            first: Whether it goes before streams and other envelopes: for short answers.

        Returns:
            Whether it was queued; not once the connection is closing.

        Raises:
            LocalProtocolError: The peer takes no messages, or none of this length. Nothing was
                sent.
        """
        if self._lifecycle.state >= CLOSING:
            return False
        with self._writer.lock:
            self._multiplexer.send_envelope(text, size, first=first)
        if not self._due:
            self._due = True
            self._step.add(self)
        return True

    def flush(self) -> None:
        """Sends what was queued in this step."""
        self._due = False
        with self._writer.lock:
            self._writer.flush()

    def take(self, event: EnvelopeReceived | EnvelopesSent) -> None:
        """Hands on what the multiplexer tells of envelopes."""
        if isinstance(event, EnvelopeReceived):
            self._receiver.receive(event.envelope, event.size)
        else:
            self._receiver.resume()
