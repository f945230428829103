"""What the hosts of these tests serve: FastAPI with peers at /tunnel, which its endpoints call."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import anyio.to_thread
import httpx
from fastapi import FastAPI, Request, Response
from starlette.routing import WebSocketRoute

import restsock
import restsock.asgi
from restsock.auth import BearerTokens

HEARTBEAT = restsock.Heartbeat(interval=0.3, timeout=0.3)

home = FastAPI()
listener = restsock.asgi.Listener(
    app=home, options=restsock.Options(heartbeat=HEARTBEAT), drain_on_signal=True
)
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


@app.get("/ask/{peer}/{path:path}")
async def ask(peer: str, path: str) -> Response:
    """Calls a peer from the loop of the server."""
    try:
        answer = await listener.request(peer, "GET", f"/{path}", timeout=10)
    except restsock.RestsockError as exc:
        return Response(str(exc), 501)
    return Response(answer.content, answer.status)


@app.get("/fetch/{peer}/{path:path}")
async def fetch(peer: str, path: str) -> Response:
    """Calls a peer with httpx, on whatever loop the server has."""
    async with httpx.AsyncClient(transport=listener.transport(peer)) as client:
        answer = await client.get(f"http://peer/{path}", timeout=10)
        return Response(answer.content, answer.status_code)


@app.get("/talk/{peer}/{word}")
async def talk(peer: str, word: str) -> Response:
    """Talks to a WebSocket of a peer from the loop of the server."""
    try:
        async with listener.route(peer).websocket("/echo") as websocket:
            await websocket.send(word)
            return Response(await websocket.receive())
    except restsock.RestsockError as exc:
        return Response(str(exc), 501)


@app.get("/talk-in-a-thread/{peer}/{word}")
def talk_in_a_thread(peer: str, word: str) -> Response:
    """The same from a thread of the server's."""
    with listener.sync.route(peer).websocket("/echo") as websocket:
        websocket.send(word)
        return Response(websocket.receive(timeout=10))


@app.get("/find/{url:path}")
async def find(url: str) -> Response:
    """Calls the peer that a URL names, with httpx and in a thread with requests."""
    async with httpx.AsyncClient(transport=listener.transport(suffix=".peers")) as client:
        answer = await client.get(f"http://{url}", timeout=10)
    with restsock.Session() as session:
        session.mount("http://", listener.adapter(suffix=".peers"))
        get = partial(session.get, f"http://{url}", timeout=10)
        again = await anyio.to_thread.run_sync(get)
    assert again.content == answer.content
    return Response(answer.content, answer.status_code)


@app.get("/next-event")
async def next_event() -> list[Any]:
    """Waits for what happens next."""
    async with listener.events() as events:
        event = await events.receive()
        return [event.type, event.name]


@home.get("/loop")
async def loop_of_the_app() -> int:
    """Which thread the loop is in on which peers are served."""
    return threading.get_ident()


@home.post("/size")
async def size(request: Request) -> int:
    """How long a body is, once all of it has come."""
    return len(await request.body())


@app.get("/loop")
async def loop_of_the_server() -> int:
    """Which thread the server's loop is in."""
    return threading.get_ident()


@app.get("/peers")
def peers() -> list[Any]:
    """Who is connected, from where."""
    connections = [*listener.sync.connections, *proxied.sync.connections]
    return [[c.name, c.peer.host, c.peer.port, c.peer.tls, c.round_trip] for c in connections]
