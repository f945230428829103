"""Paths that lead out: of the prefix that is forwarded to, and of the folder behind it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio

import restsock
from tests.e2e.raw_peer import END, HEAD, RESET, get
from tests.hostile.site import Site, site

SECRET = b"the secret"


class Files(SimpleHTTPRequestHandler):
    """Serves a folder; paths are joined by it as it likes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class _Reader(Site):
    """Reads the page, over and over."""

    async def be_honest(self) -> None:
        while True:
            with self.asking():
                response = await self.client.request("GET", "/page", timeout=10)
                assert (response.status, response.content) == (200, b"a page")
            await trio.sleep(0.01)


class Server(ThreadingHTTPServer):
    """Does not mind what its handler stumbles over: a NUL, for one."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server with `/public/page` and `/secret`; forwarded is `/public` alone."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "page").write_bytes(b"a page")
    (tmp_path / "secret").write_bytes(SECRET)
    handler = functools.partial(Files, directory=str(tmp_path))
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/public"
    server.shutdown()
    server.server_close()
    thread.join()


PATHS = [
    "/../secret",
    "/./../secret",
    "/a/../../secret",
    "//../secret",
    "/..//secret",
    "/%2e%2e/secret",
    "/%2E./secret",
    "/.%2e/secret",
    "/..%2fsecret",
    "/%2e%2e%2fsecret",
    "/..%5csecret",
    "/..\\secret",
    "/\\..\\secret",
    "/..;/secret",
    "/..;a=b/secret",
    "/%252e%252e/secret",
    "/..%00/secret",
    "/%c0%ae%c0%ae/secret",
    "/..?/../secret",
    "/page/../../secret",
    "/page/%2e%2e/%2e%2e/secret",
    "/../public/../secret",
    "/..",
    "/%2e%2e",
]


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_leads_out_of_the_prefix(url: str, path: str) -> None:
    """From a peer that writes its heads itself."""
    async with site(restsock.forward(url), kind=_Reader) as one:
        peer = await one.ready()
        await peer.frame(HEAD, END, 1, get(path))
        got = await peer.answer(1)
        if got.type != RESET:
            assert got.payload.split(b" ")[1] in (b"400", b"404", b"502", b"200", b"301")
            body = got.payload.partition(b"\r\n\r\n")[2]
            while not got.flags & END:
                got = await peer.next_frame()
                body += got.payload
            assert SECRET not in body
            assert b"public" not in body, "a listing of what is above"
