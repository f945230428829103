"""A process that serves the app; it ends with its stdin.

python -m tests.bench.serve waitress FD
python -m tests.bench.serve uvicorn FD [FOLDER]
python -m tests.bench.serve dial URL NAME flask|fastapi [FOLDER]
python -m tests.bench.serve listen flask|fastapi [FOLDER]
python -m tests.bench.serve ingress NAME

With the FOLDER of its certificates it serves with TLS.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from tests.bench import certificates
from tests.bench.processes import hide_c_masking

# Of every WSGI server here. More of them help none, the app being small and Python.
WORKERS = 8


def app_named(name: str) -> Any:
    return importlib.import_module(f"tests.bench.app_{name}").app


def options_for(app: str) -> dict[str, Any]:
    return {"workers": WORKERS} if app == "flask" else {}


def serve_waitress(fd: int) -> None:
    import waitress

    # It warns about each request that finds no free thread, which would slow it down.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress.create_server(
        app_named("flask"), sockets=[socket.socket(fileno=fd)], threads=WORKERS
    )

    def end() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    server.run()


def serve_uvicorn(fd: int, folder: str | None = None) -> None:
    import uvicorn

    files = certificates.files_in(Path(folder)) if folder else None
    config = uvicorn.Config(
        "tests.bench.app_fastapi:app",
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
        ssl_certfile=files and files.certificate,
        ssl_keyfile=files and files.key,
    )
    # Not its option --fd, which takes the socket for a Unix one and leaves Nagle's algorithm on:
    # every answer would come 40 ms late.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


def serve_dialing(url: str, name: str, app: str, folder: str | None = None) -> None:
    import restsock.sync

    options = {**options_for(app), "tls": certificates.dialer_tls(folder)}
    with restsock.sync.connect(url, app=app_named(app), name=name, **options):
        sys.stdin.read()


def serve_listening(app: str, folder: str | None = None) -> None:
    import restsock.sync

    options = {**options_for(app), "tls": certificates.listener_tls(folder)}
    with restsock.sync.listen("127.0.0.1", 0, app=app_named(app), **options) as server:
        print(json.dumps({"url": server.url}), flush=True)
        sys.stdin.read()


def serve_ingress(name: str) -> None:
    """Whoever asks it over plain HTTP reaches the peer of this name."""
    import restsock.sync
    from restsock.ingress import Ingress, Route

    ingress = Ingress(routes=[Route("127.0.0.1", name)])
    with restsock.sync.listen("127.0.0.1", 0, ingress=ingress) as server:
        print(json.dumps({"url": server.url}), flush=True)
        sys.stdin.read()


def main() -> None:
    hide_c_masking()
    kind, *args = sys.argv[1:]
    if kind == "waitress":
        serve_waitress(int(args[0]))
    elif kind == "uvicorn":
        serve_uvicorn(int(args[0]), *args[1:])
    elif kind == "dial":
        serve_dialing(*args)
    elif kind == "ingress":
        serve_ingress(*args)
    else:
        serve_listening(*args)


if __name__ == "__main__":
    main()
