"""Devices dial a Django project: its asgi.py hands WebSockets to the listener; views call them."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import django
import httpx
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

import restsock
import restsock.aio
import restsock.asgi

# --- settings.py ---------------------------------------------------------------------------------

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of-this-example")
django.setup()

# --- tunnel.py -----------------------------------------------------------------------------------

listener = restsock.asgi.Listener()

# --- views.py ------------------------------------------------------------------------------------


async def stock(request: HttpRequest, shop: str) -> JsonResponse:
    response = await listener.request(shop, "GET", "/stock", timeout=10)
    return JsonResponse(response.json())


def report(request: HttpRequest, shop: str) -> HttpResponse:  # Django runs it in a thread
    with restsock.Session() as session:
        session.mount("http://shop/", listener.adapter(shop))
        return HttpResponse(session.get("http://shop/report", timeout=10).text)


# --- urls.py -------------------------------------------------------------------------------------

urlpatterns = [path("stock/<shop>", stock), path("report/<shop>", report)]

# --- asgi.py: `uvicorn project.asgi:application` -------------------------------------------------

django_application = get_asgi_application()


async def application(
    scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Awaitable[None]]
) -> None:
    # Django knows neither WebSockets nor the lifespan, with which the listener starts and ends.
    tunnel = scope["type"] == "websocket" and scope["path"] == "/tunnel"
    if tunnel or scope["type"] == "lifespan":
        await listener(scope, receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close"})  # before it is accepted: a 403
    else:
        await django_application(scope, receive, send)


# --- a device, which is another program ----------------------------------------------------------


async def device(request: restsock.Request) -> restsock.Response:
    if request.path == "/stock":
        return restsock.Response(200, {"Content-Type": "application/json"}, b'{"apples": 3}')
    return restsock.Response(200, body="sold 41 apples")


# --- both at once, to see it work ----------------------------------------------------------------


async def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    url = f"ws://127.0.0.1:{port}"
    async with restsock.aio.connect(f"{url}/tunnel", app=device, name="shop-7", proxy=False):
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as browser:
            for where in ("/stock/shop-7", "/report/shop-7"):
                answer = await browser.get(where)
                print("GET", where, "->", answer.status_code, answer.text)
    try:
        async with restsock.aio.connect(f"{url}/elsewhere", proxy=False):
            print("this is not reached")
    except restsock.HandshakeError as exc:
        print("another path:", exc)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
