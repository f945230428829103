"""Codec and framings together: what a connection reads and writes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from restsock._exceptions import CodecError

from ._codec import Codec, codec
from ._framing import Chain, Piece, Step, after_encoding, before_decoding

__all__ = ["Decoded", "Decoder", "Encoder", "Format"]


class Decoded(NamedTuple):
    """A value that has come.

    Attributes:
        value: What the codec made of the message.
        time: When the last byte of it came, in nanoseconds since 1970; with `ingest-ns`, what the
            sender wrote.
    """

    value: Any
    time: int


class Format:
    """How messages are written: a codec, and framings on either side of it.

        readings = Format("json", before=["separate"], after=["separate"])

    It is checked when it is made, and does for all connections. The state of one is in `decoder()`
    and `encoder()`.

    Args:
        codec: As in `restsock.codecs.codec`, or a codec.
        before: Framings for what comes in, as in `before_decoding`.
        after: Framings for what goes out, as in `after_encoding`.

    Raises:
        ValueError: There is no such codec, framing or option, or a value is not valid. The message
            names the nearest one.
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
        """What reads the messages of one connection."""
        return Decoder(self._codec, before_decoding(self._before))

    def encoder(self) -> Encoder:
        """What writes the messages of one connection."""
        return Encoder(self._codec, after_encoding(self._after))


class Decoder:
    """Reads the messages of one connection.

        decoder.receive_data(data, time.time_ns())
        while True:
            try:
                message = decoder.next_message()
            except CodecError as exc:
                ...  # this one is lost; the next call goes on after it
            ...  # None: wait for more data

    Messages are made one by one as they are asked for, so that what a peer has packed together
    takes the memory of one. Ask until there is `None` before more data is given.

    Attributes:
        failed: The error after which nothing more can be read, or `None`. Close the connection.
    """

    def __init__(self, codec: Codec, framing: Chain) -> None:
        self._codec = codec
        self._framing = framing
        self._inputs: deque[Iterator[Piece | CodecError]] = deque()
        self._values: deque[Decoded] = deque()
        self.failed: CodecError | None = None

    def receive_data(self, data: bytes, now: int) -> None:
        """Takes part of a stream, or a message. After `failed` it is dropped.

        Args:
            data: What has come.
            now: Nanoseconds since 1970.
        """
        if self.failed is None:
            self._inputs.append(self._framing.feed(Piece(bytes(data), now)))

    def receive_end(self, now: int) -> None:
        """Says that the stream has ended: what the framings still hold becomes messages."""
        if self.failed is None:
            self._inputs.append(self._framing.finish(now))

    def next_message(self) -> Decoded | None:
        """The next value, or `None` when more data has to come first.

        Raises:
            CodecError: The next message is wrong. Unless that is `fatal`, the next call goes on
                with the one after it.
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
    """Writes the messages of one connection."""

    def __init__(self, codec: Codec, framing: Chain) -> None:
        self._codec = codec
        self._framing = framing
        self._ready: list[bytes] = []

    def encode(self, value: Any, now: int) -> list[bytes]:
        """What is to be sent now for a value: none, one or several messages.

        Args:
            value: What the codec takes.
            now: Nanoseconds since 1970.

        Raises:
            CodecError: It cannot be written. What was to be sent for earlier values is not lost:
                the next call gives it.
        """
        return self._run(self._framing.feed(Piece(self._codec.encode(value), now)))

    def flush(self, now: int) -> list[bytes]:
        """What waits to be sent together with more (`chunk`, `collect`). It can go on after that.

        Args:
            now: Nanoseconds since 1970.

        Raises:
            CodecError: As in `encode`.
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
