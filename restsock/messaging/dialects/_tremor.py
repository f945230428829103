"""`Tremor`: the events of Tremor's WebSocket connectors, in any codec and with any framing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restsock.codecs import Codec, CodecError, Format, Step
from restsock.messaging.engine import check_name
from restsock.protocol import Envelope

from ._dialect import End, Garbled, Unsayable, milliseconds

if TYPE_CHECKING:
    from restsock.messaging._message import Message
    from restsock.messaging.engine import Outgoing

__all__ = ["Tremor"]

_BINARY = "binary"


class Tremor:
    """Events as Tremor's `ws_server` and `ws_client` exchange them.

    Each received message of the WebSocket goes through the framings `before` and then the codec;
    each value is a message on one channel. Messages on any channel are sent through the codec and
    the framings `after`. Each connection has its own state of these.

    The metadata of a session has `{"ws_server": {"tls", "peer": {"host", "port"}}}` at a listener,
    and `"ws_client"` if this side has dialed. The header `binary` is `"true"` for a message that
    came in a binary frame; set it to send a message in one. There are no acknowledgements and no
    requests.

    Args:
        codec: of the events: a name, a mapping of name and options, or a codec; see
            `restsock.codecs.Format`.
        before: framings for received messages; Tremor's preprocessors.
        after: framings for sent messages; Tremor's postprocessors.
        channel: the channel of received messages.
        binary: the kind of frame for messages without the header. `None` sends UTF-8 as text and
            everything else in a binary frame.

    Raises:
        ValueError: the channel is not valid, or as of `Format`.
        ImportError: a codec or framing needs a library that is not installed.
    """

    name = "tremor"
    acknowledges = False

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec = "json",
        *,
        before: Iterable[Step] = (),
        after: Iterable[Step] = (),
        channel: str = "events",
        binary: bool | None = None,
    ) -> None:
        check_name("channel", channel)
        self.channel = channel
        self.binary = binary
        self.format = Format(codec, before=before, after=after)

    def __repr__(self) -> str:
        return f"Tremor({self.format!r}, channel={self.channel!r})"

    def wire(self, end: End) -> _Wire:
        """See `Dialect`."""
        return _Wire(self, end)

    @staticmethod
    def metadata(message: Message) -> dict[str, Any]:
        """The metadata of an event as Tremor has it: that of its connection, and `binary`.

        It raises no error; a message of another dialect has none.
        """
        of_session = message.session.metadata
        kinds = ("ws_server", "ws_client")
        found: dict[str, Any] = {kind: of_session[kind] for kind in kinds if kind in of_session}
        if message.headers.get(_BINARY) == "true":
            found[_BINARY] = True
        return found


class _Wire:
    def __init__(self, dialect: Tremor, end: End) -> None:
        kind = "ws_client" if end.dialed else "ws_server"
        self.metadata: Mapping[str, Any] = {
            kind: {"tls": end.tls, "peer": {"host": end.host, "port": end.port}}
        }
        self._dialect = dialect
        self._end = end
        self._decoder = dialect.format.decoder()
        self._encoder = dialect.format.encoder()
        self._binary = dialect.binary  # of the latest message: of what is held back, too
        self._headers: dict[str, str] = {}  # of the latest one that came

    def receive(self, message: str | bytes, now: int) -> Iterator[Envelope | Garbled]:
        text = isinstance(message, str)
        self._headers = {} if text else {_BINARY: "true"}
        self._decoder.receive_data(message.encode() if isinstance(message, str) else message, now)
        return self._values()

    def receive_end(self, now: int) -> Iterator[Envelope | Garbled]:
        self._decoder.receive_end(now)
        return self._values()

    def _values(self) -> Iterator[Envelope | Garbled]:
        while True:
            try:
                found = self._decoder.next_message()
            except CodecError as exc:
                fatal = self._decoder.failed is not None
                yield Garbled(f"decode_{exc.kind}", fatal=fatal)
                continue
            if found is None:
                return
            payload = {"channel": self._dialect.channel, "body": found.value}
            if self._headers:
                payload["headers"] = self._headers
            yield Envelope("data", self._end.new_id(), milliseconds(found.time), payload)

    def encode(self, outgoing: Outgoing, now: int) -> Sequence[str | bytes]:
        if outgoing.type == "request":
            raise Unsayable("this peer takes no requests")
        if outgoing.type != "data":
            return ()
        flag = outgoing.payload.get("headers", {}).get(_BINARY)
        self._binary = self._dialect.binary if flag is None else flag == "true"
        try:
            pieces = self._encoder.encode(outgoing.body, now)
        except CodecError as exc:
            raise Unsayable(str(exc)) from exc
        return [self._frame(piece) for piece in pieces]

    def flush(self, now: int) -> Sequence[str | bytes]:
        try:
            return [self._frame(piece) for piece in self._encoder.flush(now)]
        except CodecError as exc:
            raise Unsayable(str(exc)) from exc

    def _frame(self, data: bytes) -> str | bytes:
        if self._binary:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            if self._binary is None:
                return data
            raise Unsayable("a message for a text frame is not UTF-8") from None
