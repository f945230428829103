"""A small server of plain HTTP in a thread, for authenticators that ask one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, dict[str, str], bytes]


class Server:
    """Answers each GET with what a function says.

    Attributes:
        url: without a path.
        seen: the requests: their targets, and their fields in lower case.
        reply: may be changed.
    """

    def __init__(self, reply: Callable[[str, dict[str, str]], Reply]) -> None:
        self.reply = reply
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fields = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.path, fields))
                status, headers, body = outer.reply(self.path, fields)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(reply: Callable[[str, dict[str, str]], Reply]) -> Iterator[Server]:
    server = Server(reply)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        thread.join()
        server.server.server_close()
