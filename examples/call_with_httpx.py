"""Call a peer with httpx (or httpx2, which works the same way): blocking, and async on trio."""

import httpx
import trio

import restsock
import restsock.sync


async def app(request: restsock.Request) -> restsock.Response:
    body = await request.read()
    return restsock.Response(body=f"{request.method} {request.target} {len(body)} bytes")


def blocking() -> None:
    with (
        restsock.sync.listen("127.0.0.1", 0) as server,
        restsock.sync.connect(server.url, app=app, name="edge-1"),
        httpx.Client(transport=server.transport("edge-1"), base_url="http://edge-1") as http,
    ):
        print("blocking:", http.get("/pets", params={"limit": 1}).text)

        # Only edge-1 goes through the tunnel; all other hosts are reached over sockets, as usual.
        mounts = {"all://edge-1": server.transport("edge-1")}
        with httpx.Client(mounts=mounts) as everywhere:
            print("mounted: ", everywhere.post("http://edge-1/pets", content=b"Rex").text)

        try:
            with httpx.Client(transport=server.transport("edge-2")) as absent:
                absent.get("http://edge-2/", timeout=0.1)
        except httpx.ConnectTimeout as error:
            cause = error.__cause__
            assert isinstance(cause, restsock.RestsockError)
            print("absent:  ", type(cause).__name__, "- may have run:", cause.may_have_run)


async def on_trio() -> None:
    async with (
        restsock.listen("127.0.0.1", 0) as server,
        restsock.connect(server.url, app=app, name="edge-1"),
        httpx.AsyncClient(transport=server.transport("edge-1")) as http,
    ):

        async def call(number: int) -> None:
            response = await http.get(f"http://edge-1/pets/{number}")
            assert response.status_code == 200

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(call, number)
        print("on trio:  20 calls at once")


if __name__ == "__main__":
    blocking()
    trio.run(on_trio)
