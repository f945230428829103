"""Messages of a broker that may come more than once, and are sent to peers once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._interface import Incoming

__all__ = ["Deliveries"]

_REMEMBERED = 10_000


class Deliveries:
    """What is under way of the messages of a broker, and which were handled.

    Of each message, `begin` comes first, and then one of the others. The word of its end is for the
    latest delivery of it. None of them waits.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, Incoming] = {}
        self._handled: OrderedDict[str, None] = OrderedDict()

    def begin(self, incoming: Incoming) -> bool:
        """Whether a message is to be sent.

        It is not while it is under way, nor if it was handled, as the last 10,000 are known; the
        broker is told.
        """
        key = incoming.key
        if key in self._under_way:
            self._under_way[key] = incoming
            return False
        if key in self._handled:
            incoming.ack()
            return False
        if key:
            self._under_way[key] = incoming
        return True

    def handled(self, incoming: Incoming) -> None:
        """It was handled. Raises nothing."""
        key = incoming.key
        incoming = self._under_way.pop(key, incoming)
        if key:
            self._handled[key] = None
            if len(self._handled) > _REMEMBERED:
                self._handled.popitem(last=False)
        incoming.ack()

    def failed(self, incoming: Incoming, retry_after: float) -> None:
        """It was not, and should come again after so many seconds. Raises nothing."""
        self._under_way.pop(incoming.key, incoming).nack(retry_after)

    def refused(self, incoming: Incoming) -> None:
        """It was not, and never can be. Raises nothing."""
        self._under_way.pop(incoming.key, incoming).refuse()
