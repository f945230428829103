"""What `TunnelAdapter` sends: heads, bodies, timeouts; all against a scripted peer."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import trio
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import SKIP_HEADER, Timeout

import restsock
from restsock._exceptions import RestsockError
from restsock.adapters import TunnelAdapter
from tests.adapters.fake_tunnel import FakeExchange, FakeRequester, Loop, ok


def sent(tunnel: FakeRequester) -> FakeExchange:
    return tunnel.exchanges[-1]


def values(exchange: FakeExchange, name: str) -> list[str]:
    return [value for field, value in exchange.fields if field.lower() == name.lower()]


# --- heads ------------------------------------------------------------------------------------


def test_it_is_an_adapter_of_requests(adapter: TunnelAdapter) -> None:
    assert isinstance(adapter, HTTPAdapter)
    assert isinstance(adapter, BaseAdapter)


def test_a_plain_get(session: requests.Session, tunnel: FakeRequester) -> None:
    response = session.get("http://edge-1/pets?limit=3")
    request = sent(tunnel).request
    assert request.method == b"GET"
    assert request.target == b"/pets?limit=3"
    assert sent(tunnel).fields[0] == ("Host", "edge-1")
    assert values(sent(tunnel), "Accept-Encoding") == [session.headers["Accept-Encoding"]]
    assert values(sent(tunnel), "User-Agent") == [session.headers["User-Agent"]]
    assert not values(sent(tunnel), "Connection")  # hop-by-hop
    assert response.status_code == 200
    assert response.reason == "OK"
    assert response.raw.version == 11
    assert isinstance(response.connection, TunnelAdapter)
    assert response.elapsed.total_seconds() > 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://edge-1/", "edge-1"),
        ("http://EDGE-1/", "edge-1"),
        ("http://edge-1:80/", "edge-1"),
        ("http://edge-1:8080/", "edge-1:8080"),
        ("http://edge_1/", "edge_1"),
        ("http://user:pa%40ss@edge-1/", "edge-1"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:81/", "[::1]:81"),
        ("https://edge-1:443/", "edge-1"),
        ("https://edge-1:80/", "edge-1:80"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_comes_from_the_url(
    session: requests.Session, adapter: TunnelAdapter, tunnel: FakeRequester, url: str, host: str
) -> None:
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    assert session.get(url).ok
    assert values(sent(tunnel), "Host") == [host]


def test_user_and_password_of_the_url_become_a_header(
    session: requests.Session, adapter: TunnelAdapter, tunnel: FakeRequester
) -> None:
    session.mount("http://", adapter)
    session.get("http://user:secret@edge-1/")
    assert values(sent(tunnel), "Authorization") == ["Basic dXNlcjpzZWNyZXQ="]
    assert b"secret" not in sent(tunnel).request.target


def test_a_host_that_is_given_wins(session: requests.Session, tunnel: FakeRequester) -> None:
    session.get("http://edge-1/", headers={"host": "pets.example"})
    assert values(sent(tunnel), "Host") == ["pets.example"]


@pytest.mark.parametrize("path", ["/%2e%2e/a%2Fb", "/a//b/?q=%20&r=+", "/;x=1", "/a%0d%0ab"])
def test_the_target_goes_verbatim(
    session: requests.Session, tunnel: FakeRequester, path: str
) -> None:
    prepared = requests.Request("GET", "http://edge-1/").prepare()
    prepared.url = f"http://edge-1{path}"
    session.send(prepared)
    assert sent(tunnel).request.target == path.encode()


def test_a_fragment_stays_here(session: requests.Session, tunnel: FakeRequester) -> None:
    session.get("http://edge-1/a?b#c")
    assert sent(tunnel).request.target == b"/a?b"


def test_names_and_values_may_be_bytes_or_subclasses(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    class Text(str):
        __slots__ = ()

    class Bytes(bytes):
        __slots__ = ()

    prepared = requests.Request("GET", "http://edge-1/").prepare()
    prepared.method = cast("str", b"GET")
    headers = cast("dict[Any, Any]", prepared.headers)
    headers[Text("X-Text")] = Text("text")
    headers["X-Bytes"] = Bytes(b"b\xffytes")
    prepared.headers = cast("Any", dict(headers.items()) | {b"X-Name": b"name"})
    prepared.headers = cast("Any", prepared.headers)
    session.get_adapter("http://edge-1/").send(prepared)
    fields = sent(tunnel).request.headers
    assert sent(tunnel).request.method == b"GET"
    assert (b"X-Text", b"text") in fields
    assert (b"X-Bytes", b"b\xffytes") in fields
    assert (b"X-Name", b"name") in fields
    assert all(type(part) is bytes for field in fields for part in field)


def test_a_subclass_may_add_headers(session: requests.Session, tunnel: FakeRequester) -> None:
    class Signing(TunnelAdapter):
        def add_headers(self, request: requests.PreparedRequest, **kwargs: Any) -> None:
            request.headers["Signature"] = "signed"

    session.mount("http://edge-1/", Signing(cast("Any", tunnel)))
    session.get("http://edge-1/")
    assert values(sent(tunnel), "Signature") == ["signed"]


def test_any_method(session: requests.Session, tunnel: FakeRequester) -> None:
    session.request("PROPFIND", "http://edge-1/")
    assert sent(tunnel).request.method == b"PROPFIND"


def test_without_accept_encoding_nothing_is_to_be_encoded(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    session.get("http://edge-1/", headers={"Accept-Encoding": cast("Any", None)})
    assert values(sent(tunnel), "Accept-Encoding") == ["identity"]


def test_a_header_may_be_skipped(session: requests.Session, tunnel: FakeRequester) -> None:
    skipped = {"Accept-Encoding": SKIP_HEADER, "User-Agent": SKIP_HEADER}
    session.get("http://edge-1/", headers=skipped)
    assert not values(sent(tunnel), "Accept-Encoding")
    assert not values(sent(tunnel), "User-Agent")


@pytest.mark.parametrize(
    "fields",
    [
        {"X-A": "line\r\nX-B: smuggled"},
        {"X-A": "nul\0"},
        {"X A": "space in the name"},
        {"": "no name"},
        {"X-A": "snow \u2603"},
        {"X-A": 5},
        {"Host": "a b"},
        {"Host": ""},
        {"Host": "user@edge-1"},
        {"Host": "edge-1:http"},
        {"host": b"edge-1/path"},
        {"Host": "[::1"},
    ],
)
def test_a_header_that_cannot_be_sent(
    session: requests.Session, tunnel: FakeRequester, fields: dict[str, Any]
) -> None:
    prepared = requests.Request("GET", "http://edge-1/").prepare()
    prepared.headers.update(fields)
    with pytest.raises(requests.exceptions.InvalidHeader) as caught:
        session.send(prepared)
    assert caught.value.request is prepared
    assert not tunnel.exchanges


def test_a_method_that_cannot_be_sent(session: requests.Session, tunnel: FakeRequester) -> None:
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.request("GET /\r\n", "http://edge-1/")
    assert not tunnel.exchanges


@pytest.mark.parametrize(
    "url", ["http://edge 1/", "http://edge-1:99999/", "http://edge-1:http/", "http://a\u2028b/"]
)
def test_a_host_that_cannot_be_sent(
    adapter: TunnelAdapter, tunnel: FakeRequester, url: str
) -> None:
    prepared = requests.Request("GET", "http://edge-1/").prepare()
    prepared.url = url
    with pytest.raises(requests.exceptions.InvalidURL) as caught:
        adapter.send(prepared)
    assert caught.value.request is prepared
    assert not tunnel.exchanges


# --- bodies -----------------------------------------------------------------------------------


def test_a_small_body_goes_with_its_head(session: requests.Session, tunnel: FakeRequester) -> None:
    response = session.post("http://edge-1/", json={"a": 1})
    assert response.json() == {"a": 1}
    assert sent(tunnel).calls == []  # submitted whole: nothing was sent behind the head
    assert values(sent(tunnel), "Content-Length") == ["8"]


def test_text_is_utf_8(session: requests.Session) -> None:
    assert session.post("http://edge-1/", data="snow \u2603").content == "snow \u2603".encode()


def test_a_buffer_is_a_body(adapter: TunnelAdapter, tunnel: FakeRequester) -> None:
    prepared = requests.Request("POST", "http://edge-1/").prepare()
    prepared.headers.pop("Content-Length")
    prepared.body = cast("Any", bytearray(b"buffer"))
    assert adapter.send(prepared).content == b"buffer"
    assert values(sent(tunnel), "Content-Length") == ["6"]


def test_what_is_no_body(adapter: TunnelAdapter) -> None:
    prepared = requests.Request("POST", "http://edge-1/").prepare()
    prepared.body = cast("Any", 5)
    with pytest.raises(TypeError, match="must be a bytes-like object, file-like object, or iter"):
        adapter.send(prepared)


def test_a_post_without_a_body(session: requests.Session, tunnel: FakeRequester) -> None:
    session.post("http://edge-1/")
    assert values(sent(tunnel), "Content-Length") == ["0"]


def test_a_generator(session: requests.Session, tunnel: FakeRequester) -> None:
    def body() -> Iterator[bytes]:
        yield b"one "
        yield b""
        yield b"two"

    assert session.post("http://edge-1/", data=body()).content == b"one two"
    assert not values(sent(tunnel), "Content-Length")
    assert not values(sent(tunnel), "Transfer-Encoding")  # the end is marked by the tunnel


def test_a_generator_of_text(session: requests.Session) -> None:
    assert (
        session.post("http://edge-1/", data=cast("Any", iter(["a", "\u2603"]))).content
        == "a\u2603".encode()
    )


def test_a_file_from_its_position(
    session: requests.Session, tunnel: FakeRequester, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"head" + bytes(200_000))
    with path.open("rb") as file:
        file.seek(4)
        response = session.post("http://edge-1/", data=file)
    assert response.content == bytes(200_000)
    assert values(sent(tunnel), "Content-Length") == ["200000"]


def test_a_text_file(session: requests.Session) -> None:
    assert session.post("http://edge-1/", data=io.StringIO("\u2603")).content == "\u2603".encode()


def test_multipart(session: requests.Session, tunnel: FakeRequester) -> None:
    files = {"file": ("a.txt", io.BytesIO(b"content"), "text/plain")}
    session.post("http://edge-1/", data={"k": "v"}, files=files)
    assert b'name="file"; filename="a.txt"' in sent(tunnel).sent
    assert values(sent(tunnel), "Content-Type")[0].startswith("multipart/form-data; boundary=")


def test_a_large_body_of_bytes(session: requests.Session, tunnel: FakeRequester) -> None:
    body = os.urandom(1_000_000)
    assert session.post("http://edge-1/", data=body).content == body
    assert sent(tunnel).calls.count("data") == 16


def test_an_upload_waits_for_a_peer_that_is_slow(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    most = 0

    def slow(exchange: FakeExchange) -> None:
        ok(exchange)
        exchange.hold = True

        def on_data(exchange: FakeExchange) -> None:
            nonlocal most
            most = max(most, exchange.buffered)
            tunnel.token.run_sync_soon(exchange.take)

        exchange.on_data = on_data

    tunnel.scripts = [slow]
    pieces = (bytes(10_000) for _ in range(100))
    assert len(session.post("http://edge-1/", data=pieces).content) == 1_000_000
    assert most <= 65536 + 10_000 + 65536


def test_a_generator_that_raises_resets_the_stream(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def body() -> Iterator[bytes]:
        yield b"one"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        session.post("http://edge-1/", data=body())
    assert tunnel.settle().resets == [7]  # behind what the body gave
    assert sent(tunnel).sent == b"one"
    assert not sent(tunnel).ended


def test_an_early_answer_stops_the_upload(session: requests.Session, tunnel: FakeRequester) -> None:
    def refuse(exchange: FakeExchange) -> None:
        exchange.start()

        def on_data(exchange: FakeExchange) -> None:
            exchange.on_data = None
            exchange.answer(413, ("Content-Length", "8"))
            exchange.data(b"too much")
            exchange.end()
            exchange.stop()

        exchange.on_data = on_data

    drawn = 0

    def body() -> Iterator[bytes]:
        nonlocal drawn
        while drawn < 10_000:
            drawn += 1
            yield bytes(10_000)

    tunnel.scripts = [refuse]
    response = session.post("http://edge-1/", data=body())
    assert response.status_code == 413
    assert response.content == b"too much"
    assert drawn < 10_000
    assert tunnel.settle().resets == []


def test_an_answer_that_comes_while_the_body_is_read_does_not_deadlock(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    """An app that echoes as it reads stops reading when nobody takes its echo."""
    window = 65536
    total = 1_000_000

    def echo(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200)
        exchange.hold = True
        echoed = credit = 0

        def pump(exchange: FakeExchange) -> None:
            nonlocal echoed
            while exchange.buffered and echoed < window + credit:
                piece = bytes(exchange.sent[echoed : echoed + 4096])
                echoed += len(piece)
                exchange.data(piece)
                exchange.take(len(piece))
            if exchange.ended and echoed == len(exchange.sent):
                exchange.end()

        def on_consume(nbytes: int) -> None:
            nonlocal credit
            credit += nbytes
            pump(exchange)

        exchange.on_data = exchange.on_end = pump
        exchange.on_consume = on_consume

    tunnel.scripts = [echo]
    pieces = (bytes(16_384) for _ in range(total // 16_384))
    response = session.post("http://edge-1/", data=pieces, timeout=5)
    assert len(response.content) == total // 16_384 * 16_384
    assert tunnel.settle().resets == []


def test_closing_a_response_gives_up_the_rest_of_the_upload(
    session: requests.Session, tunnel: FakeRequester
) -> None:
    def full(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.hold = True

        def on_data(exchange: FakeExchange) -> None:
            if exchange.buffered > 65_536:
                exchange.on_data = None
                exchange.answer(200)
                exchange.data(bytes(60_000))

        exchange.on_data = on_data

    tunnel.scripts = [full]
    body = (bytes(50_000) for _ in range(1_000))
    with session.post("http://edge-1/", data=body, stream=True, timeout=5) as response:
        assert response.status_code == 200
    assert tunnel.settle().resets == [1]


# --- timeouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeout", "words"),
    [
        ((1, 2, 3), r"Pass a \(connect, read\) timeout tuple"),
        ((1,), r"\(connect, read\)"),
        ("3", "must be an int, float or None"),
        ((3, "4"), "must be an int, float or None"),
        (True, "Timeout cannot be a boolean"),
        (0, "less than or equal to 0"),
        (-1, "less than or equal to 0"),
        ((1, 0), "less than or equal to 0"),
    ],
)
def test_what_is_no_timeout(
    session: requests.Session, tunnel: FakeRequester, timeout: Any, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        session.get("http://edge-1/", timeout=timeout)
    assert not tunnel.exchanges


@pytest.mark.parametrize(
    "timeout",
    [None, 5, 0.5, (3, 30), (None, None), (None, 5), Timeout(total=5), Timeout(connect=1, read=2)],
)
def test_what_is_a_timeout(session: requests.Session, timeout: Any) -> None:
    assert session.get("http://edge-1/", timeout=timeout).ok


# --- where it cannot work ---------------------------------------------------------------------


def test_on_the_loop_thread_it_would_deadlock(
    adapter: TunnelAdapter, loop: Loop, tunnel: FakeRequester
) -> None:
    prepared = requests.Request("GET", "http://edge-1/").prepare()
    with pytest.raises(RestsockError, match="loop's own thread"):
        loop.run(adapter.send, prepared)
    assert not tunnel.exchanges


def test_on_another_loop_it_only_blocks(adapter: TunnelAdapter) -> None:
    prepared = requests.Request("GET", "http://edge-1/").prepare()

    async def main() -> requests.Response:
        return adapter.send(prepared)

    assert trio.run(main).ok


# Python warns of it since 3.12. That it is refused here is the point.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_a_fork(adapter: TunnelAdapter, session: requests.Session) -> None:
    response = session.get("http://edge-1/", stream=True)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        said = b""
        try:
            session.get("http://edge-1/", timeout=5)
        except RestsockError as exc:
            said = str(exc).encode()
        finally:
            response.close()  # reaches for nothing in the parent
            os.write(write, said)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert b"does not survive a fork" in os.read(read, 1000)
    os.close(read)
    assert response.ok


def test_it_cannot_be_pickled(session: requests.Session) -> None:
    with pytest.raises(TypeError, match="lives in this process"):
        pickle.dumps(session)


def test_a_response_can_be_pickled(session: requests.Session) -> None:
    response = session.post("http://edge-1/", data=b"body", stream=True)
    again = pickle.loads(pickle.dumps(response))
    assert again.content == b"body"
    assert again.headers == response.headers
    assert again.request.url == response.request.url


PROXY = "http://user:secret@127.0.0.1:9"


@pytest.mark.parametrize("kind", [requests.Session, restsock.Session])
@pytest.mark.parametrize("by", ["HTTP_PROXY", "https_proxy", "ALL_PROXY", "session", "call"])
def test_no_proxy_has_a_part_in_it(
    adapter: TunnelAdapter,
    tunnel: FakeRequester,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[requests.Session],
    by: str,
) -> None:
    """Nor in what a redirect leads to; and what is meant for a proxy does not reach the peer."""
    proxies = {"http": PROXY, "https": PROXY, "http://edge-1": PROXY, "all": PROXY}
    if "_" in by.upper():
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv(by, PROXY)

    def redirect(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(302, ("Location", "/there"), ("Content-Length", "0"))
        exchange.end()

    tunnel.scripts = [redirect, ok, redirect, ok]
    with kind() as session:
        session.mount("http://edge-1/", adapter)
        session.mount("https://edge-1/", adapter)
        if by == "session":
            session.proxies = proxies
        for scheme in ("http", "https"):
            call = {"proxies": proxies} if by == "call" else {}
            assert session.get(f"{scheme}://edge-1/", **cast("Any", call)).ok
    assert len(tunnel.exchanges) == 4
    for exchange in tunnel.exchanges:
        assert not values(exchange, "Proxy-Authorization")


def test_a_request_prepared_for_a_proxy(session: requests.Session, tunnel: FakeRequester) -> None:
    session.get("http://edge-1/", headers={"Proxy-Authorization": "Basic c2VjcmV0"})
    assert not values(sent(tunnel), "Proxy-Authorization")


@pytest.mark.parametrize("kind", [requests.Session, restsock.Session])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_shares_the_connection(
    tunnel: FakeRequester, kind: type[requests.Session], copied: Callable[[Any], Any]
) -> None:
    class Named(TunnelAdapter):
        name = ""

    adapter = Named(cast("Any", tunnel), max_retries=3, contract=cast("Any", Contractless()))
    adapter.name = "mine"
    with kind() as session:
        session.mount("http://edge-1/", adapter)
        session.headers["X-A"] = "1"
        again = copied(session)
    assert type(again) is kind
    again.headers["X-A"] = "2"
    assert again.get("http://edge-1/").ok
    assert session.get("http://edge-1/").ok
    assert [values(exchange, "X-A") for exchange in tunnel.exchanges[:1]] == [["2"]]

    twin = copied(adapter)
    assert type(twin) is Named
    assert twin is not adapter
    assert (twin.name, twin.max_retries.total) == ("mine", 3)
    assert twin._way is adapter._way


class Contractless:
    """A contract that asks for nothing, and that no one can copy."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def check_request(self, *args: object) -> None:
        pass


def test_closing_the_session_leaves_the_connection(session: requests.Session) -> None:
    session.close()
    assert session.get("http://edge-1/").ok


def test_nothing_is_left_behind(session: requests.Session, tunnel: FakeRequester) -> None:
    """A finished request is freed at once, not by the garbage collector."""
    import weakref

    gc.collect()
    gc.disable()
    try:
        session.get("http://edge-1/")
        exchange = weakref.ref(tunnel.settle())
        tunnel.exchanges.clear()
        assert exchange() is None
    finally:
        gc.enable()


def test_many_threads(session: requests.Session) -> None:
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(20):
            body = f"{number}.{turn}"
            if session.post("http://edge-1/", data=body).text != body:
                wrong.append(body)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_spooled_file(session: requests.Session) -> None:
    with tempfile.SpooledTemporaryFile(max_size=10) as file:
        file.write(b"spooled " * 100)
        file.seek(8)
        assert session.post("http://edge-1/", data=file).content == b"spooled " * 99


def test_an_option_that_there_is_not(tunnel: FakeRequester) -> None:
    message = r"TunnelAdapter\(\) has no argument 'max_retrys'; did you mean 'max_retries'\?"
    with pytest.raises(TypeError, match=message):
        TunnelAdapter(cast("Any", tunnel), max_retrys=3)
