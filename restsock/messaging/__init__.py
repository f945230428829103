"""Messages between peers: channels, acknowledgements, sessions, requests and replies.

A `Messaging` sends and receives messages over any number of connections: those of restsock, which
carry HTTP at the same time, and plain WebSockets of others. A message that is sent `at_least_once`
is kept in a store until its receiver has handled it, once and in order, whatever happens to the
connection.

This is for trio. `restsock.messaging.sync` has the same for threads, `restsock.messaging.aio` for
asyncio.
"""

from __future__ import annotations

from ._auth_mapping import authenticator_from, credentials_from
from ._channel import Channel, Receipt
from ._errors import (
    AskFailed,
    AskTimeout,
    BrokerUnavailable,
    ErrorKind,
    InvalidMessage,
    MessageTooLarge,
    MessagingClosed,
    MessagingError,
    MessagingUnavailable,
    PublishFailed,
    QueueFull,
    SessionClosed,
    StoreFailed,
    UnknownSession,
)
from ._message import Message
from ._messaging import Messaging
from ._methods import Request
from ._options import Delivery, MessagingOptions, QueuePolicy
from ._owner import Authorize
from ._session import Session, Subscribed
from ._sessions import Sent, Sessions, Where
from ._sqlite_store import SQLiteStore
from ._statistics import REQUEST_SECONDS, MessagingHealth, MessagingStatistics
from ._store import Loaded, MemoryStore, Store
from ._stream import MessageStream
from ._transaction import Transaction, TransactionalStore
from .dialects import Dialect, Raw, Semstreams, Tremor, WasmCloud
from .engine import DeadLetter, Link, Mark, Outgoing, OutRecord

__all__ = [
    "REQUEST_SECONDS",
    "AskFailed",
    "AskTimeout",
    "Authorize",
    "BrokerUnavailable",
    "Channel",
    "DeadLetter",
    "Delivery",
    "Dialect",
    "ErrorKind",
    "InvalidMessage",
    "Link",
    "Loaded",
    "Mark",
    "MemoryStore",
    "Message",
    "MessageStream",
    "MessageTooLarge",
    "Messaging",
    "MessagingClosed",
    "MessagingError",
    "MessagingHealth",
    "MessagingOptions",
    "MessagingStatistics",
    "MessagingUnavailable",
    "OutRecord",
    "Outgoing",
    "PublishFailed",
    "QueueFull",
    "QueuePolicy",
    "Raw",
    "Receipt",
    "Request",
    "SQLiteStore",
    "Semstreams",
    "Sent",
    "Session",
    "SessionClosed",
    "Sessions",
    "Store",
    "StoreFailed",
    "Subscribed",
    "Transaction",
    "TransactionalStore",
    "Tremor",
    "UnknownSession",
    "WasmCloud",
    "Where",
    "authenticator_from",
    "credentials_from",
]
