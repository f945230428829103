from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from tests.frameworks.site import EVENTS, HELLO, PIECE, PIECES, Digest, Site

with warnings.catch_warnings():
    # WebOb and Pyramid still import what Python and setuptools are going to drop.
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    warnings.filterwarnings("ignore", "Deprecated call to `pkg_resources", DeprecationWarning)
    from pyramid.config import Configurator
    from pyramid.response import Response


def make(site: Site) -> Any:
    def hello(request: Any) -> Any:
        return Response(HELLO)

    def json(request: Any) -> Any:
        name = request.environ["restsock.connection"].name
        return {"number": request.json_body["number"] + 1, "name": name}

    def upload(request: Any) -> Any:
        digest = Digest()
        while data := request.body_file_raw.read(64 * 1024):
            digest.feed(data)
        return digest.result()

    def download(request: Any) -> Any:
        return Response(app_iter=(PIECE for _ in range(PIECES)))

    def events(request: Any) -> Any:
        def made() -> Iterator[bytes]:
            for number in range(EVENTS):
                site.wait()
                yield b"data: %d\n\n" % number

        return Response(app_iter=made(), content_type="text/event-stream")

    def error(request: Any) -> Any:
        raise ZeroDivisionError

    with Configurator() as config:
        for view, renderer in (
            (hello, None),
            (json, "json"),
            (upload, "json"),
            (download, None),
            (events, None),
            (error, None),
        ):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, renderer=renderer)
        return config.make_wsgi_app()
