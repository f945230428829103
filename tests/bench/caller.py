"""A process that calls: it takes orders as lines of JSON and answers each with figures.

    python -m tests.bench.caller requests URL [FOLDER]          a plain Session, over HTTP
    python -m tests.bench.caller adapter listen|URL [FOLDER]    a plain Session with the adapter
    python -m tests.bench.caller session listen|URL [FOLDER]    restsock.Session
    python -m tests.bench.caller trio listen                    the async API, tasks, not threads

With `listen` it says where it listens, and is ready once a peer has dialed; with the URL of a
listener it dials. With the FOLDER of the certificates it uses TLS. It ends with its stdin.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.bench import certificates
from tests.bench.processes import hide_c_masking
from tests.bench.profiling import profiled
from tests.bench.workloads import WORKLOADS

NAME = "bench"


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


@contextlib.contextmanager
def tunnelled(where: str, folder: str | None) -> Iterator[Any]:
    """What makes the adapters, with a peer connected."""
    import restsock.sync

    if where != "listen":
        with restsock.sync.connect(where, tls=certificates.dialer_tls(folder)) as client:
            yield client.adapter()
        return
    tls = certificates.listener_tls(folder)
    with restsock.sync.listen("127.0.0.1", 0, tls=tls) as server, server.events() as events:
        say({"url": server.url})
        next(iter(events))
        yield server.adapter(NAME)


def serve_threads(kind: str, where: str, folder: str | None = None) -> None:
    import requests

    import restsock
    from tests.bench import spells

    with contextlib.ExitStack() as stack:
        adapter: Any = None
        base = where
        if kind != "requests":
            adapter = stack.enter_context(tunnelled(where, folder))
            base = f"http://{NAME}"
        make = restsock.Session if kind == "session" else requests.Session

        def new_session() -> requests.Session:
            session = make()
            if adapter is not None:
                session.mount(f"{base}/", adapter)
            elif folder is not None:
                session.verify = str(certificates.files_in(Path(folder)).ca)
            return session

        say({"ready": True})
        for line in sys.stdin:
            order = json.loads(line)
            what = order.pop("do")
            if what == "spell":
                workload = WORKLOADS[order.pop("workload")]
                say(spells.spell(new_session, base, workload, **order))
            elif what == "bulk":
                say(spells.bulk(new_session, base, **order))
            elif what == "profile":
                post = adapter._requester.token.run_sync_soon if order["loop"] else None
                with new_session() as session:
                    run = partial(spells.calls, session, base, order["calls"])
                    run()
                    say({"shares": profiled(run, post)})
            elif what == "calls":
                with new_session() as session:
                    spells.calls(session, base, order["calls"])
                say({})
            else:
                say(spells.beside(new_session, base, **order))


async def serve_trio() -> None:
    import restsock
    from tests.bench import spells

    async with restsock.listen("127.0.0.1", 0) as server:
        async with server.events() as events:
            say({"url": server.url})
            await anext(aiter(events))
        route = server.route(NAME)
        say({"ready": True})
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            order = json.loads(line)
            workload = WORKLOADS[order["workload"]]
            say(await spells.trio_spell(route, workload, order["threads"], order["seconds"]))


def main() -> None:
    hide_c_masking()
    kind, where, *folder = sys.argv[1:]
    try:
        if kind == "trio":
            trio.run(serve_trio)
        else:
            serve_threads(kind, where, *folder)
    except Exception as error:
        say({"error": f"{kind} {where}: {type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
