"""The engine of messaging, sans-IO: times, ids and chance are handed in.

It knows no loop, clock, thread or socket. What it has for a store it puts on lists, and what it has
for a peer it gives to a link, whose `send` never waits.
"""

from __future__ import annotations

from ._outgoing import Outgoing
from ._records import DeadLetter, InboxKey, Mark, OutRecord, RecordKey

__all__ = ["DeadLetter", "InboxKey", "Mark", "OutRecord", "Outgoing", "RecordKey"]
