"""The engine of messaging, sans-IO: times, ids and chance are handed in.

It knows no loop, clock, thread or socket. What it has for a store it puts on lists, and what it has
for a peer it gives to a link, whose `send` never waits.
"""

from __future__ import annotations

from ._context import Counters, Effects, Host
from ._engine import Engine
from ._entry import Entry
from ._inbox import Delivery, Inbox, Line
from ._link import Link
from ._outbox import Outbox
from ._outgoing import Outgoing
from ._payloads import (
    DATA_OVERHEAD,
    MAX_SECONDS,
    Malformed,
    Reply,
    Request,
    check_name,
    content_size,
    encode_content,
    encode_json,
    is_name,
    sayable,
    utf8_length,
)
from ._peer import Destination, Peer
from ._reading import decode_payload
from ._receiving import Refusal
from ._records import DeadLetter, InboxKey, Mark, OutRecord, RecordKey
from ._topics import Subscription

__all__ = [
    "DATA_OVERHEAD",
    "MAX_SECONDS",
    "Counters",
    "DeadLetter",
    "Delivery",
    "Destination",
    "Effects",
    "Engine",
    "Entry",
    "Host",
    "Inbox",
    "InboxKey",
    "Line",
    "Link",
    "Malformed",
    "Mark",
    "OutRecord",
    "Outbox",
    "Outgoing",
    "Peer",
    "RecordKey",
    "Refusal",
    "Reply",
    "Request",
    "Subscription",
    "check_name",
    "content_size",
    "decode_payload",
    "encode_content",
    "encode_json",
    "is_name",
    "sayable",
    "utf8_length",
]
