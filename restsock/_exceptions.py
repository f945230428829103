"""Every error that restsock raises, in one tree.

::

    RestsockError
    ├── ProtocolError
    │   ├── LocalProtocolError     this side did what the protocol forbids: a bug of the caller
    │   └── RemoteProtocolError    the peer did; anything else out of `protocol` is our bug
    ├── HandshakeError             the upgrade or the handshake failed
    ├── ConnectionClosed           the connection has ended, for whatever reason
    ├── StreamError                one exchange has failed, the connection goes on
    │   ├── StreamReset            it was cut off after it may have reached the peer's app
    │   └── StreamRefused          it never reached the peer's app
    ├── WebSocketError             a WebSocket to an app of the peer
    │   ├── WebSocketRefused       the app gave another answer
    │   └── WebSocketClosed        it is closed, for whatever reason
    ├── RequestTimeout             (also a `TimeoutError`) a phase of a request took too long
    ├── CodecError                 a message cannot be decoded, or a value not be encoded
    ├── PeerNotFound               no peer of that name or id was ever seen
    ├── PeerUnavailable            the peer is known, and not connected now
    ├── SpecError                  an OpenAPI document cannot be found, read or used
    └── ValidationError            a message breaks the API's contract
        ├── RequestValidationError     a request does; it was not sent
        └── ResponseValidationError    a response does

Whether a request may be sent again is said by `RestsockError.may_have_run`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = [
    "CodecError",
    "ConnectionClosed",
    "HandshakeError",
    "LocalProtocolError",
    "PeerNotFound",
    "PeerUnavailable",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "RequestValidationError",
    "ResponseValidationError",
    "RestsockError",
    "SpecError",
    "StreamError",
    "StreamRefused",
    "StreamReset",
    "ValidationError",
    "WebSocketClosed",
    "WebSocketError",
    "WebSocketRefused",
]


E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """The same error, without its traceback and those of what it was made from.

    For errors that say all there is to know, such as a refused connection. What shows their
    traceback then shows where the caller was, and not twenty frames of this package. What the
    caller was handling when it called is left alone: it was not caught in here.
    """
    found: dict[int, BaseException] = {}
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in found:
            found[id(one)] = one
            one.__traceback__ = None
            left += [one.__cause__, *getattr(one, "exceptions", ())]
            if one.__context__ is not None and _caught_here(one.__context__):
                left.append(one.__context__)
    return error


def _caught_here(error: BaseException) -> bool:
    """Whether it went no further than this package: a traceback begins where it was caught."""
    top = error.__traceback__
    module = "" if top is None else str(top.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in ("restsock", "trio", "anyio")


class RestsockError(Exception):
    """The base of all errors of restsock.

    Attributes:
        may_have_run: `False` when the peer's app provably never saw the request, so that sending it
            again is safe even for a POST; `True` when it may have run; `None` when the error is not
            about a request.
    """

    may_have_run: bool | None = None


class ProtocolError(RestsockError):
    """The protocol was broken. Raised as one of its two subclasses."""


class LocalProtocolError(ProtocolError):
    """This side tried what the protocol forbids: a bug of the caller. The wrong data was not sent.

    `may_have_run` is `True` when an earlier part of the same request has left already.
    """

    may_have_run = False


class RemoteProtocolError(ProtocolError):
    """The peer did what the protocol forbids.

    Attributes:
        close_code: the WebSocket close code that says so (spec/protocol.md, "Close codes").
        limit: the field of `Limits` that was passed, if that is what was wrong.
    """

    def __init__(self, message: str, *, close_code: int = 4002, limit: str | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code
        self.limit = limit


class HandshakeError(RestsockError):
    """The WebSocket upgrade or the handshake after it failed; there is no connection.

    Attributes:
        status: the HTTP status of a refused upgrade, or of a proxy on the way that would not
            connect, else `None`.
        retryable: whether dialing again may help: yes for a time-out or a 503, no for a 401 or
            for a server that does not speak restsock.
        by_listener: whether the listener itself refuses this dialer: its credentials are wrong, or
            its name is not allowed. A proxy or another server in its place cannot say that.
        limit: the limit that was exceeded, by the name of its counter, if that was the reason.
    """

    may_have_run = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retryable: bool = True,
        by_listener: bool = False,
        limit: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable
        self.by_listener = by_listener
        self.limit = limit


class ConnectionClosed(RestsockError):
    """The connection has ended.

    Attributes:
        code: the WebSocket close code; 1006 when the socket ended without one.
        reason: the text that came with the code.
    """

    def __init__(
        self, message: str, *, code: int = 1006, reason: str = "", may_have_run: bool | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.may_have_run = may_have_run


class StreamError(RestsockError):
    """One exchange has failed; the connection it was on goes on."""


class StreamReset(StreamError):
    """The exchange was cut off; the peer's app may have run.

    Attributes:
        code: the reset code (spec/protocol.md, "Reset codes").
        reason: the text that came with the code.
        by_peer: whether the peer cut it off, or this side.
    """

    may_have_run = True

    def __init__(self, message: str, *, code: int, reason: str = "", by_peer: bool) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer


class StreamRefused(StreamError):
    """The peer provably did not start on the request; sending it again is safe."""

    may_have_run = False


class WebSocketError(RestsockError):
    """A WebSocket to an app of the peer was not opened, or is closed. The app may have run."""

    may_have_run = True


class WebSocketRefused(WebSocketError):
    """The peer's app, or what serves it, has answered a request for a WebSocket in another way.

    Attributes:
        status: 403 where the app has closed the WebSocket before it accepted it, 404 mostly where
            the app has no such route, 200 where the route is one for plain requests.
        response: the whole answer: `headers`, and of its `content` up to 64 KiB.
    """

    def __init__(self, message: str, *, status: int, response: Any) -> None:
        super().__init__(message)
        self.status = status
        self.response = response


class WebSocketClosed(WebSocketError):
    """The WebSocket is closed; which messages the app has taken is not known.

    Its `__cause__` is what went wrong, if anything did: the error of the connection or the stream,
    or a `RemoteProtocolError`.

    Attributes:
        code: what it was closed with, by whichever side was first (RFC 6455, section 7.4); 1005
            when no code was given, 1006 when it ended without a close. When the connection of the
            two peers has ended, this is the code of that: 1001 after a drain, for example.
        reason: the text that came with the code.
        clean: whether that is in order: 1000, 1001, or a close without a code.
    """

    def __init__(self, message: str, code: int, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.clean = code in (1000, 1001, 1005)


class RequestTimeout(RestsockError, TimeoutError):
    """A phase of a request took longer than allowed; the stream was reset.

    Attributes:
        phase: `"connect"` (no connection, or no free stream, in time), `"write"` (the peer took no
            more of the body), `"head"` (no response head) or `"body"` (no further bytes).
    """

    def __init__(self, message: str, *, phase: str, may_have_run: bool = True) -> None:
        super().__init__(message)
        self.phase = phase
        self.may_have_run = may_have_run


class CodecError(RestsockError):
    """Bytes cannot be decoded, or a value cannot be encoded. Nothing else of the data is affected.

    All that a peer sends comes out of `restsock.codecs` as values or as this error. The text shows
    nothing of the data, since that may be a secret. Decoding or encoding the same again fails
    again.

    Attributes:
        kind: what is wrong, for programs and counters:

            - `"malformed"`: the bytes are not what the format says.
            - `"truncated"`: they end too early, or pieces of them never came.
            - `"too_large"`: more bytes than `max_length`, before or after they are decompressed.
            - `"too_deep"`: more lists and mappings within each other than `max_depth`.
            - `"too_many"`: more values than `max_items`.
            - `"unsupported"`: the format allows it, but it is not taken from a peer, or a library
              for it is not installed.
            - `"value"`: the format has no way to write this value.
        fatal: whether the rest of the stream is lost, since nobody can tell where its next message
            begins. A connection on which that happens has to be closed.
    """

    def __init__(self, message: str, *, kind: str, fatal: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.fatal = fatal


class PeerNotFound(RestsockError):
    """No peer of that name or id was ever seen. Nothing was sent."""

    may_have_run = False


class PeerUnavailable(RestsockError):
    """The peer is known and not connected now. Nothing was sent."""

    may_have_run = False


class SpecError(RestsockError):
    """An OpenAPI document cannot be found, read or used. No request of the caller's was sent."""

    may_have_run = False


class ValidationError(RestsockError):
    """A request or a response breaks the API's contract.

    Attributes:
        errors: what is wrong, one mapping each: `detail` says it, `in` and `name` say where, and
            `pointer` is a JSON pointer (RFC 6901) into the value, as in RFC 9457. They show no
            value, since it may be a secret.
    """

    def __init__(self, message: str, *, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class RequestValidationError(ValidationError):
    """A request breaks the API's contract. It was not sent, and would fail again."""

    may_have_run = False


class ResponseValidationError(ValidationError):
    """A response breaks the API's contract. The request has run.

    Attributes:
        response: the response, its body read; of the type that the caller would have got.
    """

    may_have_run = True

    def __init__(
        self, message: str, *, errors: Sequence[Mapping[str, Any]] = (), response: Any = None
    ) -> None:
        super().__init__(message, errors=errors)
        self.response = response


def fork_error(what: str, pid: int) -> RestsockError:
    """What to raise where something is used in a fork of the process that it belongs to."""
    return RestsockError(
        f"this {what} belongs to process {pid}, not to its fork {os.getpid()}:"
        " a connection does not survive a fork; open a new one in this process"
    )
