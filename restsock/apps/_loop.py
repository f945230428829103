"""Detects which event loop an ASGI application needs, before it runs."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["LOOPS", "detect_loop"]

LOOPS = ("auto", "trio", "asyncio")

# By module and name, so that no framework has to be imported. Subclasses count as well.
_TRIO = ("quart_trio.app", "QuartTrio")

# The attributes in which middleware stores the app that it wraps.
_INNER = ("app", "application", "inner", "_app", "__wrapped__")

# The depth of nested middleware; more is taken for a cycle.
_DEPTH = 50


def detect_loop(app: Any) -> str:
    """Returns `"trio"` for an app of a framework that runs only on trio, otherwise `"asyncio"`.

    It looks at the class of the app, or of the app inside `functools.partial`, a bound method, or
    the attributes in which middleware usually stores its app.
    """
    for _ in range(_DEPTH):
        if any((cls.__module__, cls.__name__) == _TRIO for cls in type(app).__mro__):
            return "trio"
        inner = _inner(app)
        if inner is None:
            break
        app = inner
    return "asyncio"


def _inner(app: Any) -> Any:
    if isinstance(app, functools.partial):
        return app.func
    owner = getattr(app, "__self__", None)  # of a bound method, like the `asgi_app` of Quart-Trio
    if owner is not None:
        return owner
    # Only instance attributes: a class may have a dynamic attribute of any name.
    own = getattr(app, "__dict__", {})
    return next((own[name] for name in _INNER if callable(own.get(name))), None)
