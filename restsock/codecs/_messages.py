"""Codec and framings together: the formats of a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from restsock._exceptions import CodecError

from ._codec import Codec, codec
from ._framing import Chain, Piece, Step, after_encoding, before_decoding

__all__ = ["Decoded", "Decoder", "Encoder", "Format"]


class Decoded(NamedTuple):
    """A value that was received.

    Attributes:
        value: The decoded value.
        time: When its last byte arrived, in nanoseconds since 1970; with `ingest-ns`, the time that
            the sender wrote.
    """

    value: Any
    time: int


class Format:
    """The format of messages: a codec, and framings before and after it.

        readings = Format("json", before=["separate"], after=["separate"])

    It is checked when it is made, and can be used for all connections. The state of one connection
    is in `decoder()` and `encoder()`.

    Args:
        codec: A codec, or the `config` of `restsock.codecs.codec`.
        before: Framings for incoming data, as in `before_decoding`.
        after: Framings for outgoing data, as in `after_encoding`.

    Raises:
        ValueError: There is no such codec, framing or option, or a value is not valid. The message
            suggests the most similar name.
        ImportError: A library is not installed; the message says which extra has it.
    """

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec,
        *,
        before: Iterable[Step] = (),
        after: Iterable[Step] = (),
    ) -> None:
        self._codec = _codec_of(codec)
        self._before = _steps(before)
        self._after = _steps(after)
        self.decoder()
        self.encoder()

    def __repr__(self) -> str:
        return f"<format {self._codec.name}>"

    def decoder(self) -> Decoder:
        """Makes a decoder for the messages of one connection."""
        return Decoder(self._codec, before_decoding(self._before))

    def encoder(self) -> Encoder:
        """Makes an encoder for the messages of one connection."""
        return Encoder(self._codec, after_encoding(self._after))


class Decoder:
    """Decodes the messages of one connection.

        decoder.receive_data(data, time.time_ns())
        while True:
            try:
                message = decoder.next_message()
            except CodecError as exc:
                ...  # this one is lost; the next call goes on after it
            ...  # None: wait for more data

    Messages are decoded one by one on request, so that many messages in one piece take the memory
    of only one. Call `next_message` until it returns `None` before you pass more data.

    Attributes:
        failed: The error after which nothing more can be decoded, or `None`. Close the connection.
    """

    def __init__(self, codec: Codec, framing: Chain) -> None:
        self._codec = codec
        self._framing = framing
        self._inputs: deque[Iterator[Piece | CodecError]] = deque()
        self._values: deque[Decoded] = deque()
        self.failed: CodecError | None = None

    def receive_data(self, data: bytes, now: int) -> None:
        """Passes a part of a stream, or a message. After `failed` it is dropped.

        Args:
            data: The received bytes.
            now: The time in nanoseconds since 1970.
        """
        if self.failed is None:
            self._inputs.append(self._framing.feed(Piece(bytes(data), now)))

    def receive_end(self, now: int) -> None:
        """Ends the stream: data that the framings still hold becomes messages."""
        if self.failed is None:
            self._inputs.append(self._framing.finish(now))

    def next_message(self) -> Decoded | None:
        """The next value, or `None` if more data is needed.

        Raises:
            CodecError: The next message is invalid. Unless the error is `fatal`, the next call
                continues with the message after it.
        """
        while True:
            if self._values:
                return self._values.popleft()
            if not self._inputs:
                return None
            item = next(self._inputs[0], None)
            if item is None:
                self._inputs.popleft()
            elif isinstance(item, CodecError):
                self._fail(item)
            else:
                values = self._codec.decode(item.data, item.time)
                self._values.extend(Decoded(value, item.time) for value in values)

    def _fail(self, error: CodecError) -> None:
        if error.fatal:
            self.failed = error
            self._inputs.clear()
        raise error


class Encoder:
    """Encodes the messages of one connection."""

    def __init__(self, codec: Codec, framing: Chain) -> None:
        self._codec = codec
        self._framing = framing
        self._ready: list[bytes] = []

    def encode(self, value: Any, now: int) -> list[bytes]:
        """Encodes a value; returns the messages to send now, which may be none or several.

        Args:
            value: The value.
            now: The time in nanoseconds since 1970.

        Raises:
            CodecError: The value cannot be encoded. Messages of earlier values are not lost: the
                next call returns them.
        """
        return self._run(self._framing.feed(Piece(self._codec.encode(value), now)))

    def flush(self, now: int) -> list[bytes]:
        """Returns the messages that wait to be joined (`chunk`, `collect`). It can be used again.

        Args:
            now: The time in nanoseconds since 1970.

        Raises:
            CodecError: As for `encode`.
        """
        return self._run(self._framing.finish(now))

    def _run(self, items: Iterator[Piece | CodecError]) -> list[bytes]:
        error: CodecError | None = None
        for item in items:
            if not isinstance(item, CodecError):
                self._ready.append(item.data)
            elif error is None:
                error = item
        if error is not None:
            raise error
        ready, self._ready = self._ready, []
        return ready


def _codec_of(given: str | Mapping[str, Any] | Codec) -> Codec:
    return codec(given) if isinstance(given, (str, Mapping)) else given


def _steps(given: Iterable[Step]) -> list[Step]:
    return [given] if isinstance(given, (str, Mapping)) else list(given)
