"""`Measure` and `Trace`: instruments are told of calls."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import trio

from restsock._patterns import like
from restsock.connection import Instrument, InstrumentLike, Instruments, instruments_of
from restsock.gateway._middleware import Middleware

from ._outcomes import status_of
from ._parts import when_over

if TYPE_CHECKING:
    from restsock.gateway._backend import Call
    from restsock.gateway._message import Message, Reply

__all__ = ["Measure", "Trace"]

_OTHER = "other"


class _Keys:
    """The keys that are told apart. A key is a client's word, and there is no end of them."""

    def __init__(self, keys: str | Collection[str]) -> None:
        self._patterns = (keys,) if isinstance(keys, str) else tuple(keys)

    def of(self, message: Message) -> str:
        """The pattern that the key is like; `"other"` if there is none."""
        key = message.key
        return next((one for one in self._patterns if like(one, key)), _OTHER)


class Measure(Middleware):
    """Reports each call to an instrument: how it ended, and how long it took.

        middleware=[Measure(PrometheusInstrument(), keys=["orders.*"]), ...]

    Args:
        instrument: One or several; see `Instrument.call_closed`.
        channel: By which the calls are known to it.
        keys: Patterns of the keys that it tells apart; all others are `"other"`.

    Raises:
        TypeError: This is no instrument.
    """

    def __init__(
        self,
        instrument: InstrumentLike,
        *,
        channel: str = "gateway",
        keys: str | Collection[str] = (),
    ) -> None:
        self._instruments = _checked(instrument, "Measure")
        self._channel = channel
        self._keys = _Keys(keys)

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`. Raises what the call does."""
        key, began = self._keys.of(message), trio.current_time()

        def closed(status: int, error: BaseException | None) -> None:
            outcome = "answered"
            if error is not None and not isinstance(error, Exception):
                outcome, status = "cancelled", 0
            elif error is not None:
                outcome, status = "failed", status_of(error)
            elif status >= 400:
                outcome = "failed"
            seconds = trio.current_time() - began
            self._instruments.call_closed(self._channel, key, outcome, status, seconds)

        self._instruments.call_opened(self._channel, key)
        try:
            reply = await call_next(message)
        except BaseException as exc:
            closed(0, exc)
            raise
        return when_over(reply, lambda error: closed(reply.status, error))


class Trace(Middleware):
    """Opens a span for each call, and passes its context on in the header fields of the message.

        Channel("/ws", Action(), router, middleware=[Trace()])

    The span is a child of the client's, if the dialect has header fields, and is current for
    everything inside this middleware. It ends with the reply, before any parts. A failure of 500
    and above is recorded as its error.

    Args:
        instrument: One or several that trace; by default an `OpenTelemetryInstrument`, which needs
            `restsock[opentelemetry]`.
        channel: By which the calls are known to it.
        keys: Patterns of the keys that name spans of their own; all others share one name.

    Raises:
        TypeError: This is no instrument, or one that traces no calls.
        ImportError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        instrument: InstrumentLike | None = None,
        *,
        channel: str = "gateway",
        keys: str | Collection[str] = (),
    ) -> None:
        if instrument is None:
            try:
                from restsock.instruments.opentelemetry import OpenTelemetryInstrument
            except ImportError as exc:
                raise ImportError(
                    "Trace needs OpenTelemetry: pip install 'restsock[opentelemetry]'"
                ) from exc
            instrument = OpenTelemetryInstrument()
        if isinstance(instrument, Instrument) and not _traces(instrument):
            kind = type(instrument).__name__
            raise TypeError(f"Trace needs an Instrument that traces; {kind} has no call_begun")
        self._instruments = _checked(instrument, "Trace")
        self._channel = channel
        self._keys = _Keys(keys)

    async def __call__(self, message: Message, call_next: Call) -> Reply:
        """See `Middleware`. Raises what the call does."""
        instruments = self._instruments
        key = self._keys.of(message)
        token = instruments.call_begun(self._channel, key, message.headers)
        status, error = 0, None
        try:
            fields = instruments.call_fields()
            if fields:
                message = message.replace(headers={**message.headers, **fields})
            reply = await call_next(message)
            status = reply.status
            return reply
        except BaseException as exc:
            error = exc
            if isinstance(exc, Exception):
                status = status_of(exc)
            raise
        finally:
            instruments.call_ended(token, status, error)


def _traces(instrument: Instrument) -> bool:
    return type(instrument).call_begun is not Instrument.call_begun


def _checked(instrument: InstrumentLike, what: str) -> Instruments:
    try:
        found = instruments_of(instrument)
    except TypeError as exc:
        raise TypeError(f"{what} needs an Instrument, or several: {exc}") from None
    if found is None:
        raise TypeError(f"{what} needs an Instrument")
    return found
