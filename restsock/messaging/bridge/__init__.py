"""Bridges between the peers of a messaging and a message broker.

A bridge needs a `Publisher` or a `Subscriber` of the broker. `restsock.messaging.nats` has those of
NATS.
"""

from __future__ import annotations

from ._deliveries import Deliveries
from ._interface import Incoming, Publisher, Subscriber
from ._publish import publish_to
from ._send_down import send_down
from ._subject import SubjectTemplate

__all__ = [
    "Deliveries",
    "Incoming",
    "Publisher",
    "SubjectTemplate",
    "Subscriber",
    "publish_to",
    "send_down",
]
