"""A tiny WSGI app to try things with: ``restsock serve restsock.cli.demo:app``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["app"]

_PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>restsock demo</title>
<h1>It works.</h1>
<p>Try <a href="pets">/pets</a>, <a href="echo">/echo</a>, <a href="slow">/slow</a> and
<a href="count">/count</a>.
"""
_MAX_BODY = 64 * 1024

_pets = ["Rex", "Tom"]


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI app (PEP 3333)."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if path in ("", "/"):
        return _answer(start_response, "200 OK", _PAGE, "text/html; charset=utf-8")
    if path == "/pets":
        if method == "POST":
            _pets[:] = [*_pets, _name_in(_body_of(environ))][-20:]
            return _json(start_response, "201 Created", _pets)
        return _json(start_response, "200 OK", _pets)
    if path == "/echo":
        fields = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
        echo = {
            "method": method,
            "path": path,
            "query": environ.get("QUERY_STRING", ""),
            "fields": fields,
            "body": _body_of(environ).decode("utf-8", "replace"),
        }
        return _json(start_response, "200 OK", echo)
    if path == "/slow":
        time.sleep(2)
        return _answer(start_response, "200 OK", b"That took two seconds.\n")
    if path == "/count":
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return _count()
    return _answer(start_response, "404 Not Found", b"There is nothing here.\n")


def _name_in(body: bytes) -> str:
    """A name: `name` in a JSON object, a JSON text, or the body as it is."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    name = value.get("name") if isinstance(value, dict) else value
    return str(name)[:40]


def _count() -> Iterator[bytes]:
    for number in range(1, 11):
        yield b"%d\n" % number
        time.sleep(0.5)


def _body_of(environ: dict[str, Any]) -> bytes:
    body: bytes = environ["wsgi.input"].read(_MAX_BODY)
    return body


def _json(start_response: Callable[..., Any], status: str, value: object) -> list[bytes]:
    return _answer(start_response, status, json.dumps(value).encode() + b"\n", "application/json")


def _answer(
    start_response: Callable[..., Any],
    status: str,
    body: bytes,
    kind: str = "text/plain; charset=utf-8",
) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
