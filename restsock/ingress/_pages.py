"""What the ingress itself answers: a problem (RFC 9457), or a small page for browsers."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from restsock._exceptions import (
    LocalProtocolError,
    PeerNotFound,
    PeerUnavailable,
    RemoteProtocolError,
    RequestTimeout,
    RestsockError,
    StreamRefused,
)
from restsock.apps import PROBLEM, Responder
from restsock.auth import Answered
from restsock.connection import Exchange, ignore
from restsock.protocol import elements_of

from ._names import nobody

__all__ = ["Pages", "Problem", "problem_of"]

# On all that the ingress answers itself, and on nothing else: no peer can send it.
_MAY_HAVE_RUN = b"Restsock-May-Have-Run"

_PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{status} {title}</title>
<body style="font: 1rem/1.5 sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem">
<h1>{status} {title}</h1>
<p>{detail}</p>
"""
_HTML = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
    (b"X-Content-Type-Options", b"nosniff"),
]
_JSON = [(b"Content-Type", b"application/json")]
_PROBLEM = [(b"Content-Type", PROBLEM)]
_FIELDS = [(b"Cache-Control", b"no-store"), (b"Vary", b"Accept")]

_FILE = re.compile(r"([45][0-9]{2})\.(html|json)")
_MAX_FILE = 64 * 1024
_PLACE = re.compile(r"\{(status|title|detail)\}")


class Problem(NamedTuple):
    """How a failure is answered: in words that tell nothing of what is inside."""

    status: int
    detail: str
    fields: list[tuple[bytes, bytes]]
    may_have_run: bool


def problem_of(error: RestsockError | None) -> Problem:
    """How to answer a request that its peer has not answered.

    Args:
        error: why; `None` where the body was too large.
    """
    # Where nothing is known of it, it may.
    may_have_run = error is not None and error.may_have_run is not False
    fields: list[tuple[bytes, bytes]] = []
    if error is None:
        status, detail = 413, "The body of the request is too large."
    elif isinstance(error, PeerNotFound):
        status, detail = 404, nobody().text
    elif isinstance(error, (PeerUnavailable, StreamRefused)):
        status, detail = 503, "This host is not available now."
        fields.append((b"Retry-After", b"2"))
    elif isinstance(error, RequestTimeout):
        status, detail = 504, "This host does not answer in time."
    elif isinstance(error, LocalProtocolError):
        status, detail = 400, "The request is malformed."
    elif isinstance(error, RemoteProtocolError):
        status, detail = 502, "The answer of this host cannot be passed on."
    else:
        status, detail = 502, "The connection to this host was lost."
    return Problem(status, detail, fields, may_have_run)


class Pages:
    """Answers requests in place of peers.

    Args:
        folder: has files such as `404.html` and `503.json` for some statuses. In them `{status}`,
            `{title}` and `{detail}` are filled in; in JSON the two texts come with their quotes.

    Raises:
        OSError: the folder or a file cannot be read.
        ValueError: a file is not text in UTF-8, is longer than 64 KiB, or is no JSON.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._files: dict[tuple[int, str], str] = {}
        for path in [] if folder is None else sorted(Path(folder).iterdir()):
            if found := _FILE.fullmatch(path.name):
                self._files[int(found[1]), found[2]] = _read(path)

    def answer(
        self,
        exchange: Exchange,
        status: int,
        detail: str,
        fields: Iterable[tuple[bytes, bytes]],
        *,
        may_have_run: bool,
    ) -> None:
        """Answers a request.

        Args:
            exchange: not answered yet.
            status: 400 to 599.
            detail: a sentence for people; it must not tell what is inside.
            fields: further ones, Retry-After for example.
            may_have_run: whether the peer may have begun with it.
        """
        exchange.observer = ignore
        if exchange.closed:
            return
        kind = "html" if _wants_html(exchange) else "json"
        template = self._files.get((status, kind))
        if kind == "html":
            head = _HTML
            body = _filled(template or _PAGE, status, detail, html.escape)
        elif template is not None:
            head = _JSON
            body = _filled(template, status, detail, json.dumps)
        else:
            head = _PROBLEM
            problem = {"title": _title(status), "status": status, "detail": detail}
            body = json.dumps(problem)
        response = Responder(exchange, exchange.request.method)
        ran = (_MAY_HAVE_RUN, b"?1" if may_have_run else b"?0")
        response.start(status, [*head, *_FIELDS, *fields, ran])
        response.body(body.encode(), more=False)

    def pass_on(self, exchange: Exchange, answer: Answered) -> None:
        """Answers a request with what an authenticator has for it."""
        exchange.observer = ignore
        if not exchange.closed:
            response = Responder(exchange, exchange.request.method)
            fields = [
                field for field in answer.headers if field[0].lower() != _MAY_HAVE_RUN.lower()
            ]
            response.start(answer.status, [*fields, (_MAY_HAVE_RUN, b"?0")])
            response.body(answer.body, more=False)


def _read(path: Path) -> str:
    if path.stat().st_size > _MAX_FILE:
        raise ValueError(f"{path} is longer than {_MAX_FILE} bytes")
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            json.loads(_filled(text, 500, "", json.dumps))
    except ValueError as exc:  # of both: not UTF-8, not JSON
        raise ValueError(f"{path} is no page: {exc}") from None
    return text


def _filled(template: str, status: int, detail: str, escape: Callable[[str], str]) -> str:
    """A template with its places filled in, all in one pass: what is put in is not looked at."""
    texts = {"status": str(status), "title": escape(_title(status)), "detail": escape(detail)}
    return _PLACE.sub(lambda found: texts[found[1]], template)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"


def _wants_html(exchange: Exchange) -> bool:
    """Whether the client names HTML, and names it before JSON: browsers do, API clients do not."""
    for accepted in elements_of(exchange.request.headers, b"accept"):
        kind, _, parameters = accepted.partition(b";")
        if re.fullmatch(rb"q=0(?:\.0*)?", parameters.strip().lower()):
            continue  # not acceptable (RFC 9110, section 12.4.2)
        kind = kind.strip().lower()
        if kind in (b"text/html", b"application/xhtml+xml"):
            return True
        if kind.endswith(b"json") or kind == b"*/*":
            return False
    return False
