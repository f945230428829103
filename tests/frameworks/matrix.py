"""The frameworks and what is shown of each: the tests' parameters, and the table in the docs."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from tests.frameworks.site import Site

__all__ = ["FEATURES", "FRAMEWORKS", "Framework", "table"]

# Name in the tests -> heading in the docs.
FEATURES = {
    "hello": "Hello",
    "json": "JSON POST",
    "upload": "Upload, 20 MB",
    "download": "Streamed download",
    "events": "Server-sent events",
    "websocket": "WebSocket",
    "error": "Error is a 500",
    "lifespan": "Lifespan",
}


class Framework(NamedTuple):
    """One row.

    Attributes:
        name: as people know it.
        module: in this folder, where its app is made.
        runs_on: the interface, and for ASGI the loop that `loop="auto"` finds, or that is said.
        lacks: features that the framework itself does not have.
        make: the function that makes the app.
        loop: what is passed as `loop`.
    """

    name: str
    module: str
    runs_on: str
    lacks: tuple[str, ...] = ()
    make: str = "make"
    loop: str = "auto"

    @property
    def id(self) -> str:
        """Its name in the tests."""
        said = "" if self.loop == "auto" else f"-on-{self.loop}"
        return self.name.lower().replace(" ", "-") + said

    def app(self, site: Site) -> Any:
        """Makes the app."""
        module = importlib.import_module(f"tests.frameworks.{self.module}")
        return getattr(module, self.make)(site)


_PLAIN = ("websocket", "lifespan")  # WSGI has neither

FRAMEWORKS = [
    Framework("Flask", "flask_app", "WSGI", _PLAIN),
    Framework("Django WSGI", "django_app", "WSGI", _PLAIN),
    Framework("Django ASGI", "django_app", "asyncio", _PLAIN, "make_asgi"),
    Framework("FastAPI", "fastapi_app", "asyncio", (), "make_asyncio"),
    Framework("FastAPI", "fastapi_app", "trio", loop="trio"),
    Framework("Starlette", "starlette_app", "asyncio"),
    Framework("Starlette", "starlette_app", "trio", loop="trio"),
    Framework("Litestar", "litestar_app", "asyncio"),
    Framework("Litestar", "litestar_app", "trio", loop="trio"),
    Framework("Falcon WSGI", "falcon_app", "WSGI", _PLAIN),
    Framework("Falcon ASGI", "falcon_app", "asyncio", (), "make_asgi"),
    Framework("Quart", "quart_app", "asyncio"),
    Framework("Quart-Trio", "quart_app", "trio", (), "make_trio"),
    Framework("Bottle", "bottle_app", "WSGI", _PLAIN),
    Framework("Pyramid", "pyramid_app", "WSGI", _PLAIN),
]


def table() -> str:
    """The matrix as docs/frameworks.md shows it."""
    lines = [
        "| Framework | Runs on | " + " | ".join(FEATURES.values()) + " |",
        "|---|---|" + ":-:|" * len(FEATURES),
    ]
    for framework in FRAMEWORKS:
        runs_on = framework.runs_on
        if framework.loop != "auto":
            runs_on += f', with `loop="{framework.loop}"`'
        cells = ["no" if feature in framework.lacks else "yes" for feature in FEATURES]
        lines.append(f"| {framework.name} | {runs_on} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
