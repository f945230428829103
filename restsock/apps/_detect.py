"""Which of the three interfaces an app has, from the shape of its call."""

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
    """Returns the interface to serve an app by: `"asgi"`, `"wsgi"`, `"function"` or `"forward"`.

    An app that must be called with three arguments is ASGI 3, one with two is WSGI, a coroutine
    function with one is a function of restsock's. It may be a function, a `functools.partial`, or
    an object with `__call__`.

    Args:
        app: The app.
        interface: What its owner says, if anything.

    Raises:
        TypeError: It cannot be called, or neither `interface` nor its call tells what it is.
        ValueError: `interface` is none of the three.
    """
    if isinstance(app, Forward):
        if interface is not None:
            raise ValueError("what `forward` gives has no interface= to choose")
        return "forward"
    if not callable(app):
        if isinstance(app, str):
            raise TypeError(f"pass the app itself, not its import path {app!r}")
        raise TypeError(
            f"an app is a WSGI or ASGI application or a coroutine function, and {app!r} is none: "
            "it cannot be called"
        )
    if interface is not None:
        if interface not in ("asgi", "wsgi", "function"):
            raise ValueError(f"interface has to be {_CHOICES}, not {interface!r}")
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
            return None  # none of the three passes it
    return required


def _is_coroutine_function(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(app, "__call__", None)  # noqa: B004  # the method itself, to look at, not to test for
    )
