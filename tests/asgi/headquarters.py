"""What the hosts of these tests serve: FastAPI with peers at /tunnel, which its endpoints call."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Response
from starlette.routing import WebSocketRoute

import restsock
import restsock.asgi
from restsock.auth import BearerTokens

HEARTBEAT = restsock.Heartbeat(interval=0.3, timeout=0.3)

listener = restsock.asgi.Listener(options=restsock.Options(heartbeat=HEARTBEAT))
proxied = restsock.asgi.Listener(trusted_proxies="127.0.0.1", names="share")
guarded = restsock.asgi.Listener(auth=BearerTokens({"secret-of-edge-1": "edge-1"}))

app = FastAPI(lifespan=listener.lifespan)
app.router.routes.append(WebSocketRoute("/tunnel", listener))
app.router.routes.append(WebSocketRoute("/guarded", guarded))
app.router.routes.append(WebSocketRoute("/proxied", proxied))
app.mount("/mounted", listener)


@app.api_route("/call/{peer}/{path:path}", methods=["GET", "POST"])
def call(peer: str, path: str) -> Response:
    """Calls a peer from a thread of the server's."""
    with restsock.Session() as session:
        session.mount("http://peer/", listener.adapter(peer))
        answer = session.get(f"http://peer/{path}", timeout=10)
        return Response(answer.content, answer.status_code)


@app.get("/peers")
def peers() -> list[Any]:
    """Who is connected, from where."""
    connections = [*listener.sync.connections, *proxied.sync.connections]
    return [[c.name, c.peer.host, c.peer.port, c.peer.tls, c.round_trip] for c in connections]
