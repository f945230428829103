"""Which event loop an ASGI application needs, as far as it shows before it runs."""

from __future__ import annotations

import functools
from typing import Any

__all__ = ["LOOPS", "detect_loop"]

LOOPS = ("auto", "trio", "asyncio")

# By module and name, so that no framework is imported to find out. A class counts for those that
# inherit from it.
_TRIO = ("quart_trio.app", "QuartTrio")

# Where middleware keeps what it wraps.
_INNER = ("app", "application", "inner", "_app", "__wrapped__")

# Middleware around middleware: more of it is a ring.
_DEPTH = 50


def detect_loop(app: Any) -> str:
    """Returns `"trio"` for an app of a framework that runs on trio alone, else `"asyncio"`.

    Looked at is the class of the app, or of what it wraps: inside `functools.partial`, a bound
    method, or the attributes in which middleware usually keeps its app.
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
    # Its own attributes only: a class may answer to any name.
    own = getattr(app, "__dict__", {})
    return next((own[name] for name in _INNER if callable(own.get(name))), None)
