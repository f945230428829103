"""What the ingress itself answers: a problem (RFC 9457), or a small page for browsers."""

from __future__ import annotations

import html
from collections.abc import Iterable
from http import HTTPStatus

from restsock.apps import PROBLEM, Responder, ignore
from restsock.connection import Exchange
from restsock.protocol import elements_of

__all__ = ["answer_problem"]

_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<body style="font: 1rem/1.5 sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem">
<h1>{title}</h1>
<p>{detail}</p>
"""
_HTML = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"X-Content-Type-Options", b"nosniff"),
]


def answer_problem(
    exchange: Exchange, status: int, detail: str, fields: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answers a request in place of a peer.

    Args:
        exchange: not answered yet.
        status: 400 to 599.
        detail: a sentence for people; it must not tell what is inside.
        fields: further ones, Retry-After for example.
    """
    exchange.observer = ignore
    if exchange.closed:
        return
    response = Responder(exchange, exchange.request.method)
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    extra = [(b"Cache-Control", b"no-store"), *fields]
    if _wants_html(exchange):
        page = _PAGE.format(title=html.escape(f"{status} {title}"), detail=html.escape(detail))
        response.start(status, [*_HTML, *extra])
        response.body(page.encode(), more=False)
    else:
        response.start(status, [(b"Content-Type", PROBLEM), *extra])
        response.body(_problem(status, title, detail), more=False)


def _wants_html(exchange: Exchange) -> bool:
    """Whether the client names HTML, and names it before JSON: browsers do, API clients do not."""
    for accepted in elements_of(exchange.request.headers, b"accept"):
        kind = accepted.partition(b";")[0].strip().lower()
        if kind in (b"text/html", b"application/xhtml+xml"):
            return True
        if kind.endswith(b"json") or kind == b"*/*":
            return False
    return False


def _problem(status: int, title: str, detail: str) -> bytes:
    import json  # what loads this package may never need it

    return json.dumps({"title": title, "status": status, "detail": detail}).encode()
