"""TLS: plain bytes to records and back, without I/O.

OpenSSL does the work, between two buffers in memory. So the same calls encrypt and decrypt for a
task of the loop and for a thread, and what is under TLS need not be a socket.

Order of calls: `handshake()` until it gives True, sending what is due and receiving what comes in
between; then `receive_data()` and `read()` until it gives nothing; any `send_data()` or `close()`;
and after any of these, `data_to_send()`: TLS has things of its own to say.
"""

from __future__ import annotations

import ssl

__all__ = ["TLS"]

# Plain bytes taken out at once; OpenSSL gives one record, 16 KiB, at most.
_READ = 16 * 1024
# Bytes of answers to what TLS itself was asked, until they leave. An honest peer, which asks for a
# new key once in millions of records, has one of some 30 bytes under way; OpenSSL has no bound.
_MAX_ANSWERS = 16 * 1024


class TLS:
    """One end of a TLS connection.

    Every method but `data_to_send` may raise `ssl.SSLError`: the peer broke TLS, or its certificate
    is not accepted. Then nothing more can be sent or read; what is due is an alert for the peer.

    Args:
        context: what is offered and accepted.
        server_side: whether this end was dialed.
        server_hostname: whom the certificate of the peer has to be for, and whom it is asked for.
        close_required: whether the end of the peer's bytes is an error without its close_notify.
            Where the protocol above has an end of its own, TLS adds nothing to it.

    Attributes:
        object: what the ssl module knows of this end: certificates, cipher, version, ALPN.
        context: what it was made with.
        ended: whether the peer sends no more.
        broken: whether reading has failed; then sending fails, too.
        outgoing: the records that are due, until `data_to_send()` takes them.
    """

    __slots__ = (
        "_answers",
        "_close_required",
        "_incoming",
        "_no_more",
        "broken",
        "context",
        "ended",
        "object",
        "outgoing",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        close_required: bool = False,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.context = context
        self.object = context.wrap_bio(self._incoming, self.outgoing, server_side, server_hostname)
        self._close_required = close_required
        self._no_more = False  # the socket has ended
        self._answers = 0  # bytes that reading has made due
        self.ended = False
        self.broken = False

    def handshake(self) -> bool:
        """Goes on with the handshake as far as it can; tells whether it is done."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            if self._no_more:
                raise _cut_off() from None
            return False
        return True

    def receive_data(self, data: bytes) -> None:
        """Takes in bytes from the peer; `b""` says that there will be no more."""
        if data:
            self._incoming.write(data)
        else:
            self._no_more = True

    @property
    def has_input(self) -> bool:
        """Whether anything has come that `read()` has not looked at."""
        return bool(self._incoming.pending or self.object.pending())

    def read(self) -> bytes:
        """The plain bytes of one record; `b""` when there are none now, or no more (`ended`)."""
        if self.ended:
            return b""
        if self._answers > _MAX_ANSWERS:
            raise ssl.SSLError(1, "the peer asks TLS for more and more answers, and takes none")
        due = self.outgoing.pending
        try:
            data = self.object.read(_READ)
        except ssl.SSLWantReadError:
            if self._no_more:
                if self._close_required:
                    raise _cut_off() from None
                self.ended = True
            return b""
        except ssl.SSLZeroReturnError:
            self.ended = True
            return b""
        except ssl.SSLError:
            self.broken = True
            raise
        finally:
            self._answers += self.outgoing.pending - due
        if not data:
            self.ended = True
        return data

    def send_data(self, data: bytes) -> None:
        """Encrypts bytes for the peer."""
        # Not in parts: the buffer takes all there is.
        self.object.write(data)

    def close(self) -> None:
        """Says that nothing more will be sent (close_notify). Harmless when repeated."""
        try:
            self.object.unwrap()
        except ssl.SSLError:
            pass  # the peer's own is not waited for, and it may have broken TLS before

    def data_to_send(self) -> bytes:
        """Takes the records that are due; empty when there are none."""
        self._answers = 0
        return self.outgoing.read()


def _cut_off() -> ssl.SSLEOFError:
    # OpenSSL is not told of the end: some releases of Python have it take that for a close_notify
    # (OP_IGNORE_UNEXPECTED_EOF).
    return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer has ended TLS without close_notify")
