"""The pet store of the demo, served to a peer that speaks swaggersocket, and peers called by it.

The other end would be a program in Go. Here it is a few lines over a plain WebSocket, to show what
such a peer sends: three JSON messages, then each message is an HTTP request or its response.
"""

import contextlib
import json
import sqlite3
import tempfile
from pathlib import Path

import requests
import trio

import restsock
from examples.petstore.store import SCHEMA, make_app
from restsock import swaggersocket
from restsock.websockets import ClientWebSocket
from restsock.websockets import connect as plain_connect

NEW = json.dumps({"name": "Nemo", "kind": "fish"})


async def shake(websocket: ClientWebSocket, metadata: object) -> str:
    """The handshake of the original; returns the id of the connection."""
    await websocket.send(json.dumps({"Type": "ClientHandshakeMetaData", "Meta": metadata}))
    told = json.loads(await websocket.receive())
    await websocket.send(json.dumps({"Type": "ClientHandshakeAckFrame"}))
    return str(told["ConnectionID"])


async def ask(websocket: ClientWebSocket, line: str, body: str = "") -> None:
    """Sends one request, and prints the first and the last line of its response."""
    fields = f"Host: petstore\r\nX-Correlation-Id: 7\r\nContent-Length: {len(body)}\r\n"
    fields += "Content-Type: application/json\r\n"
    await websocket.send(f"{line} HTTP/1.1\r\n{fields}\r\n{body}")
    head, _, answer = str(await websocket.receive()).partition("\r\n\r\n")
    print(line, "->", head.split("\r\n")[0], answer[:60])


async def answer_one(websocket: ClientWebSocket) -> None:
    """The peer has an API, too: it answers one request of the store."""
    request = str(await websocket.receive())
    print("the peer is asked:", request.split("\r\n")[0])
    id = request.partition("X-Correlation-Id: ")[2].partition("\r\n")[0]
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Correlation-Id: {id}\r\n\r\n"
    await websocket.send(head + "pong")


async def main(database: str) -> None:
    app = make_app(database, requests.Session())
    endpoint = swaggersocket.Endpoint(name_of=lambda metadata: metadata["name"])
    async with restsock.listen("127.0.0.1", 0, app=app, endpoints={"/": endpoint}) as server:
        async with plain_connect(server.url) as websocket:
            id = await shake(websocket, {"name": "till-3", "floor": 1})
            await ask(websocket, "GET /pets")
            await ask(websocket, "POST /pets", NEW)
            await ask(websocket, "GET /pets/99")

            connection = server.connections.by_id(id)
            assert connection is not None
            print("it is known by", connection.name, connection.metadata)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_one, websocket)
                response = await server.request("till-3", "GET", "/ping", timeout=10)
                print("and answers:", response.text)

        # The dialing end of the original is replaced in the same way: the store does not notice.
        async with swaggersocket.connect(server.url, metadata={"name": "till-4"}) as client:
            pets = (await client.request("GET", "/pets", timeout=10)).json()
            print("till-4 sees", ", ".join(pet["name"] for pet in pets))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pets.sqlite"
        with contextlib.closing(sqlite3.connect(path)) as store:
            store.executescript(SCHEMA)
        trio.run(main, str(path))
