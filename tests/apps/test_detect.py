from __future__ import annotations

import functools
import wsgiref.validate
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette

from restsock.apps import make_handler
from restsock.apps._detect import detect_interface
from restsock.connection import Request, Response
from tests.frameworks.django_settings import use_urls


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


async def asgi_with_more(app: Any, scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> Iterable[bytes]:
    return []


def wsgi_with_more(app: Any, environ: Any, start_response: Any) -> Iterable[bytes]:
    return []


async def function(request: Request) -> Response:
    return Response()


async def function_with_options(request: Request, database: Any = None) -> Response:
    return Response()


class AsgiObject:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class AsgiByAwaitable:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return asgi(scope, receive, send)


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        return []


class FunctionObject:
    async def __call__(self, request: Request) -> Response:
        return Response()

    async def method(self, request: Request) -> Response:
        return Response()


def wrapped(app: Any) -> Callable[..., Any]:
    @functools.wraps(app)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await app(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi, "asgi"),
        (functools.partial(asgi_with_more, None), "asgi"),
        (AsgiObject(), "asgi"),
        (AsgiByAwaitable(), "asgi"),
        (wrapped(asgi), "asgi"),
        (Starlette(), "asgi"),
        (FastAPI(), "asgi"),
        (wsgi, "wsgi"),
        (functools.partial(wsgi_with_more, None), "wsgi"),
        (WsgiObject(), "wsgi"),
        (Flask("x"), "wsgi"),
        (function, "function"),
        (function_with_options, "function"),
        (functools.partial(function_with_options, database=1), "function"),
        (FunctionObject(), "function"),
        (FunctionObject().method, "function"),
        (wrapped(function), "function"),
    ],
)
def test_it_shows(app: Any, interface: str) -> None:
    assert detect_interface(app, None) == interface
    make_handler(app)


def test_it_shows_for_django() -> None:
    use_urls(__name__)
    assert detect_interface(get_wsgi_application(), None) == "wsgi"
    assert detect_interface(get_asgi_application(), None) == "asgi"


async def two_coroutine(a: Any, b: Any, c: Any, d: Any) -> None: ...


def double_callable(scope: Any) -> Any: ...


def keywords(environ: Any, start_response: Any, *, needed: Any) -> Any: ...


async def anything(*args: Any) -> None: ...


@pytest.mark.parametrize(
    "app",
    [
        two_coroutine,
        double_callable,
        keywords,
        anything,
        AsgiObject,
        wsgiref.validate.validator(wsgi),
        print,
        dict,
    ],
)
def test_it_does_not_show(app: Any) -> None:
    with pytest.raises(TypeError, match=r'"asgi" .*"wsgi" .*"function"'):
        make_handler(app)
    for interface in ("asgi", "wsgi", "function"):
        make_handler(app, interface=interface)


def factory() -> Any: ...


def synchronous(request: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        (factory, "If it makes the app, call it and pass what it returns"),
        (synchronous, 'If it takes a Request, write "async def"'),
        (two_coroutine, "Otherwise pass interface="),
    ],
)
def test_what_to_do_about_it_is_said(app: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=f"^cannot tell what kind of app .*{hint}"):
        make_handler(app)


def test_what_is_no_app() -> None:
    with pytest.raises(TypeError, match="pass the app itself, not its import path 'module:app'"):
        make_handler("module:app")
    with pytest.raises(TypeError, match=r"WSGI or ASGI .* but None is not callable"):
        make_handler(None, interface="wsgi")
    with pytest.raises(ValueError, match='"asgi" '):
        make_handler(wsgi, interface="http")


def test_numbers_out_of_range() -> None:
    with pytest.raises(ValueError, match="workers"):
        make_handler(wsgi, workers=0)
    with pytest.raises(ValueError, match="queue_size"):
        make_handler(wsgi, queue_size=-1)
