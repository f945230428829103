"""Both directions at once: each peer serves and each peer calls, over one WebSocket."""

import trio

import restsock


async def hub(request: restsock.Request) -> restsock.Response:
    """The listener's own API. A coroutine function is enough when you need no framework."""
    return restsock.Response(body=f"the hub answers {request.target}")


async def edge(request: restsock.Request) -> restsock.Response:
    return restsock.Response(body=f"the edge answers {request.target}")


async def call(what: str, peer: restsock.Requester) -> None:
    for number in range(3):
        response = await peer.request("GET", f"/{what}/{number}")
        print(response.text)


async def main() -> None:
    async with (
        restsock.listen("127.0.0.1", 0, app=hub) as server,
        restsock.connect(server.url, app=edge, name="edge-1") as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(call, "from-the-edge", client)
        nursery.start_soon(call, "from-the-hub", server.route("edge-1"))


if __name__ == "__main__":
    trio.run(main)
