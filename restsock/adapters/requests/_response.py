"""The response as urllib3 gives it to `requests`: a file-like body in an `HTTPResponse`."""

from __future__ import annotations

import http
import io
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from requests.exceptions import ChunkedEncodingError, ConnectionError
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.response import HTTPResponse

from restsock._exceptions import RestsockError

from ._errors import body_error
from ._fast import new_fields

if TYPE_CHECKING:
    from requests import Response
    from urllib3 import HTTPHeaderDict
    from urllib3.util import Retry

    from restsock.protocol import RequestHead, ResponseHead
    from restsock.threads import ThreadExchange, ThreadUpload


__all__ = ["TunnelBody", "TunnelResponse", "build_raw", "read_content"]

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


class TunnelBody(io.RawIOBase):
    """The body of one response, as a file that closes itself at its end.

    Closing it in any way (`close()`, `with`, the garbage collector) resets a stream that is not
    complete, so that the peer's app learns that its response is no longer read.

    Args:
        exchange: The exchange.
        timeout: Seconds to wait for more bytes; `None` waits indefinitely.
        upload: The rest of the request body.
        head: The head of the request.
    """

    def __init__(
        self,
        exchange: ThreadExchange,
        timeout: float | None,
        upload: ThreadUpload | None,
        head: RequestHead,
    ) -> None:
        self._exchange = exchange
        self._timeout = timeout
        self._upload = upload
        self._head = head
        self._left: int | None = None
        self._piece = b""
        self._at = 0

    def expect(self, length: int | None) -> None:
        """Sets the length of the body, if known; it is then complete at its last byte.

        Some apps continue after the last byte and end the stream later (`call_on_close` in Flask).
        A caller on a socket does not wait for that, and neither does this.
        """
        self._left = length
        if length == 0:
            self._complete()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads `size` bytes, or all; fewer only at the end.

        Raises:
            urllib3.exceptions.ReadTimeoutError: Nothing came in time.
            urllib3.exceptions.ProtocolError: The response broke off.
        """
        parts = []
        if size is None or size < 0:
            while not self.closed:
                parts.append(self._take())
            return b"".join(parts)
        while size > 0 and (data := self._take(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)  # a piece that fits is not copied

    def read1(self, size: int | None = -1, /) -> bytes:
        """Reads what has arrived, at most `size` bytes; waits only if there is nothing.

        Raises:
            urllib3.exceptions.ReadTimeoutError: Nothing came in time.
            urllib3.exceptions.ProtocolError: The response broke off.
        """
        return b"" if size == 0 else bytes(self._take(size))

    def _take(self, size: int | None = -1) -> bytes | memoryview:
        """Takes what has arrived, at most `size` bytes, without copying; `b""` at the end."""
        if self.closed:
            return b""
        piece, at = self._piece, self._at
        if at == len(piece):
            piece, at = self._receive(), 0
        end = len(piece)
        if size is not None and 0 <= size < end - at:
            end = at + size
            self._piece, self._at = piece, end
        else:
            self._piece, self._at = b"", 0
            self._close_at_end()
        return piece if end - at == len(piece) else memoryview(piece)[at:end]

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._take(len(view)) if view else b""
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._piece, self._at = b"", 0
            self._upload = None
            self._exchange.close()

    # Attributes of `http.client.HTTPResponse`, which some clients expect here: the SDK of docker,
    # sseclient, CacheControl.

    @property
    def fp(self) -> TunnelBody | None:
        """The source of the bytes; `None` once they are read."""
        return None if self.closed else self

    @property
    def chunked(self) -> bool:
        """Whether the length of the body is not known in advance."""
        return self._left is None

    @property
    def chunk_left(self) -> int:
        """How many bytes can be read without waiting."""
        return len(self._piece) - self._at

    # Below `fp` there would be a socket. These are the only parts that such clients use.

    @property
    def raw(self) -> TunnelBody:
        return self

    @property
    def _sock(self) -> TunnelBody:
        return self

    def settimeout(self, timeout: float | None) -> None:
        """Sets the seconds to wait for more bytes; `None` waits indefinitely."""
        self._timeout = timeout

    def shutdown(self, how: int = 0) -> None:
        """Ends the body from another thread; one that waits in `read` gets a `ProtocolError`."""
        self.close()

    def _receive(self) -> bytes:
        source = self._exchange if self._upload is None else self._upload
        try:
            data = source.receive_data(self._timeout)
        except RestsockError as exc:
            self.close()
            raise body_error(exc, self._head) from exc
        except BaseException:
            # Ctrl-C, or an error of the request's body: it cannot continue.
            self.close()
            raise
        if self._left is not None:
            self._left -= len(data)
        return data

    def _close_at_end(self) -> None:
        """Closes once the last byte was returned, without waiting for more events."""
        if self._left == 0:
            self._complete()
            return
        inbox = self._exchange.inbox
        if inbox.received and not inbox.unread:
            self.close()

    def _complete(self) -> None:
        if not self.closed:
            super().close()
            self._upload = None
            self._exchange.release()


class TunnelResponse(HTTPResponse):
    """urllib3's response, except that `stream` yields bytes as they arrive."""

    def stream(
        self, amt: int | None = 2**16, decode_content: bool | None = None
    ) -> Generator[bytes]:
        """Yields the body in pieces of at most `amt` bytes.

        As over a socket: a body of known length is yielded in pieces of exactly `amt`; a body
        without a length is yielded as it arrives.
        """
        if self.length_remaining is not None and amt is not None:
            if amt <= 0 or "content-encoding" in self.headers:
                yield from super().stream(amt, decode_content)
                return
            while data := self.read_plain(amt):
                yield data
        elif amt != 0:
            while data := self.read1(amt, decode_content):
                yield data

    def shutdown(self) -> None:
        """Ends the body from another thread; one that waits in `read` gets a `ProtocolError`."""
        if self._fp is not None:
            self._fp.close()

    def read_plain(self, size: int = -1) -> bytes:
        """Reads `size` bytes of a body without content coding; with -1, the rest.

        Raises:
            urllib3.exceptions.ReadTimeoutError: Nothing came in time.
            urllib3.exceptions.ProtocolError: The response broke off.
        """
        file = self._fp
        if file is None or file.closed:
            return b""
        data = file.read(size)
        self._fp_bytes_read += len(data)
        if self.length_remaining is not None:
            self.length_remaining -= len(data)
            if self.length_remaining and len(data) != size:
                self._raw_read(1)  # raises, because the length is wrong
        return data


class _OriginalResponse:
    """The part of `http.client.HTTPResponse` that is needed: the fields, for cookies."""

    __slots__ = ("_body", "msg")

    def __init__(self, msg: HTTPHeaderDict, body: TunnelBody) -> None:
        self.msg = msg
        self._body = body

    def close(self) -> None:
        self._body.close()

    def isclosed(self) -> bool:
        return self._body.closed


def build_raw(
    head: ResponseHead, body: TunnelBody, method: str, target: str, retries: Retry | None
) -> TunnelResponse:
    """Builds `Response.raw`; the body stays unread."""
    headers = new_fields(head.headers)
    cookies = "set-cookie" in headers or "set-cookie2" in headers
    reason = head.reason.decode("latin-1") if head.reason else _PHRASES.get(head.status, "")
    raw = TunnelResponse(
        body=cast("Any", body),
        headers=headers,
        status=head.status,
        version=11,
        reason=reason,
        preload_content=False,
        decode_content=False,
        # If there is one, requests looks for cookies, which takes time.
        original_response=cast("Any", _OriginalResponse(headers, body)) if cookies else None,
        retries=retries,
        request_method=method,
        request_url=target,
    )
    raw.version_string = "HTTP/1.1"
    body.expect(raw.length_remaining)
    return raw


def read_content(response: Response, raw: TunnelResponse) -> None:
    """Reads the whole body, like `Response.content`, but without its generators."""
    content: Any = response
    try:
        content._content = raw.read_plain()
    except ProtocolError as exc:
        raise ChunkedEncodingError(exc)  # noqa: B904  # as requests does
    except ReadTimeoutError as exc:
        raise ConnectionError(exc)  # noqa: B904  # as requests does
    content._content_consumed = True
