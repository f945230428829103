"""The command, as a demo: a hub, peers without a line of Python of their own, and curl.

Run it with ``make demo``. It starts the hub and two peers, as you would in three terminals: a web
server in another language, made a peer by `restsock forward`, and a Flask app, served by `restsock
serve`. Neither has a port that others can reach.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

START = time.perf_counter()
PATIENCE = 15  # seconds
COMMAND = [sys.executable, "-m", "restsock"]
NODE = """
require("http").createServer((request, response) => {
  response.end("node " + process.version + " got " + request.url + "\\n");
}).listen(Number(process.argv[1]), "127.0.0.1");
"""


def say(words: str) -> None:
    print(f"{time.perf_counter() - START:7.3f} s  {words}", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextmanager
def running(*command: str, sock: socket.socket | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process for the time of the block. One that is given a socket gets it as from systemd."""
    words: list[str] = [*command]
    fds: tuple[int, ...] = ()
    if sock is not None:
        fds = (sock.fileno(),)
        hand_over = 'exec 3<&"$1"; shift; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'
        words = ["sh", "-c", hand_over, "sh", str(sock.fileno()), *command]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, pass_fds=fds
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def restsock(*words: str, sock: socket.socket | None = None) -> subprocess.Popen[str]:
    """Starts a verb that goes on until the demo ends; it has said its URL when this returns."""
    say(f"$ restsock {' '.join(words)}")
    process = stack.enter_context(running(*COMMAND, *words, sock=sock))
    assert process.stdout is not None
    say(f"  {process.stdout.readline().strip()}")
    return process


def ask(*words: str) -> str:
    """Runs a command to its end, says what it prints and returns that."""
    ours = list(words[: len(COMMAND)]) == COMMAND
    name, rest = ("restsock", words[len(COMMAND) :]) if ours else (words[0], words[1:])
    say(f"$ {Path(name).name} {' '.join(rest)}")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    for line in (done.stdout or done.stderr).strip().splitlines():
        say(f"  {line}")
    if done.returncode:
        sys.exit(f"that failed with {done.returncode}: {done.stderr}")
    return done.stdout


def other_server(port: int) -> tuple[str, ...]:
    """A web server that is not ours, and not in Python where there is another language."""
    if node := shutil.which("node"):
        say("a web server in JavaScript, on a port of this machine alone")
        return (node, "-e", NODE, str(port))
    say("a web server of the standard library, on a port of this machine alone")
    return (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")


def call_everywhere(port: int) -> None:
    """Every way to say which peer is meant."""
    hub = f"127.0.0.1:{port}"
    curl = shutil.which("curl")
    if curl is None:
        say("curl is not installed: requests takes its place")
        answer = requests.get(f"http://{hub}/", headers={"Restsock-Peer": "web"}, timeout=PATIENCE)
        say(f"  {answer.text.strip()[:60]}")
        return
    quiet = (curl, "-sS")
    ask(*quiet, f"http://web.localhost:{port}/by-its-host")
    ask(*quiet, "-H", "Restsock-Peer: shop", f"http://{hub}/prices/figs")
    ask(*quiet, "-x", f"http://{hub}", "http://shop/prices/pears")
    ask(*quiet, f"http://{hub}/_/shop/prices/plums")


class Load(threading.Thread):
    """Asks as fast as it can, and counts the answers."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self._url = url

    def run(self) -> None:
        with requests.Session() as session:
            session.headers["Restsock-Peer"] = "shop"
            while not self.over.is_set():
                try:
                    answer = session.get(f"{self._url}/prices/figs", timeout=PATIENCE)
                    self.counts[str(answer.status_code)] += 1
                except requests.RequestException as error:
                    self.counts[type(error).__name__] += 1


def restart_under_load(hub: subprocess.Popen[str], sock: socket.socket, *words: str) -> None:
    """Another hub takes the place of the one that runs, while requests go on."""
    load = Load(f"http://127.0.0.1:{sock.getsockname()[1]}")
    load.start()
    time.sleep(0.5)
    before = sum(load.counts.values())
    say(f"{before} requests so far; SIGTERM to the hub, and another one in its place")
    hub.send_signal(signal.SIGTERM)
    hub.wait(PATIENCE)
    restsock(*words, sock=sock)
    deadline = time.monotonic() + PATIENCE
    while sum(load.counts.values()) < before + 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    load.over.set()
    load.join()
    lost = {what: count for what, count in load.counts.items() if what != "200"}
    say(f"{load.counts['200']} requests answered, {sum(lost.values())} lost {lost or ''}")
    if lost:
        sys.exit("the restart has lost requests")


def main() -> None:
    print("restsock: a hub, and peers that need no line of Python")
    admin, upstream = free_port(), free_port()
    sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = sock.getsockname()[1]
    os.environ["XDG_STATE_HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
    os.environ["RESTSOCK_HUB"] = f"ws://127.0.0.1:{port}"
    os.environ["RESTSOCK_ADMIN"] = f"http://127.0.0.1:{admin}"
    words = ("hub", "--admin", f"127.0.0.1:{admin}")
    hub = restsock(*words, sock=sock)
    stack.enter_context(running(*other_server(upstream)))
    restsock("forward", str(upstream), "--name", "web")
    restsock("serve", "examples.hub.shop:app", "--name", "shop")
    call_everywhere(port)
    ask(*COMMAND, "call", "shop", "/prices/dates")
    ask(*COMMAND, "ls")
    ask(*COMMAND, "events")
    restart_under_load(hub, sock, *words)
    say("done")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    with ExitStack() as stack:
        main()
