"""What comes back through `TunnelAdapter`: bodies, streams, failures; from a scripted peer."""

from __future__ import annotations

import gc
import gzip
import io
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from requests.auth import HTTPDigestAuth
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import ProtocolError, ReadTimeoutError
from urllib3.response import HTTPResponse
from urllib3.util import Retry, Timeout

import restsock
from restsock._exceptions import (
    ConnectionClosed,
    PeerNotFound,
    PeerUnavailable,
    RequestTimeout,
    RestsockError,
    StreamRefused,
    StreamReset,
)
from restsock._options import Options, Timeouts
from restsock.adapters import TunnelAdapter
from restsock.adapters.requests import _fast
from tests.adapters.fake_tunnel import FakeExchange, FakeRequester, Loop, Script, ok

URL = "http://edge-1/"

brotli = pytest.importorskip("brotli")  # ships no types


def plain(status: int, *fields: tuple[str, str], body: bytes = b"", end: bool = True) -> Script:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(status, *fields)
        if body:
            exchange.data(body)
        if end:
            exchange.end()

    return script


def failing(error: RestsockError, *, started: bool = True) -> Script:
    def script(exchange: FakeExchange) -> None:
        if started:
            exchange.start()
        exchange.fail(error)

    return script


def silent(exchange: FakeExchange) -> None:
    exchange.start()


def never_started(exchange: FakeExchange) -> None:
    """No connection comes."""


def reset() -> StreamReset:
    return StreamReset("the peer reset the stream", code=7, by_peer=True)


# --- responses --------------------------------------------------------------------------------


def test_the_raw_response_is_urllib3s(session: requests.Session) -> None:
    response = session.post(URL, data=b"body", stream=True)
    assert isinstance(response.raw, HTTPResponse)
    assert response.raw.status == 200
    assert response.raw.version == 11
    assert response.raw.tell() == 0
    assert response.raw.read(2) == b"bo"
    assert response.raw.read() == b"dy"
    assert response.raw.read() == b""
    assert response.raw.tell() == 4
    assert response.raw.closed


def test_what_clients_look_for_in_http_clients_response(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    """As docker's SDK, sseclient and CacheControl do."""

    def pieces(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)
        for piece in (b"first ", b"second"):
            exchange.data(piece)
        exchange.end()

    tunnel.scripts = [pieces, ok]
    raw: Any = session.get(URL, stream=True).raw
    assert raw._fp.chunked
    found = []
    while not raw.closed:  # docker.api.client.APIClient._stream_helper
        data = raw.read(1)
        if not data:
            break
        if raw._fp.chunk_left:
            data += raw.read(raw._fp.chunk_left)
        found.append(data)
    assert b"".join(found) == b"first second"  # in as many pieces as have come by then
    assert raw._fp.fp is None
    raw = session.post(URL, data=b"body", stream=True).raw
    assert not raw._fp.chunked
    assert raw._fp.fp.read1(2) == b"bo"
    assert raw._fp.chunk_left == 2


def test_a_client_may_take_the_timeout_off_a_stream(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def pauses(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)

    tunnel.scripts = [pauses]
    raw: Any = session.get(URL, stream=True, timeout=0.01).raw
    raw._fp.fp.raw.settimeout(None)  # docker.api.client.APIClient._disable_socket_timeout
    threading.Timer(0.1, tunnel.exchanges[-1].data, [b"late"]).start()
    assert raw.read(4) == b"late"
    raw.close()


@pytest.mark.parametrize("way", ["docker", "urllib3"])
def test_another_thread_ends_a_stream(
    session: requests.Session, tunnel: FakeRequester, way: str
) -> None:
    def endless(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)

    tunnel.scripts = [endless]
    raw: Any = session.get(URL, stream=True).raw
    outcome: list[object] = []

    def read() -> None:
        try:
            outcome.append(raw.read(1))
        except ProtocolError as exc:
            outcome.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    if way == "docker":  # docker.types.CancellableStream.close
        raw._fp.fp.raw._sock.shutdown(2)
        raw._fp.close()
    else:
        raw.shutdown()
    reader.join(10)
    assert not reader.is_alive()
    assert isinstance(outcome[0], ProtocolError) or outcome[0] == b""
    assert tunnel.settle().resets


def test_a_text_wrapper_reads_it(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, body="a\n\u2603\n".encode())]
    response = session.get(URL, stream=True)
    response.raw.auto_close = False  # as urllib3 documents it for the wrappers of io
    assert list(io.TextIOWrapper(cast("Any", response.raw), encoding="utf-8")) == [
        "a\n",
        "\u2603\n",
    ]


@pytest.mark.parametrize("status", [200, 201, 404, 431, 500, 503, 599])
def test_any_status(session: requests.Session, tunnel: FakeRequester, status: int) -> None:
    tunnel.scripts = [plain(status, body=b"why")]
    response = session.get(URL)
    assert (response.status_code, response.content) == (status, b"why")


def test_a_reason(session: requests.Session, tunnel: FakeRequester) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(418, reason="Short And Stout")
        exchange.end()

    tunnel.scripts = [script]
    with pytest.raises(requests.HTTPError, match="418 Client Error: Short And Stout"):
        session.get(URL).raise_for_status()


def test_informational_heads_are_passed_over(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(100)
        exchange.answer(103, ("Link", "</style.css>"))
        plain(200, body=b"body")(exchange)

    tunnel.scripts = [script]
    response = session.get(URL)
    assert response.content == b"body"
    assert "Link" not in response.headers


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_body(
    session: requests.Session, tunnel: FakeRequester, method: str, status: int
) -> None:
    """Its Content-Length only describes, and nobody waits for the end of the stream."""
    tunnel.scripts = [plain(status, ("Content-Length", "1000"), end=False)]
    response = session.request(method, URL, timeout=5)
    assert response.content == b""
    assert response.headers["Content-Length"] == "1000"
    assert tunnel.settle().resets == []


def test_repeated_headers(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, ("Vary", "A"), ("vary", "B"), ("X-Bytes", "\xff"))]
    response = session.get(URL)
    assert response.headers["VARY"] == "A, B"
    assert response.raw.headers.getlist("Vary") == ["A", "B"]
    assert isinstance(response.headers["X-Bytes"], str)


def test_cookies(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [
        plain(200, ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/pets")),
        plain(200),
    ]
    response = session.get(URL + "pets/1")
    assert response.cookies.get_dict() == {"a": "1", "b": "2"}
    session.get(URL + "pets/2")
    cookie = dict(tunnel.exchanges[-1].fields)["Cookie"]
    assert sorted(cookie.split("; ")) == ["a=1", "b=2"]


def test_cookies_are_looked_for_where_there_are_some(
    session: requests.Session, tunnel: FakeRequester, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(session.cookies, "extract_cookies", lambda *args: looked.append(args))
    tunnel.scripts = [plain(200), plain(200, ("Set-Cookie", "a=1"))]
    session.get(URL)
    assert looked == []
    session.get(URL)
    assert len(looked) == 1


@pytest.mark.parametrize("known", [False, True])
def test_fields_are_those_that_urllib3_would_make(
    session: requests.Session,
    tunnel: FakeRequester,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    monkeypatch.setattr(_fast, "_FIELDS_ARE_KNOWN", known)
    fields = [("X-A", "1"), ("B", "2"), ("x-a", "3"), ("X-A", "4")]
    tunnel.scripts = [plain(200, *fields)]
    response = session.get(URL)
    expected = HTTPHeaderDict()
    for name, value in fields:
        expected.add(name, value)
    got = [field for field in response.raw.headers.items() if field[0] in ("X-A", "B")]
    assert got == list(expected.items())
    assert response.headers["x-a"] == "1, 3, 4"
    assert [name for name in response.headers if name in ("X-A", "B")] == ["X-A", "B"]


def test_redirects(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [
        plain(307, ("Location", "/second"), ("Set-Cookie", "seen=1"), body=b"there"),
        plain(303, ("Location", "/third")),
        plain(200, body=b"here"),
    ]
    file = io.BytesIO(b"skipped body")
    file.seek(8)
    response = session.post(URL, data=file)
    assert response.content == b"here"
    assert [one.status_code for one in response.history] == [307, 303]
    assert [bytes(one.sent) for one in tunnel.exchanges] == [b"body", b"body", b""]
    assert [one.request.method for one in tunnel.exchanges] == [b"POST", b"POST", b"GET"]
    assert dict(tunnel.exchanges[1].fields)["Cookie"] == "seen=1"


def test_authentication_with_a_challenge(session: requests.Session, tunnel: FakeRequester) -> None:
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
    tunnel.scripts = [plain(401, ("WWW-Authenticate", challenge)), ok]
    response = session.post(URL, data=b"body", auth=HTTPDigestAuth("user", "secret"))
    assert response.content == b"body"
    assert dict(tunnel.exchanges[1].fields)["Authorization"].startswith('Digest username="user"')


class Pipe:
    """A file without a way back, as the multipart encoder of requests-toolbelt is one."""

    def __init__(self, data: bytes) -> None:
        self.read = io.BytesIO(data).read

    def __iter__(self) -> Iterator[bytes]:
        return iter([self.read()])


class Sized:
    """An iterator that knows its length."""

    def __init__(self) -> None:
        self._pieces = iter([b"bo", b"dy"])

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Sized:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)


class Anew:
    """An iterable that begins anew each time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"bo", b"dy"])


def pipe_of_the_system() -> Any:
    read, write = os.pipe()
    os.write(write, b"body")
    os.close(write)
    return os.fdopen(read, "rb")


ONE_SHOTS = {
    "generator": lambda: (part for part in (b"bo", b"dy")),
    "iterator": lambda: map(bytes, [b"bo", b"dy"]),
    "with a length": Sized,
    "no seek": lambda: Pipe(b"body"),
    "pipe": pipe_of_the_system,
}


def at_once(status: int, *fields: tuple[str, str]) -> Script:
    """Answers at the first piece of the body, and wants no more of it."""

    def script(exchange: FakeExchange) -> None:
        exchange.start()

        def on_data(exchange: FakeExchange) -> None:
            exchange.on_data = None
            exchange.answer(status, *fields, ("Content-Length", "0"))
            exchange.stop()
            exchange.end()

        exchange.on_data = on_data

    return script


AGAIN = {
    "digest": (401, ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop="auth"')),
    "redirect 307": (307, ("Location", "/there")),
    "redirect 308": (308, ("Location", "http://edge-1/there")),
}


@pytest.mark.parametrize("kind", [requests.Session, restsock.Session])
@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("body", ONE_SHOTS)
def test_a_body_that_reads_once_is_sent_once(
    adapter: TunnelAdapter,
    tunnel: FakeRequester,
    kind: type[requests.Session],
    again: str,
    body: str,
) -> None:
    tunnel.scripts = [at_once(*AGAIN[again]), ok]
    auth = HTTPDigestAuth("user", "secret") if again == "digest" else None
    if body == "pipe" and auth is not None:
        pytest.skip("requests' own digest asks a pipe for its position, before it sends anything")
    made = ONE_SHOTS[body]()
    with kind() as session:
        session.mount(URL, adapter)
        with pytest.raises(requests.exceptions.UnrewindableBodyError):
            session.put(URL, data=made, auth=auth)
    assert len(tunnel.exchanges) == 1
    getattr(made, "close", lambda: None)()


def test_a_request_with_a_body_that_is_spent(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    prepared = requests.Request("PUT", URL, data=iter([b"body"])).prepare()
    assert session.send(prepared).content == b"body"
    with pytest.raises(requests.exceptions.UnrewindableBodyError, match="sent before") as caught:
        session.send(prepared)
    assert caught.value.request is prepared
    prepared.body = cast("Any", iter([b"another"]))
    assert session.send(prepared).content == b"another"
    prepared.body = b"bytes"
    prepared.headers.pop("Transfer-Encoding", None)
    for _ in range(2):
        assert session.send(prepared).content == b"bytes"


def test_a_body_that_can_be_read_again_is(
    session: requests.Session, tunnel: FakeRequester, tmp_path: Path
) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"skipped body")
    for again in AGAIN.values():
        with path.open("rb") as file:
            file.seek(8)
            for body in (Anew(), file, b"body" * 50_000):
                tunnel.scripts = [at_once(*again), ok]
                auth = HTTPDigestAuth("user", "secret")
                response = session.put(URL, data=cast("Any", body), auth=auth)
                assert response.content == (body if isinstance(body, bytes) else b"body")


def test_a_request_that_follows_without_its_body(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    tunnel.scripts = [at_once(303, ("Location", "/there")), ok]
    assert session.post(URL, data=iter([b"body"])).ok
    assert tunnel.exchanges[-1].request.method == b"GET"


def test_hooks(session: requests.Session) -> None:
    seen: list[int] = []
    hook = {"response": lambda response, **_: seen.append(response.status_code)}
    session.get(URL, hooks=hook)
    assert seen == [200]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [False, True])
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    ],
)
def test_content_codings(
    session: requests.Session,
    tunnel: FakeRequester,
    coding: str,
    encode: Any,
    length: bool,
    stream: bool,
) -> None:
    content = b"the same again, " * 10_000
    encoded = encode(content)
    fields = [("Content-Encoding", coding)]
    if length:
        fields.append(("Content-Length", str(len(encoded))))
    tunnel.scripts = [plain(200, *fields, body=encoded)]
    response = session.get(URL, stream=stream)
    if stream:
        assert b"".join(response.iter_content(777)) == content
    assert response.raw.closed
    if not stream:
        assert response.content == content


@pytest.mark.skipif("zstd" not in HTTPResponse.CONTENT_DECODERS, reason="urllib3 has no zstd here")
def test_zstd(session: requests.Session, tunnel: FakeRequester) -> None:
    frame = bytes.fromhex("28b52ffd2404210000626f64790f2d3d31")
    tunnel.scripts = [plain(200, ("Content-Encoding", "zstd"), body=frame)]
    assert session.get(URL).content == b"body"


def test_a_coding_that_is_broken(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, ("Content-Encoding", "gzip"), body=b"not gzip at all")]
    with pytest.raises(requests.exceptions.ContentDecodingError):
        session.get(URL)


# --- streams ----------------------------------------------------------------------------------


def test_what_has_come_is_handed_on(session: requests.Session, tunnel: FakeRequester) -> None:
    """The first event of an event stream does not wait for a full chunk."""
    tunnel.scripts = [plain(200, body=b"data: 1\n\n", end=False)]
    response = session.get(URL, stream=True, timeout=5)
    pieces = response.iter_content(512)
    assert next(pieces) == b"data: 1\n\n"
    exchange = tunnel.settle()
    tunnel.loop.run(exchange.data, b"data: 2\n\n")
    assert next(pieces) == b"data: 2\n\n"
    tunnel.loop.run(exchange.end)
    assert list(pieces) == []
    assert exchange.resets == []


def test_lines(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, body=b"one\ntwo\n", end=False)]
    lines = session.get(URL, stream=True, timeout=5).iter_lines()
    assert next(lines) == b"one"
    tunnel.loop.run(tunnel.settle().data, b"three\n")
    assert next(lines) == b"two"
    tunnel.loop.run(tunnel.settle().end)
    assert list(lines) == [b"three"]


def test_a_compressed_stream_is_handed_on(session: requests.Session, tunnel: FakeRequester) -> None:
    squeeze = zlib.compressobj(wbits=31)
    first = squeeze.compress(b"data: 1\n\n") + squeeze.flush(zlib.Z_SYNC_FLUSH)
    tunnel.scripts = [plain(200, ("Content-Encoding", "gzip"), body=first, end=False)]
    pieces = session.get(URL, stream=True, timeout=5).iter_content(512)
    assert next(pieces) == b"data: 1\n\n"
    tunnel.loop.run(tunnel.settle().data, squeeze.compress(b"data: 2\n\n") + squeeze.flush())
    tunnel.loop.run(tunnel.settle().end)
    assert list(pieces) == [b"data: 2\n\n"]


def test_pieces_of_a_known_length_are_full(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200, ("Content-Length", "10"))
        for _ in range(5):
            exchange.data(b"ab")
        exchange.end()

    tunnel.scripts = [script]
    response = session.get(URL, stream=True)
    assert list(response.iter_content(4)) == [b"abab", b"abab", b"ab"]


@pytest.mark.parametrize("read", ["iter_content", "raw"])
def test_a_piece_that_is_as_long_as_what_is_read_is_not_copied(
    session: requests.Session, tunnel: FakeRequester, read: str
) -> None:
    came = [b"%d" % number * 8192 for number in range(3)]

    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200, ("Content-Length", "24576"))
        for piece in came:
            exchange.data(piece)
        exchange.end()

    tunnel.scripts = [script]
    response = session.get(URL, stream=True)
    if read == "raw":
        pieces = list(iter(lambda: response.raw.read(8192), b""))
    else:
        pieces = list(response.iter_content(8192))
    assert [id(piece) for piece in pieces] == [id(piece) for piece in came]


@pytest.mark.parametrize("cut", [0, 5])
def test_a_body_that_is_shorter_than_its_length_fails_however_it_is_read(
    session: requests.Session, tunnel: FakeRequester, cut: int
) -> None:
    tunnel.scripts = [plain(200, ("Content-Length", "10"), body=b"0123456789"[:cut])]
    pieces = session.get(URL, stream=True, timeout=5).iter_content(4)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(pieces)


@pytest.mark.parametrize("size", [None, 1, 3, 100_000])
def test_any_size_of_piece(
    session: requests.Session, tunnel: FakeRequester, size: int | None
) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)
        for number in range(100):
            exchange.data(b"%02d" % number)
        exchange.end()

    tunnel.scripts = [script]
    pieces = list(session.get(URL, stream=True).iter_content(size))
    assert b"".join(pieces) == b"".join(b"%02d" % number for number in range(100))
    assert all(pieces)


def test_the_end_of_the_stream_is_not_waited_for_at_the_last_byte(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    """An app may go on working behind its last byte."""
    tunnel.scripts = [plain(200, ("Content-Length", "4"), body=b"body", end=False)]
    assert session.get(URL, timeout=5).content == b"body"
    assert tunnel.settle().resets == []


def test_credit_goes_back_as_the_body_is_read(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)
        for _ in range(4):
            exchange.data(bytes(16_384))

    tunnel.scripts = [script]
    response = session.get(URL, stream=True, timeout=5)
    tunnel.settle()
    assert tunnel.exchanges[0].calls == []  # nothing is read, nothing comes back
    response.raw.read(16_384)
    assert tunnel.settle().calls == [("consume", 16_384)]
    response.raw.read(3 * 16_384)
    credit = sum(nbytes for _, nbytes in tunnel.settle().calls)
    assert credit == 65_536
    response.close()


def test_a_small_response_wakes_the_loop_once(
    session: requests.Session, tunnel: FakeRequester, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts: list[object] = []

    class Counting:
        def run_sync_soon(self, *args: Any) -> None:
            posts.append(args)
            tunnel.loop.token.run_sync_soon(*args)

    monkeypatch.setattr(tunnel, "token", Counting())
    assert session.post(URL, data=b"body").content == b"body"
    assert len(posts) == 1


@pytest.mark.parametrize("way", ["close", "with", "del", "break"])
def test_an_unfinished_response_resets_its_stream(
    session: requests.Session, tunnel: FakeRequester, way: str
) -> None:
    tunnel.scripts = [plain(200, body=b"some", end=False)]
    response = session.get(URL, stream=True, timeout=5)
    if way == "close":
        response.close()
        response.close()
    elif way == "with":
        with response:
            pass
    elif way == "break":
        for _ in response.iter_content(2):
            break
        response.close()
    else:
        del response
        gc.collect()
    assert tunnel.settle().resets == [1]


def test_reading_after_close(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, body=b"some", end=False)]
    response = session.get(URL, stream=True, timeout=5)
    response.close()
    assert response.raw.read() == b""


# --- failures before the head -----------------------------------------------------------------


def test_no_connection_in_time(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [never_started]
    with pytest.raises(requests.ConnectTimeout) as caught:
        session.get(URL, timeout=(0.05, 5))
    assert caught.value.request is not None
    assert caught.value.request.url == URL
    cause = caught.value.__cause__
    assert isinstance(cause, RequestTimeout)
    assert (cause.phase, cause.may_have_run) == ("connect", False)
    assert tunnel.settle().resets == [1]  # what is still waiting somewhere is taken back


def test_without_a_timeout_connecting_has_one_all_the_same(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    tunnel.options = Options(timeouts=Timeouts(connect=0.05))
    tunnel.scripts = [never_started]
    for timeout in (None, (None, None), (None, 5)):
        with pytest.raises(requests.ConnectTimeout):
            session.get(URL, timeout=timeout)


def test_a_requester_explains_why_there_was_no_connection(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def away(exchange: FakeExchange) -> None:
        exchange.explain = lambda: PeerUnavailable("edge-1 is away")

    tunnel.scripts = [away]
    with pytest.raises(requests.ConnectTimeout, match="edge-1 is away") as caught:
        session.get(URL, timeout=(0.05, 5))
    assert isinstance(caught.value.__cause__, PeerUnavailable)
    assert tunnel.settle().resets == [1]


def test_a_start_that_crosses_the_timeout_is_no_connect_timeout(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    """The request runs after all, and to call it safe to retry would be wrong."""

    def late(exchange: FakeExchange) -> None:
        # The loop is busy beyond the timeout, and then starts the request before it hears of it.
        threading.Event().wait(0.2)
        ok(exchange)

    tunnel.scripts = [late]
    assert session.post(URL, data=b"body", timeout=(0.05, 5)).content == b"body"


def test_no_head_in_time(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [silent]
    with pytest.raises(requests.ReadTimeout, match="Read timed out") as caught:
        session.get(URL, timeout=(5, 0.05))
    assert isinstance(caught.value.args[0], ReadTimeoutError)
    assert caught.value.request is not None
    cause = caught.value.__cause__
    assert isinstance(cause, RequestTimeout)
    assert (cause.phase, cause.may_have_run) == ("head", True)
    assert tunnel.settle().resets == [1]


def test_the_read_timeout_begins_with_the_start(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def late(exchange: FakeExchange) -> None:
        threading.Timer(0.3, tunnel.token.run_sync_soon, (ok, exchange)).start()

    tunnel.scripts = [late]
    assert session.get(URL, timeout=(5, 0.1)).ok


def test_a_total_timeout(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [silent]
    with pytest.raises(requests.ReadTimeout):
        session.get(URL, timeout=cast("Any", Timeout(total=0.05)))
    tunnel.scripts = [never_started]
    with pytest.raises(requests.ConnectTimeout):
        session.get(URL, timeout=cast("Any", Timeout(total=0.05, connect=5)))


def test_a_peer_that_takes_nothing(session: requests.Session, tunnel: FakeRequester) -> None:
    def stuck(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.hold = True

    tunnel.scripts = [stuck]
    with pytest.raises(requests.ReadTimeout) as caught:
        session.post(URL, data=bytes(1_000_000), timeout=(5, 0.05))
    assert isinstance(caught.value.__cause__, RequestTimeout)
    assert caught.value.__cause__.phase == "write"
    assert tunnel.settle().resets == [1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PeerNotFound("no peer edge-1"), requests.ConnectTimeout),
        (PeerUnavailable("edge-1 is away"), requests.ConnectTimeout),
        (StreamRefused("going away"), requests.ConnectionError),
        (RequestTimeout("no peer", phase="connect", may_have_run=False), requests.ConnectTimeout),
        (RequestTimeout("no head", phase="head"), requests.ReadTimeout),
        (ConnectionClosed("cut", may_have_run=True), requests.ConnectionError),
        (ConnectionClosed("cut", may_have_run=False), requests.ConnectionError),
        (ConnectionClosed("cut"), requests.ConnectionError),
        (reset(), requests.ConnectionError),
    ],
)
def test_failures_become_those_of_requests(
    session: requests.Session,
    tunnel: FakeRequester,
    error: RestsockError,
    expected: type[requests.RequestException],
) -> None:
    tunnel.scripts = [failing(error, started=False)]
    for stream in (False, True):
        with pytest.raises(requests.RequestException) as caught:
            session.get(URL, stream=stream)
        assert type(caught.value) is expected
        assert caught.value.__cause__ is error
        assert caught.value.request is not None


def test_the_loop_has_ended(session: requests.Session, loop: Loop) -> None:
    loop.close()
    with pytest.raises(requests.ConnectionError) as caught:
        session.get(URL)
    assert isinstance(caught.value.__cause__, ConnectionClosed)
    assert caught.value.__cause__.may_have_run is False


def test_the_loop_ends_under_an_open_response(
    session: requests.Session, loop: Loop, tunnel: FakeRequester
) -> None:
    tunnel.scripts = [plain(200, body=b"some", end=False)]
    response = session.get(URL, stream=True)
    loop.close()
    response.close()


def test_a_bug_on_the_loop_does_not_end_it(
    session: requests.Session, tunnel: FakeRequester, caplog: pytest.LogCaptureFixture
) -> None:
    def script(exchange: FakeExchange) -> None:
        raise LookupError("a bug")

    tunnel.scripts = [script, ok]
    with pytest.raises(requests.ConnectionError, match="internal error"):
        session.get(URL)
    assert "a bug" in caplog.text
    assert session.get(URL).ok


# --- failures in the body ---------------------------------------------------------------------


def broken(exchange: FakeExchange) -> None:
    exchange.start()
    exchange.answer(200)
    exchange.data(b"some")
    exchange.fail(reset())


def test_a_body_that_breaks_off(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [broken]
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        session.get(URL)
    assert isinstance(caught.value.args[0], ProtocolError)
    assert isinstance(caught.value.args[0].__cause__, StreamReset)
    response = session.get(URL, stream=True)
    pieces = response.iter_content(100)
    assert next(pieces) == b"some"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        next(pieces)
    assert response.raw.closed


@pytest.mark.parametrize("read", ["read", "read1", "stream", "data"])
def test_raw_raises_what_urllib3_raises(
    session: requests.Session, tunnel: FakeRequester, read: str
) -> None:
    tunnel.scripts = [broken]
    raw = session.get(URL, stream=True).raw
    with pytest.raises(ProtocolError):
        if read == "stream":
            list(raw.stream())
        elif read == "data":
            raw.data  # noqa: B018  # a property that reads
        elif read == "read1":
            while raw.read1():
                pass
        else:
            raw.read()


def test_a_body_that_stops(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [plain(200, body=b"some", end=False)]
    with pytest.raises(requests.ConnectionError, match="Read timed out") as caught:
        session.get(URL, timeout=(5, 0.3))
    assert isinstance(caught.value.args[0], ReadTimeoutError)
    assert isinstance(caught.value.args[0].__cause__, RequestTimeout)
    assert tunnel.settle().resets == [1]


def test_a_body_that_is_too_short(session: requests.Session, tunnel: FakeRequester) -> None:
    """The protocol resets such a stream; should it not, urllib3 counts as well."""
    tunnel.scripts = [plain(200, ("Content-Length", "10"), body=b"short")]
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        session.get(URL)


# --- retries ----------------------------------------------------------------------------------


def retrying(session: requests.Session, tunnel: Any, retries: int | Retry) -> None:
    session.mount(URL, TunnelAdapter(tunnel, max_retries=retries))


def test_by_default_nothing_is_retried(session: requests.Session, tunnel: FakeRequester) -> None:
    tunnel.scripts = [failing(StreamRefused("not now")), ok]
    with pytest.raises(requests.ConnectionError):
        session.get(URL)
    assert len(tunnel.exchanges) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_did_not_start_is_sent_again(
    session: requests.Session, tunnel: FakeRequester, method: str
) -> None:
    retrying(session, tunnel, 3)
    refused = StreamRefused("not now")
    tunnel.scripts = [failing(refused), failing(refused, started=False), ok]
    assert session.request(method, URL, data=b"body").content == b"body"
    assert len(tunnel.exchanges) == 3


@pytest.mark.parametrize(("method", "tries"), [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1)])
def test_what_may_have_run_is_sent_again_if_idempotent(
    session: requests.Session, tunnel: FakeRequester, method: str, tries: int
) -> None:
    retrying(session, tunnel, 2)
    tunnel.scripts = [failing(reset())]
    with pytest.raises(requests.ConnectionError) as caught:
        session.request(method, URL)
    assert isinstance(caught.value.__cause__, StreamReset)
    assert len(tunnel.exchanges) == tries


def test_a_file_is_rewound(session: requests.Session, tunnel: FakeRequester) -> None:
    retrying(session, tunnel, Retry(2, allowed_methods=None))

    def half(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.on_end = lambda exchange: exchange.fail(reset())

    tunnel.scripts = [half, ok]
    file = io.BytesIO(b"skipped body")
    file.seek(8)
    assert session.post(URL, data=file).content == b"body"
    assert [bytes(one.sent) for one in tunnel.exchanges] == [b"body", b"body"]


def test_a_generator_is_sent_once(session: requests.Session, tunnel: FakeRequester) -> None:
    retrying(session, tunnel, 2)

    def half(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.on_end = lambda exchange: exchange.fail(StreamRefused("too late"))

    tunnel.scripts = [half, ok]
    with pytest.raises(requests.ConnectionError) as caught:
        session.post(URL, data=iter([b"body"]))
    assert isinstance(caught.value.__cause__, StreamRefused)
    assert len(tunnel.exchanges) == 1


def test_a_generator_that_nobody_asked_is_sent_later(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    retrying(session, tunnel, 2)
    tunnel.scripts = [failing(PeerUnavailable("away"), started=False), ok]
    assert session.post(URL, data=iter([b"body"])).content == b"body"


def test_statuses_that_are_retried(session: requests.Session, tunnel: FakeRequester) -> None:
    retrying(session, tunnel, Retry(3, status_forcelist=[502]))
    tunnel.scripts = [plain(502), plain(502, body=b"unread", end=False), ok]
    assert session.get(URL).status_code == 200
    assert tunnel.exchanges[1].resets == [1]
    tunnel.scripts = [plain(502)]
    with pytest.raises(requests.exceptions.RetryError, match="too many 502") as caught:
        session.get(URL)
    assert caught.value.request is not None
    tunnel.exchanges.clear()
    assert session.post(URL).status_code == 502  # not idempotent
    assert len(tunnel.exchanges) == 1


def test_a_status_may_be_returned_in_the_end(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    retrying(session, tunnel, Retry(1, status_forcelist=[502], raise_on_status=False))
    tunnel.scripts = [plain(502, body=b"why")]
    assert session.get(URL).content == b"why"
    assert len(tunnel.exchanges) == 2


def test_retry_after_is_respected(
    session: requests.Session, tunnel: FakeRequester, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", slept.append)
    retrying(session, tunnel, 3)
    tunnel.scripts = [plain(503, ("Retry-After", "7")), ok]
    assert session.get(URL).ok
    assert slept == [7]


def test_timeouts_count(session: requests.Session, tunnel: FakeRequester) -> None:
    retrying(session, tunnel, 1)
    tunnel.scripts = [never_started, ok]
    assert session.post(URL, data=b"body", timeout=(0.05, 5)).content == b"body"
    tunnel.scripts = [never_started]
    with pytest.raises(requests.ConnectTimeout):
        session.get(URL, timeout=(0.05, 5))
    tunnel.scripts = [silent]
    with pytest.raises(requests.ConnectionError, match="Max retries exceeded"):
        session.get(URL, timeout=(5, 0.05))
