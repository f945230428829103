"""The gateway of restsock in a process of its own; it ends with its stdin.

python -m tests.bench.gateway_ends http BACKEND          calls become requests of HTTP
python -m tests.bench.gateway_ends websocket BACKEND     each session has a WebSocket behind it
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

from tests.bench.gateway_wire import raise_file_limit
from tests.bench.processes import hide_c_masking

PATH = "/ws"
_SLOTS = 25
_TIMEOUT = 10.0


async def _serve(kind: str, backend: str) -> None:
    import restsock
    from restsock import gateway as gw

    async def push(message: gw.Message) -> gw.Reply:
        """To all sessions: one is asked for by whoever measures."""
        gateway.sessions.broadcast({"push": message.body["text"]})
        return gw.Reply(silent=True)

    channel: gw.Channel
    if kind == "http":
        routes: dict[str, Any] = {"push": push, "echo": gw.HTTP(backend)}
        router = gw.Router(routes)
        before = [gw.Timeout(_TIMEOUT)]
        channel = gw.Channel(
            PATH, gw.Action(), router, middleware=before, in_flight=_SLOTS, max_queue=8 * 1024**2
        )
    else:
        pipe = gw.Pipe(gw.WebSocket(backend, ids=None))
        channel = gw.Channel(PATH, gw.RawDialect(), pipe, in_flight=_SLOTS)
    gateway = gw.Gateway([channel])
    options = restsock.Options(sockets=restsock.SocketOptions(backlog=2048))
    async with restsock.listen("127.0.0.1", 0, endpoints=gateway, options=options) as server:
        print(json.dumps({"port": server.address[1]}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


def main() -> None:
    hide_c_masking()
    raise_file_limit()
    kind, backend = sys.argv[1:]
    from restsock.cli._collector import collect_seldom

    collect_seldom()  # as `restsock gateway` does
    trio.run(_serve, kind, backend)


if __name__ == "__main__":
    main()
