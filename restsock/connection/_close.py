"""How a connection ended, the codes that say so, and where its peer is."""

from __future__ import annotations

from dataclasses import dataclass

from restsock._exceptions import RestsockError, StreamRefused, StreamReset
from restsock.protocol import CLOSE_CODES, CloseCode, RequestHead, ResetCode, StreamFailed

__all__ = [
    "CLEAN",
    "Closed",
    "Peer",
    "check_close_code",
    "check_websocket_code",
    "printable",
    "stream_error",
]


# What a close on purpose says. 1005 is what a close frame without a code stands for.
CLEAN = frozenset(
    (
        CloseCode.NORMAL,
        CloseCode.GOING_AWAY,
        CloseCode.NO_STATUS,
        CloseCode.SERVICE_RESTART,
        CloseCode.REPLACED,
    )
)


# What RFC 6455 and its registry let an endpoint say of itself, and what is free for applications.
_SENDABLE = frozenset((1000, 1001, 1011, 1012, 1013, *range(3000, 5000)))


def printable(words: str) -> str:
    """The peer's words, fit for a log: one line without control characters."""
    return "".join(c if c.isprintable() else "?" for c in words)


def check_close_code(code: int) -> None:
    """Raises ValueError for a close code that cannot be sent."""
    if code not in _SENDABLE:
        raise ValueError(f"{code!r} is not a close code to send: 1000, 1001, 1011-1013, 3000-4999")


def check_websocket_code(code: int) -> None:
    """Raises ValueError for a code that a plain WebSocket cannot be closed with."""
    if code not in CLOSE_CODES:
        raise ValueError(
            f"{code!r} is not a close code to send: 1000 to 1003, 1007 to 1014, 3000 to 4999"
        )


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the other end is.

    Over a Unix socket it has no address: `host` is empty and `port` 0. Where there is no socket,
    `host` is a description.

    Of a dialer that comes through a trusted proxy it is what the proxy says, `port` 0 where it does
    not say it; `tls` is that of the socket, and so of the proxy.
    """

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.host else "a Unix socket"

    def scheme_of(self, head: RequestHead) -> str:
        """The scheme of a request's URL: what its caller says, else whether this has TLS.

        The caller's URL need not fit the connection: TLS may end in front of it, or the request
        may go to a name inside of the tunnel. Links and cookies have to fit that URL.
        """
        return head.scheme or ("https" if self.tls else "http")


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended.

    Attributes:
        clean: whether one side closed it on purpose (1000, 1001, 1012, 4004), said so,
            and the other has answered.
        code: the WebSocket close code; 1006 when the socket ended without one.
        reason: why, in words.
        by_peer: whether the peer began it.
    """

    clean: bool
    code: int
    reason: str
    by_peer: bool

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()


def stream_error(event: StreamFailed) -> RestsockError:
    """The error that an end of a stream amounts to."""
    reason = printable(event.reason)
    words = f": {reason}" if reason else ""
    if event.by_peer and event.code == ResetCode.REFUSED:
        return StreamRefused(f"the peer refused the request before it started{words}")
    try:
        code = ResetCode(event.code).name
    except ValueError:
        code = str(event.code)
    who = "the peer" if event.by_peer else "this side"
    return StreamReset(
        f"{who} reset the stream, {code}{words}",
        code=event.code,
        reason=reason,
        by_peer=event.by_peer,
    )
