"""A connection over any trio stream, and the exchanges on it.

`Connection` carries exchanges and awaits no app. An `Exchange` is one request and its response;
`AsyncExchange` drives one from trio tasks; for threads see `restsock.threads`. A `Requester` sends
requests, a `Handler` serves them.
"""

from __future__ import annotations

from ._access_control import AccessControl, forbid, upgrade_of
from ._async_exchange import AsyncExchange
from ._client_websocket import ClientWebSocket
from ._close import Closed, Peer, check_close_code, check_websocket_code
from ._connection import Connection
from ._deadlines import Deadlines
from ._exchange import Carrier, Exchange, answer
from ._exchange_events import ExchangeEvent, Failed, Requeued, Started, Writable, ignore
from ._handshake import open_accepted, open_dialed
from ._health import Health, HealthReport, Load, load_of
from ._heartbeat import heartbeat_timer
from ._heartbeat_calls import HeartbeatCalls, heartbeat_calls, ping_number
from ._inbox import Inbox
from ._instrument import Instrument, InstrumentLike, instruments_of
from ._instruments import Direction, Instruments, Side, with_fields
from ._interfaces import Drains, Handler, RawBytes, Submitter, TaskExchange, drains_of
from ._leader import Borrower, Lendable, Wakeable
from ._loops import check_asyncio, check_trio
from ._mask_keys import mask_key
from ._message_lane import MessageLane, MessageReceiver, MessagingLike
from ._messages import Fields, FieldsLike, Response, StreamedResponse, fields_of, refused_by
from ._pass_end import pass_end
from ._raw_feed import RawFeed
from ._ready_bytes import ReadyBytes
from ._request import Request
from ._requester import Requester
from ._requests import AsyncRequests, head_for
from ._retry import pause_before, pause_if_refused
from ._statistics import OUTCOMES, Counters, Statistics
from ._tls_stream import TLSStream, linger
from ._until import until
from ._user_function import call_user_function, failure_of, is_async
from ._websocket import OpenWebSocket
from ._wire import Wire, new_id

__all__ = [
    "OUTCOMES",
    "AccessControl",
    "AsyncExchange",
    "AsyncRequests",
    "Borrower",
    "Carrier",
    "ClientWebSocket",
    "Closed",
    "Connection",
    "Counters",
    "Deadlines",
    "Direction",
    "Drains",
    "Exchange",
    "ExchangeEvent",
    "Failed",
    "Fields",
    "FieldsLike",
    "Handler",
    "Health",
    "HealthReport",
    "HeartbeatCalls",
    "Inbox",
    "Instrument",
    "InstrumentLike",
    "Instruments",
    "Lendable",
    "Load",
    "MessageLane",
    "MessageReceiver",
    "MessagingLike",
    "OpenWebSocket",
    "Peer",
    "RawBytes",
    "RawFeed",
    "ReadyBytes",
    "Request",
    "Requester",
    "Requeued",
    "Response",
    "Side",
    "Started",
    "Statistics",
    "StreamedResponse",
    "Submitter",
    "TLSStream",
    "TaskExchange",
    "Wakeable",
    "Wire",
    "Writable",
    "answer",
    "call_user_function",
    "check_asyncio",
    "check_close_code",
    "check_trio",
    "check_websocket_code",
    "drains_of",
    "failure_of",
    "fields_of",
    "forbid",
    "head_for",
    "heartbeat_calls",
    "heartbeat_timer",
    "ignore",
    "instruments_of",
    "is_async",
    "linger",
    "load_of",
    "mask_key",
    "new_id",
    "open_accepted",
    "open_dialed",
    "pass_end",
    "pause_before",
    "pause_if_refused",
    "ping_number",
    "refused_by",
    "until",
    "upgrade_of",
    "with_fields",
]
