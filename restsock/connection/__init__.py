"""A connection over any trio stream, and the exchanges on it.

`Connection` runs three tasks and awaits no app. An `Exchange` is one request and its response;
`AsyncExchange` drives one from trio tasks, `ThreadExchange` from a thread. A `Dispatcher` is
whatever a request can be handed to, a `Handler` whatever serves one.
"""

from __future__ import annotations

from ._async_exchange import AsyncExchange
from ._connection import Connection
from ._dispatcher import Dispatcher, Handler, head_for
from ._exchange import Exchange, ExchangeEvent, Failed, Started, Writable, answer
from ._facts import Closed, Peer, Statistics, check_close_code
from ._lobby import Lobby
from ._messages import FieldsLike, Request, Response, StreamedResponse, fields_of
from ._open import open_accepted, open_dialed
from ._pulse import Pulse
from ._thread_exchange import ThreadExchange
from ._upload import ThreadUpload

__all__ = [
    "AsyncExchange",
    "Closed",
    "Connection",
    "Dispatcher",
    "Exchange",
    "ExchangeEvent",
    "Failed",
    "FieldsLike",
    "Handler",
    "Lobby",
    "Peer",
    "Pulse",
    "Request",
    "Response",
    "Started",
    "Statistics",
    "StreamedResponse",
    "ThreadExchange",
    "ThreadUpload",
    "Writable",
    "answer",
    "check_close_code",
    "fields_of",
    "head_for",
    "open_accepted",
    "open_dialed",
]
