"""Django by WSGI, and by ASGI: the same project, with views of either kind."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.frameworks.django_settings import use_urls
from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site

# The views are found by the name of this module, so what they share with the tests is here.
_site = Site()


def make(site: Site) -> Any:
    _use(site, __name__)
    return get_wsgi_application()


def make_asgi(site: Site) -> Any:
    _use(site, AsyncUrls)
    return get_asgi_application()


def _use(site: Site, urls: Any) -> None:
    global _site  # noqa: PLW0603  # see above
    _site = site
    use_urls(urls)


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(HELLO)


def _increased(request: HttpRequest, connection: Any) -> HttpResponse:
    number = json.loads(request.body)["number"] + 1
    return JsonResponse({"number": number, "name": connection.name})


def plain_json(request: HttpRequest) -> HttpResponse:
    return _increased(request, request.environ["restsock.connection"])


async def async_json(request: Any) -> HttpResponse:
    return _increased(request, request.scope["restsock"])


def upload(request: HttpRequest) -> HttpResponse:
    digest = Digest()
    while data := request.read(64 * 1024):
        digest.feed(data)
    return JsonResponse(digest.result())


def download(request: HttpRequest) -> Any:
    return StreamingHttpResponse(PIECE for _ in range(PIECES))


async def async_download(request: HttpRequest) -> Any:
    async def made() -> AsyncIterator[bytes]:
        for _ in range(PIECES):
            yield PIECE

    return StreamingHttpResponse(made())


def events(request: HttpRequest) -> Any:
    def made() -> Iterator[str]:
        for number in range(EVENTS):
            _site.wait()
            yield f"data: {number}\n\n"

    return StreamingHttpResponse(made(), content_type="text/event-stream")


async def async_events(request: HttpRequest) -> Any:
    async def made() -> AsyncIterator[str]:
        for number in range(EVENTS):
            await _site.wait_async()
            yield f"data: {number}\n\n"

    return StreamingHttpResponse(made(), content_type="text/event-stream")


def error(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


async def async_error(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [
    path("hello", hello),
    path("json", plain_json),
    path("upload", upload),
    path("download", download),
    path("events", events),
    path("error", error),
]


class AsyncUrls:
    """A URL configuration may be any object with these."""

    urlpatterns = (
        path("hello", hello),  # a plain view by ASGI runs in a thread of Django's
        path("json", async_json),
        path("upload", upload),
        path("download", async_download),
        path("events", async_events),
        path("error", async_error),
    )
