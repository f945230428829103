"""Devices dial the port of your FastAPI application, and its endpoints call them."""

import asyncio
import contextlib
import socket

import fastapi
import httpx
import uvicorn
from starlette.routing import WebSocketRoute

import restsock
import restsock.aio
import restsock.asgi
from restsock.auth import Bearer, BearerTokens

# --- headquarters: in production, `uvicorn headquarters:app` -------------------------------------

listener = restsock.asgi.Listener(
    auth=BearerTokens({"secret-of-shop-7": "shop-7"}),
    # How long a request waits for a shop that is away.
    options=restsock.Options(timeouts=restsock.Timeouts(connect=0.5)),
)
app = fastapi.FastAPI(lifespan=listener.lifespan)
app.router.routes.append(WebSocketRoute("/tunnel", listener))


@app.get("/stock/{shop}")
async def stock(shop: str) -> object:
    try:
        response = await listener.request(shop, "GET", "/stock", timeout=10)
    except restsock.PeerNotFound as exc:
        raise fastapi.HTTPException(404, str(exc)) from exc
    return response.json()


@app.get("/report/{shop}")
def report(shop: str) -> str:  # a `def` endpoint runs in a thread and may use requests
    with restsock.Session() as session:
        session.mount("http://shop/", listener.adapter(shop))
        return session.get("http://shop/report", timeout=10).text


# --- a shop: in production, another program behind NAT -------------------------------------------

shop_7 = fastapi.FastAPI()


@shop_7.get("/stock")
async def stock_here() -> dict[str, int]:
    return {"apples": 3}


@shop_7.get("/report", response_class=fastapi.responses.PlainTextResponse)
def report_here() -> str:
    return "sold 41 apples"


# --- both at once, to see it work ----------------------------------------------------------------


async def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    url = f"ws://127.0.0.1:{port}/tunnel"
    async with restsock.aio.connect(
        url, app=shop_7, name="shop-7", auth=Bearer("secret-of-shop-7"), proxy=False
    ):
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as browser:
            for path in ("/stock/shop-7", "/report/shop-7", "/stock/shop-8"):
                answer = await browser.get(path)
                print("GET", path, "->", answer.status_code, answer.text)

    with contextlib.suppress(restsock.HandshakeError):
        async with restsock.aio.connect(url, name="shop-7", auth=Bearer("guessed"), proxy=False):
            print("this is not reached")
    print("a shop with a wrong token is turned away")

    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
