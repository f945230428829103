"""Detects which of the three interfaces an app has, from its signature."""

from __future__ import annotations

import inspect
from typing import Any

from .forward._forward import Forward

__all__ = ["detect_interface"]

_CHOICES = (
    '"asgi" (async (scope, receive, send)), "wsgi" ((environ, start_response)) or '
    '"function" (async (Request) -> Response)'
)


def detect_interface(app: Any, interface: str | None) -> str:
    """Returns the interface of an app: `"asgi"`, `"wsgi"`, `"function"` or `"forward"`.

    An app with three required arguments is ASGI 3, with two WSGI; a coroutine function with one
    argument is a function app. It may be a function, a `functools.partial`, or an object with
    `__call__`.

    Args:
        app: The app.
        interface: The interface that was passed, if any.

    Raises:
        TypeError: The app is not callable, or its interface cannot be detected.
        ValueError: `interface` is none of the three.
    """
    if isinstance(app, Forward):
        if interface is not None:
            raise ValueError("`forward` takes no interface=")
        return "forward"
    if not callable(app):
        if isinstance(app, str):
            raise TypeError(f"pass the app itself, not its import path {app!r}")
        raise TypeError(
            f"an app is a WSGI or ASGI application or a coroutine function, but {app!r} is not"
            " callable"
        )
    if interface is not None:
        if interface not in ("asgi", "wsgi", "function"):
            raise ValueError(f"interface must be {_CHOICES}, not {interface!r}")
        return interface
    required = None if inspect.isclass(app) else _required_arguments(app)
    if required == 3:
        return "asgi"
    if required == 2:
        return "wsgi"
    if required == 1 and _is_coroutine_function(app):
        return "function"
    hint = ""
    if required == 0:
        hint = "If it makes the app, call it and pass what it returns. "
    elif required == 1:
        hint = 'If it takes a Request, write "async def". '
    raise TypeError(
        f"cannot tell what kind of app {app!r} is. {hint}Otherwise pass interface=: {_CHOICES}"
    )


def _required_arguments(app: Any) -> int | None:
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):  # some callables that are written in C
        return None
    required = 0
    for parameter in signature.parameters.values():
        if parameter.default is not parameter.empty:
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            required += 1
        elif parameter.kind is parameter.KEYWORD_ONLY:
            return None  # none of the three interfaces passes it
    return required


def _is_coroutine_function(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(app, "__call__", None)  # noqa: B004  # to inspect the method, not to test for it
    )
