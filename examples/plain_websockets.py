"""Plain WebSockets: a device without restsock sends readings and gets commands.

`serve` is called for each device. A device may be any program with a WebSocket library; here it is
a `Dialer`, which reconnects when its connection has ended.
"""

import json

import trio

import restsock
from restsock.auth import Bearer, BearerTokens
from restsock.websockets import (
    ClientWebSocket,
    Dialer,
    Endpoint,
    Reconnect,
    ServerWebSocket,
    connect,
)


async def serve(websocket: ServerWebSocket) -> None:
    assert websocket.principal is not None
    print(websocket.principal.name, "is connected")
    async for message in websocket:
        celsius = json.loads(message)["celsius"]
        print("reading:", celsius)
        if celsius > 80:
            await websocket.send("cool down")
            return  # it is closed, and the device comes back


async def main() -> None:
    endpoint = Endpoint(serve, auth=BearerTokens({"s3cret": "boiler-1"}), max_message=4096)
    async with restsock.listen("127.0.0.1", 0, endpoints={"/devices": endpoint}) as server:
        url = f"{server.url}devices"

        async def device(websocket: ClientWebSocket) -> None:
            for celsius in (75, 85):
                await websocket.send(json.dumps({"celsius": celsius}))
            print("the device is told:", await websocket.receive())
            if dialer.connections == 2:
                dialer.stop()

        dialer = Dialer(url, device, auth=Bearer("s3cret"), reconnect=Reconnect(initial=0.05))
        await dialer.run()
        print("the device has connected", dialer.connections, "times")

        try:
            async with connect(url, auth=Bearer("wrong")):
                pass
        except restsock.WebSocketRefused as exc:
            print("a stranger gets", exc.status)


if __name__ == "__main__":
    trio.run(main)
