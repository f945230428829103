"""Django with peers at its WebSockets, as docs/existing-server.md says."""

from __future__ import annotations

from typing import Any

import django.conf
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

import restsock
import restsock.asgi

django.conf.settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of a test"
)
listener = restsock.asgi.Listener(drain_on_signal=True)


def call(request: HttpRequest, peer: str, rest: str) -> HttpResponse:
    with restsock.Session() as session:
        session.mount("http://peer/", listener.adapter(peer))
        answer = session.get(f"http://peer/{rest}", timeout=10)
        return HttpResponse(answer.content, status=answer.status_code)


async def ask(request: HttpRequest, peer: str, rest: str) -> HttpResponse:
    answer = await listener.request(peer, "GET", f"/{rest}", timeout=10)
    return HttpResponse(answer.content, status=answer.status)


def peers(request: HttpRequest) -> HttpResponse:
    names = [connection.name for connection in listener.sync.connections]
    return JsonResponse(names, safe=False)


urlpatterns = [
    path("call/<str:peer>/<path:rest>", call),
    path("ask/<str:peer>/<path:rest>", ask),
    path("peers", peers),
]
http = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await http(scope, receive, send)
    else:  # a WebSocket; or the lifespan, of which Django knows nothing
        await listener(scope, receive, send)
