"""Codecs and framings of messages: bytes in, values out, and back. There is no I/O in here.

A *codec* decodes a message to values, and encodes a value as a message: JSON, MessagePack, the line
protocol of InfluxDB. A *framing* is a step between the bytes of a connection and its messages: it
splits a stream at line ends, or decompresses. A `Format` is a codec with framings on either side:

    readings = Format("json", before=["separate"], after=["separate"])

    decoder = readings.decoder()  # the state of one connection
    decoder.receive_data(data, time.time_ns())
    message = decoder.next_message()

    for data in readings.encoder().encode({"t": 21.5}, time.time_ns()):
        ...

Everything that a peer sends becomes values or a `CodecError`. Everything is limited: `max_length`,
`max_depth` and `max_items` have defaults, and `max_length` also applies to decompressed data. Times
are passed in, in nanoseconds since 1970.

JSON, YAML, CSV, text and the formats of metrics and logs need no other library. The others need
`pip install 'restsock[codecs]'`. docs/connectors.md lists them all, with their options.
"""

from __future__ import annotations

from restsock._exceptions import CodecError

from ._bounds import MAX_LENGTH
from ._codec import CODECS, Codec, codec
from ._framing import (
    AFTER_ENCODING,
    BEFORE_DECODING,
    Chain,
    Framing,
    Piece,
    Step,
    after_encoding,
    before_decoding,
)
from ._messages import Decoded, Decoder, Encoder, Format

__all__ = [
    "AFTER_ENCODING",
    "BEFORE_DECODING",
    "CODECS",
    "MAX_LENGTH",
    "Chain",
    "Codec",
    "CodecError",
    "Decoded",
    "Decoder",
    "Encoder",
    "Format",
    "Framing",
    "Piece",
    "Step",
    "after_encoding",
    "before_decoding",
    "codec",
]
