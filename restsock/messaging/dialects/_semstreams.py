"""`Semstreams`: the envelope of the WebSocket input and output of StreamKit.

`{"type", "id", "timestamp", "payload"}`, of types data, request, reply, ack, nack and slow. Its
peers tolerate what is missing, and so does this. An ack has no payload; a nack has
`{"reason", "error"}`. Ids are opaque, and those of data begin with `msg-`.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from restsock._strict_json import NotJSON, read_json
from restsock.messaging.engine import check_name, encode_json
from restsock.protocol import Envelope

from ._dialect import End, Garbled, milliseconds

if TYPE_CHECKING:
    from restsock.messaging.engine import Outgoing

__all__ = ["Semstreams"]

_ID = re.compile(r"msg-[0-9]{1,20}-([0-9]{1,39})")
# Ids of messages that were sent at most once, and whose acks are expected all the same.
_EXPECTED = 1000
_UNKNOWN = object()


class Semstreams:
    """The envelope of StreamKit's WebSocket input and output, at either end.

    Received `data` is on one channel, and is acknowledged once it is handled; if it fails, its
    sender gets a nack with `reason` and `error`. A message without an id gets neither. A message
    that arrives twice on a connection is handled once.

    Messages on any channel are sent as `data`, without channel and headers. A message sent at least
    once is sent again, with the same id, after a nack or without an ack. Bytes are sent as
    `{"raw_data": <Base64>, "encoding": "base64"}`.

    Args:
        channel: the channel of received messages.

    Raises:
        ValueError: the channel is not valid.
    """

    name = "semstreams"
    acknowledges = True

    def __init__(self, *, channel: str = "data") -> None:
        check_name("channel", channel)
        self.channel = channel
        self._latest: tuple[Outgoing, str] | None = None  # of a broadcast, encoded once
        self._wires: WeakSet[_Wire] = WeakSet()

    def __repr__(self) -> str:
        return f"Semstreams(channel={self.channel!r})"

    @property
    def unconfirmed(self) -> int:
        """The number of at-most-once messages without an ack yet.

        At most 1000 are counted for each connection. On the loop.
        """
        return sum(wire.unconfirmed for wire in self._wires)

    def wire(self, end: End) -> _Wire:
        """See `Dialect`."""
        wire = _Wire(self, end)
        self._wires.add(wire)
        return wire

    def data(self, outgoing: Outgoing) -> str:
        """The envelope of a message."""
        if self._latest is None or self._latest[0] is not outgoing:
            body = outgoing.body
            if isinstance(body, bytes):
                body = {"raw_data": base64.b64encode(body).decode(), "encoding": "base64"}
            self._latest = outgoing, _envelope(outgoing, _message_id(outgoing), body)
        return self._latest[1]


class _Wire:
    def __init__(self, dialect: Semstreams, end: End) -> None:
        self.metadata: Mapping[str, Any] = {}
        self._dialect = dialect
        self._end = end
        self._expected: OrderedDict[str, object] = OrderedDict()
        self._readers: dict[str, Callable[[str, Any], tuple[str, Any] | None]] = {
            "data": self._data,
            "request": lambda id, payload: (id, payload),
            "reply": lambda id, payload: (id, _reply(payload)),
            "ack": self._ack,
            "nack": self._nack,
            "slow": lambda id, payload: (id or self._end.new_id(), payload),
        }

    @property
    def unconfirmed(self) -> int:
        return len(self._expected)

    # --- what comes ---------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: int) -> Iterator[Envelope | Garbled]:
        try:
            found = read_json(message)
        except NotJSON:
            found = None
        type = found.get("type") if isinstance(found, dict) else None
        if not isinstance(type, str) or not type:
            yield Garbled("parse_error")
            return
        id, timestamp = found.get("id", ""), found.get("timestamp")
        if not isinstance(id, str):
            yield Garbled("parse_error")
            return
        read = self._readers.get(type)
        if read is None:
            yield Garbled("unknown_type")
            return
        if not _is_number(timestamp):
            timestamp = milliseconds(now)
        said = read(id, found.get("payload"))
        if said is not None:
            yield Envelope(type, said[0], timestamp, {} if said[1] is None else said[1])

    def receive_end(self, now: int) -> Iterator[Envelope | Garbled]:
        return iter(())

    def _data(self, id: str, payload: Any) -> tuple[str, Any]:
        delivery = "at_least_once" if id else "at_most_once"
        content = {"channel": self._dialect.channel, "body": payload, "delivery": delivery}
        return id or self._end.new_id(), content

    def _ack(self, id: str, payload: Any) -> tuple[str, Any] | None:
        id = _engine_id(id)
        return (id, {}) if not self._confirmed(id) else None

    def _nack(self, id: str, payload: Any) -> tuple[str, Any]:
        id = _engine_id(id)
        self._confirmed(id)
        return id, _refusal(payload)

    def _confirmed(self, id: str) -> bool:
        """Whether it is one that was sent at most once, which nobody waits for any more."""
        return self._expected.pop(id, _UNKNOWN) is not _UNKNOWN

    # --- what leaves --------------------------------------------------------------------------

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        type = outgoing.type
        if type == "data":
            if outgoing.payload.get("delivery") != "at_least_once":
                self._expected[outgoing.id] = None
                if len(self._expected) > _EXPECTED:
                    self._expected.popitem(last=False)
            return (self._dialect.data(outgoing),)
        if type == "ack":
            id = encode_json(outgoing.id)
            return (f'{{"type":"ack","id":{id},"timestamp":{outgoing.timestamp}}}',)
        if type == "nack":
            return (_envelope(outgoing, outgoing.id, _reason(outgoing.payload["reason"])),)
        if type == "slow":
            return (_envelope(outgoing, f"bp-{outgoing.timestamp}", outgoing.payload),)
        return (outgoing.text,) if type in ("request", "reply") else ()

    def flush(self, now: int) -> Sequence[str | bytes]:
        return ()


def _envelope(outgoing: Outgoing, id: str, payload: Any) -> str:
    members = {"type": outgoing.type, "id": id, "timestamp": outgoing.timestamp, "payload": payload}
    return encode_json(members)


def _message_id(outgoing: Outgoing) -> str:
    """The id of a message, as its peers make them. It is the same whenever it is sent again."""
    return f"msg-{outgoing.timestamp}-{int(outgoing.id.replace('-', ''), 16)}"


def _engine_id(id: str) -> str:
    """The id of the message that is meant; any other one as it is."""
    found = _ID.fullmatch(id)
    if found is None or (number := int(found[1])) >= 2**128:
        return id
    hex = f"{number:032x}"
    return f"{hex[:8]}-{hex[8:12]}-{hex[12:16]}-{hex[16:20]}-{hex[20:]}"


def _is_number(timestamp: Any) -> bool:
    return type(timestamp) is int and 0 <= timestamp < 2**53


def _reason(text: str) -> dict[str, str]:
    """What a nack of this side says: a word, and the words behind it."""
    word = text.partition(":")[0]
    return {"reason": "publish_failed" if word == "failed" else word, "error": text}


def _refusal(payload: Any) -> dict[str, Any]:
    """What a peer says of a message that it has not handled. It never says `final`."""
    reason = payload.get("reason") if isinstance(payload, dict) else None
    return {"reason": reason if isinstance(reason, str) else "nack"}


def _reply(payload: Any) -> dict[str, Any]:
    """An answer, in whatever form: a result, or an error where it says so."""
    if not isinstance(payload, dict):
        return {"status": "ok", "result": payload}
    error = payload.get("error")
    if payload.get("status") == "error" or error:
        return {**payload, "status": "error", "error": error if isinstance(error, str) else ""}
    if payload.get("status") == "ok" and "result" in payload:
        return payload
    return {"status": "ok", "result": payload}
