"""A connection over any trio stream, and the exchanges on it.

`Connection` runs three tasks and awaits no app. An `Exchange` is one request and its response;
`AsyncExchange` drives one from trio tasks, `ThreadExchange` from a thread. A `Dispatcher` is
whatever a request can be handed to, a `Handler` whatever serves one.
"""

from __future__ import annotations

from ._ask import ask, failure_of
from ._async_exchange import AsyncExchange
from ._connection import Connection
from ._dispatcher import Dispatcher, Handler, head_for
from ._entrance import Entrance, forbid
from ._exchange import Exchange, ExchangeEvent, Failed, Returned, Started, Writable, answer
from ._facts import Closed, Peer, check_close_code
from ._health import Health, Load, Symptoms, load_of
from ._instrument import (
    Direction,
    Instrument,
    InstrumentLike,
    Instruments,
    Side,
    instruments_of,
)
from ._ledger import Ledger
from ._lobby import Lobby
from ._messages import FieldsLike, Request, Response, StreamedResponse, fields_of
from ._open import open_accepted, open_dialed
from ._pulse import Pulse
from ._signals import SIGNALS, drain_on_signal, tell_closing
from ._socket_options import (
    apply_socket_options,
    check_socket_options,
    prepare_listening_socket,
)
from ._statistics import OUTCOMES, Statistics, Totals
from ._thread_exchange import ThreadExchange
from ._tls_stream import TLSStream
from ._traffic import pause_before
from ._upload import Replay, ThreadUpload, send_upload, was_refused

__all__ = [
    "OUTCOMES",
    "SIGNALS",
    "AsyncExchange",
    "Closed",
    "Connection",
    "Direction",
    "Dispatcher",
    "Entrance",
    "Exchange",
    "ExchangeEvent",
    "Failed",
    "FieldsLike",
    "Handler",
    "Health",
    "Instrument",
    "InstrumentLike",
    "Instruments",
    "Ledger",
    "Load",
    "Lobby",
    "Peer",
    "Pulse",
    "Replay",
    "Request",
    "Response",
    "Returned",
    "Side",
    "Started",
    "Statistics",
    "StreamedResponse",
    "Symptoms",
    "TLSStream",
    "ThreadExchange",
    "ThreadUpload",
    "Totals",
    "Writable",
    "answer",
    "apply_socket_options",
    "ask",
    "check_close_code",
    "check_socket_options",
    "drain_on_signal",
    "failure_of",
    "fields_of",
    "forbid",
    "head_for",
    "instruments_of",
    "load_of",
    "open_accepted",
    "open_dialed",
    "pause_before",
    "prepare_listening_socket",
    "send_upload",
    "tell_closing",
    "was_refused",
]
