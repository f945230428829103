"""permessage-deflate, without I/O: what two ends agree on, and messages made smaller (RFC 7692).

wsproto has the extension, too, but inflates whatever comes; here inflation ends at the largest
message that is accepted. `Deflate` is what one side wants, `DeflateTerms` what was agreed on, and
`MessageDeflate` does it, for one WebSocket.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, Opcode, RsvBits

from restsock._exceptions import RemoteProtocolError

from ._events import CloseCode, Headers
from ._fields import values_of

if TYPE_CHECKING:
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol

__all__ = ["Deflate", "DeflateTerms", "MessageDeflate"]

_NAME = "permessage-deflate"
_FIELD = b"sec-websocket-extensions"

# What an honest sender leaves out at the end of each message (section 7.2.1).
_TAIL = b"\x00\x00\xff\xff"

# RFC 6455, section 9.1: a value is a token, or a quoted string whose content is one.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*({_WORD})(?:[ \t]*=[ \t]*(?:({_WORD})|"({_WORD})"))?')
_EXTENSION = re.compile(rf"[ \t]*({_WORD})((?:{_PARAMETER.pattern})*)[ \t]*")
_Parameters: TypeAlias = "list[tuple[str, str | None]]"
# Offers that are looked at: each is an alternative, and an honest client has two.
_MAX_OFFERS = 8


@dataclass(frozen=True, kw_only=True)
class Deflate:
    """How to compress messages, and what to ask of the other side (permessage-deflate, RFC 7692).

    With the defaults each side holds about 50 KiB for a WebSocket on which both directions are
    compressed.
    """

    level: int = 6
    """Of zlib: 1 is quick, 9 is small."""

    window_bits: int = 12
    """Both windows have at most 2 to the power of this bytes, 9 to 15. Memory goes with it."""

    mem_level: int = 5
    """Of zlib: memory of what compresses, 1 to 9."""

    context_takeover: bool = True
    """Whether a message may refer to those before it. Without that, nothing is held between two
    messages, and short ones are hardly made smaller. Where a message has both a secret and what an
    attacker has chosen, its size may tell the secret: keep these apart, or do not compress."""

    threshold: int = 256
    """Bytes. Shorter messages are sent as they are."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("level", 0, 9),
            ("window_bits", 9, 15),
            ("mem_level", 1, 9),
            ("threshold", 0, 2**31),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(
                    f"Deflate.{name} must be a whole number in {low}..{high}, not {value!r}"
                )
        if not isinstance(self.context_takeover, bool):
            raise ValueError("Deflate.context_takeover must be True or False")

    def offer(self) -> bytes:
        """The value of Sec-WebSocket-Extensions with which a client asks for it."""
        offer = f"{_NAME}; client_max_window_bits={self.window_bits}"
        if self.window_bits < 15:
            offer += f"; server_max_window_bits={self.window_bits}"
        if not self.context_takeover:
            offer += "; client_no_context_takeover; server_no_context_takeover"
        return offer.encode("ascii")

    def accept(self, headers: Headers) -> tuple[DeflateTerms, bytes] | None:
        """What a server makes of a client's offers: the first that it can meet (section 5.1).

        One that is malformed is none; no error is raised.

        Returns:
            The terms, and the value of Sec-WebSocket-Extensions that says so; `None` without any.
        """
        for name, parameters in _extensions(headers)[:_MAX_OFFERS]:
            if name == _NAME and (terms := self._meet(parameters)) is not None:
                return terms, terms.response(parameters)
        return None

    def _meet(self, parameters: _Parameters) -> DeflateTerms | None:
        given = dict(parameters)
        if len(given) < len(parameters):
            return None
        client_bits, server_bits = 15, self.window_bits
        for name, value in parameters:
            if name.endswith("_no_context_takeover"):
                if value is not None or name not in _FLAGS:
                    return None
            elif name == "client_max_window_bits":
                # A client that does not speak of it has all 15 bits.
                client_bits = self.window_bits
                if value is not None:
                    bits = _window_bits(value)
                    if bits is None:
                        return None
                    client_bits = min(bits, client_bits)
            elif name == "server_max_window_bits":
                bits = _window_bits(value)
                if bits is None or bits < 9:  # which zlib cannot do
                    return None
                server_bits = min(bits, server_bits)
            else:
                return None
        own = not self.context_takeover
        return DeflateTerms(
            server_bits=server_bits,
            client_bits=client_bits,
            server_forgets=own or "server_no_context_takeover" in given,
            client_forgets=own or "client_no_context_takeover" in given,
        )

    def check(self, headers: Headers) -> DeflateTerms | None:
        """What a client makes of the server's answer to `offer` (section 7.1).

        Returns:
            The terms; `None` where the server has declined.

        Raises:
            RemoteProtocolError: the server has chosen what was not offered.
        """
        if not values_of(headers, _FIELD):
            return None
        chosen = _extensions(headers)
        if len(chosen) != 1 or chosen[0][0] != _NAME:
            raise RemoteProtocolError("the answer has an extension that was not offered")
        terms = self._terms_of(chosen[0][1])
        if terms is None:
            raise RemoteProtocolError("the answer has other terms of compression than were offered")
        return terms

    def _terms_of(self, parameters: _Parameters) -> DeflateTerms | None:
        """What a server's answer says; `None` where this does not fit the offer."""
        given = dict(parameters)
        bits: dict[str, int | None] = {
            "client_max_window_bits": self.window_bits,
            "server_max_window_bits": 15,
        }
        for name, value in parameters:
            if name in bits:
                bits[name] = _window_bits(value)
            elif name not in _FLAGS or value is not None:
                return None
        client, server = bits.values()
        if len(given) < len(parameters) or client is None or server is None:
            return None
        # What was asked of the server it has to confirm (sections 7.1.1.1 and 7.1.2.1).
        forgets = "server_no_context_takeover" in given
        if max(client, server) > self.window_bits or not (forgets or self.context_takeover):
            return None
        return DeflateTerms(
            server_bits=server,
            client_bits=client,
            server_forgets=forgets,
            client_forgets=not self.context_takeover or "client_no_context_takeover" in given,
        )


_FLAGS = ("client_no_context_takeover", "server_no_context_takeover")


@dataclass(frozen=True, kw_only=True)
class DeflateTerms:
    """What two ends have agreed on.

    Attributes:
        server_bits: of the window of what the server compresses.
        client_bits: likewise of the client.
        server_forgets: whether no message of the server refers to those before it.
        client_forgets: likewise of the client.
    """

    server_bits: int
    client_bits: int
    server_forgets: bool
    client_forgets: bool

    def response(self, offered: _Parameters) -> bytes:
        """The value of Sec-WebSocket-Extensions with which a server accepts an offer."""
        parts = [_NAME]
        if self.server_forgets:
            parts.append("server_no_context_takeover")
        if self.client_forgets:
            parts.append("client_no_context_takeover")
        names = [name for name, _ in offered]
        if self.server_bits < 15:
            parts.append(f"server_max_window_bits={self.server_bits}")
        if "client_max_window_bits" in names and self.client_bits < 15:
            parts.append(f"client_max_window_bits={self.client_bits}")
        return "; ".join(parts).encode("ascii")


class MessageDeflate(Extension):
    """Compresses and inflates the messages of one WebSocket, in the order in which they cross.

    Args:
        terms: what was agreed on.
        deflate: how this side compresses.
        client: which side this is.
        max_message: bytes of the largest message that is accepted.
    """

    name = _NAME

    def __init__(
        self, terms: DeflateTerms, deflate: Deflate, *, client: bool, max_message: int
    ) -> None:
        self._deflate = deflate
        self._max_message = max_message
        self._own_bits = terms.client_bits if client else terms.server_bits
        self._peer_bits = terms.server_bits if client else terms.client_bits
        self._forgets = terms.client_forgets if client else terms.server_forgets
        self._peer_forgets = terms.server_forgets if client else terms.client_forgets
        self._compressor: Any = None
        self._inflater: Any = None
        self._compressed = False  # whether the message that is coming is
        self._midway = False  # whether a message has begun to come
        self._in_data = False  # whether the frame that is coming is one of it
        self._inflated = 0  # bytes of that message

    # --- out ----------------------------------------------------------------------------------

    def compress(self, data: bytes) -> bytes | None:
        """The payload of a message, made smaller; `None` where it is to be sent as it is."""
        deflate = self._deflate
        if len(data) < deflate.threshold or self._own_bits < 9:  # which zlib cannot do
            return None
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(
                deflate.level, zlib.DEFLATED, -self._own_bits, deflate.mem_level
            )
        if not self._forgets:
            self._compressor = compressor
        smaller: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return smaller[: -len(_TAIL)]

    # --- in: called by wsproto ------------------------------------------------------------------

    @property
    def receiving(self) -> bool:
        """Whether the message that is coming is compressed."""
        return self._compressed

    def enabled(self) -> bool:
        """It was agreed on."""
        return True

    def offer(self) -> bool:
        """For wsproto's own handshake, which is not used."""
        return False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        """Sees whether a message is compressed: its first frame says so (section 6.1)."""
        self._in_data = not opcode.iscontrol()
        first = self._in_data and opcode is not Opcode.CONTINUATION
        # A frame out of turn is wsproto's to find, but not before it would be inflated.
        if (rsv.rsv1 and not first) or (self._in_data and first is self._midway):
            return CloseReason.PROTOCOL_ERROR
        if first:
            self._midway = True
            self._compressed = rsv.rsv1
            self._inflated = 0
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """Inflates a piece of a frame."""
        if not (self._compressed and self._in_data):
            return data
        return self._inflate(data)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        """Inflates the end that a message was sent without."""
        if not (self._in_data and fin):
            return None
        self._midway = False
        if not self._compressed:
            return None
        # Without an inflater nothing is missing: the last block has said that it was the last.
        rest = b"" if self._inflater is None else self._inflate(_TAIL, ending=True)
        self._compressed = False
        if self._peer_forgets:
            self._inflater = None
        return rest

    def _inflate(self, data: bytes, *, ending: bool = False) -> bytes | CloseReason:
        """What bytes inflate to.

        Raises:
            RemoteProtocolError: that is more than is accepted. No more than that was inflated.
        """
        parts: list[bytes] = []
        while data:
            if self._inflater is None:
                self._inflater = zlib.decompressobj(-max(self._peer_bits, 9))
            room = self._max_message - self._inflated + 1
            try:
                part = self._inflater.decompress(data, room)
            except zlib.error:
                return CloseReason.INVALID_FRAME_PAYLOAD_DATA
            self._inflated += len(part)
            if self._inflated > self._max_message:
                raise RemoteProtocolError(
                    f"a message of more than {self._max_message} bytes, once it is inflated",
                    close_code=CloseCode.TOO_BIG,
                    limit="max_message",
                )
            parts.append(part)
            data = b""
            if self._inflater.eof:
                # A last block, after which another stream may begin (section 7.2.3.5); but no more
                # comes after the end of the message, which is ours.
                after, self._inflater = self._inflater.unused_data, None
                data = b"" if ending else after
        return b"".join(parts)


def _window_bits(value: str | None) -> int | None:
    """A number of bits, written as sections 7.1.2.1 and 7.1.2.2 want it; else `None`."""
    if value is None or not re.fullmatch(r"[89]|1[0-5]", value):
        return None
    return int(value)


def _extensions(headers: Headers) -> list[tuple[str, _Parameters]]:
    """The extensions of a field, each with its parameters; none where it is malformed."""
    text = b",".join(values_of(headers, _FIELD)).decode("latin-1")
    found: list[tuple[str, _Parameters]] = []
    at = 0
    while at <= len(text):
        match = _EXTENSION.match(text, at)
        if match is None:
            # An empty element of a list is allowed (RFC 9110, section 5.6.1).
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            if text[at:end].strip(" \t"):
                return []
        else:
            end = match.end()
            if text[end : end + 1] not in ("", ","):
                return []
            parameters = [
                (name.lower(), token or quoted or None)
                for name, token, quoted in _PARAMETER.findall(match[2])
            ]
            found.append((match[1].lower(), parameters))
        at = end + 1
    return found
