"""`WasmCloud`: the messages of wasmCloud's messaging provider: subject, body, reply_to."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restsock._strict_json import NotJSON, read_json
from restsock.messaging.engine import encode_json
from restsock.protocol import Envelope

from ._dialect import End, Garbled, Unsayable, milliseconds

if TYPE_CHECKING:
    from restsock.messaging.engine import Outgoing

__all__ = ["WasmCloud"]

# The channels of what has no subject.
_NO_SUBJECT = "default"
_NO_JSON = "message"
_NO_TEXT = "binary.message"


class WasmCloud:
    """Messages as wasmCloud's messaging provider has them: `{"subject", "body", "reply_to"}`.

    The subject is the channel. A body is text, or bytes in Base64 with `"encoding": "base64"`; a
    list of numbers is read as bytes, too. Other values are sent as JSON text. Without `reply_to`,
    an answer goes to the session; a `reply_to` of another peer is refused. Headers, if any, are in
    `headers`.

    A message without a subject is on the channel `default`, text that is not such an object on
    `message`, and bytes that are not UTF-8 on `binary.message`. There are no acknowledgements and
    no requests.

    Args:
        hex: whether bytes are in hexadecimal: a body without `encoding` is read as hexadecimal, as
            the original sends it, and bytes are sent with `"encoding": "hex"`, text with
            `"encoding": "text"`.
    """

    name = "wasmcloud"
    acknowledges = False

    def __init__(self, *, hex: bool = False) -> None:
        self.hex = hex

    def __repr__(self) -> str:
        return f"WasmCloud(hex={self.hex})"

    def wire(self, end: End) -> _Wire:
        """See `Dialect`."""
        return _Wire(end, hex=self.hex)


class _Wire:
    def __init__(self, end: End, *, hex: bool) -> None:
        self.metadata: Mapping[str, Any] = {}
        self._end = end
        self._hex = hex

    # --- what comes ---------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: int) -> Iterator[Envelope | Garbled]:
        try:
            yield Envelope("data", self._end.new_id(), milliseconds(now), self._payload(message))
        except Garbled as problem:
            yield problem

    def receive_end(self, now: int) -> Iterator[Envelope | Garbled]:
        return iter(())

    def _payload(self, message: str | bytes) -> dict[str, Any]:
        if isinstance(message, bytes):
            try:
                message = message.decode()
            except UnicodeDecodeError:
                return {"channel": _NO_TEXT, "body": message}
        try:
            found = read_json(message)
        except NotJSON:
            found = None
        if not isinstance(found, dict):
            return {"channel": _NO_JSON, "body": message}
        subject = found.get("subject")
        body = self._body(found) if "body" in found else message
        payload = {"channel": _NO_SUBJECT if subject is None else subject, "body": body}
        for name in ("reply_to", "headers"):
            if found.get(name) is not None:
                payload[name] = found[name]
        return payload

    def _body(self, message: dict[str, Any]) -> str | bytes:
        body, encoding = message["body"], message.get("encoding")
        if isinstance(body, list):
            if not all(type(each) is int and 0 <= each < 256 for each in body):
                raise Garbled("malformed_body")
            return bytes(body)
        if not isinstance(body, str):
            raise Garbled("malformed_body")
        if encoding is None:
            encoding = "hex" if self._hex else "text"
        try:
            if encoding == "base64":
                return base64.b64decode(body.encode("ascii"), validate=True)
            if encoding == "hex":
                return binascii.unhexlify(body.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            raise Garbled("malformed_body") from None
        if encoding != "text":
            raise Garbled("malformed_body")
        return body

    # --- what leaves --------------------------------------------------------------------------

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        if outgoing.type == "request":
            raise Unsayable("this peer takes no requests")
        if outgoing.type != "data":
            return ()
        payload, body = outgoing.payload, outgoing.body
        message: dict[str, Any] = {"subject": outgoing.channel}
        if isinstance(body, bytes):
            digits = body.hex() if self._hex else base64.b64encode(body).decode()
            message |= {"body": digits, "encoding": "hex" if self._hex else "base64"}
        else:
            message["body"] = body if isinstance(body, str) else encode_json(body)
            if self._hex:
                message["encoding"] = "text"  # a peer of this kind would take it for digits
        message["reply_to"] = payload.get("reply_to")
        if "headers" in payload:
            message["headers"] = payload["headers"]
        return (encode_json(message),)

    def flush(self, now: int) -> Sequence[str | bytes]:
        return ()
