"""What the ingress answers itself: a problem, a page for browsers, or what a folder has for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restsock.connection import Exchange
from restsock.ingress._pages import Pages
from restsock.protocol import Headers, PlainHead, RequestHead, ResponseHead, values_of

EVIL = '<img src=x onerror="alert(1)">&\'"'


class Answered(Exchange):
    """An exchange that keeps what it is answered with."""

    head: ResponseHead | None = None
    sent = b""

    def respond(self, head: ResponseHead, body: bytes, plain: PlainHead | None = None) -> None:
        self.head, self.sent = head, body


def answer(
    pages: Pages,
    status: int = 404,
    detail: str = "There is no such host here.",
    *,
    accept: str | None = None,
    method: bytes = b"GET",
    target: str = "/",
    fields: Headers = (),
) -> tuple[ResponseHead, bytes]:
    headers = [(b"Host", b"edge-1.localhost")]
    if accept is not None:
        headers.append((b"Accept", accept.encode()))
    request = RequestHead(method, target.encode(), headers)
    exchange = Answered(request, lambda event: None)
    pages.answer(exchange, status, detail, fields, may_have_run=False)
    assert exchange.head is not None
    return exchange.head, exchange.sent


def kind(head: ResponseHead) -> bytes:
    (value,) = values_of(head.headers, b"content-type")
    return value


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html, application/json", True),
        ("TEXT/HTML", True),
        ("text/html;q=0, application/json", False),
        ("image/avif,image/webp,*/*;q=0.8", False),
        ("", False),
    ],
)
def test_browsers_get_a_page_and_others_a_problem(accept: str | None, html: bool) -> None:
    head, body = answer(Pages(), accept=accept)
    assert head.status == 404
    if html:
        assert kind(head) == b"text/html; charset=utf-8"
        assert b"<h1>404 Not Found</h1>" in body
    else:
        assert kind(head) == b"application/problem+json"
        assert json.loads(body) == {
            "title": "Not Found",
            "status": 404,
            "detail": "There is no such host here.",
        }


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 599])
def test_markup_in_any_of_them_is_text(status: int) -> None:
    head, body = answer(Pages(), status, EVIL, accept="text/html", target="/<img>")
    assert b"<img" not in body
    assert b"&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&#x27;&quot;" in body
    assert values_of(head.headers, b"content-security-policy")[0].startswith(b"default-src 'none'")
    assert values_of(head.headers, b"x-content-type-options") == [b"nosniff"]
    _, body = answer(Pages(), status, EVIL)
    assert json.loads(body)["detail"] == EVIL


def test_it_is_not_kept_and_has_the_fields_it_is_given() -> None:
    for accept in ("text/html", "*/*"):
        head, _ = answer(Pages(), 503, accept=accept, fields=[(b"Retry-After", b"2")])
        assert values_of(head.headers, b"retry-after") == [b"2"]
        assert values_of(head.headers, b"cache-control") == [b"no-store"]
        assert values_of(head.headers, b"vary") == [b"Accept"]


def test_head_has_no_body() -> None:
    head, body = answer(Pages(), method=b"HEAD")
    assert body == b""
    assert int(values_of(head.headers, b"content-length")[0]) > 0


def test_no_product_is_named() -> None:
    for accept in ("text/html", "*/*"):
        head, body = answer(Pages(), accept=accept)
        assert b"restsock" not in body.lower()
        assert values_of(head.headers, b"server") == []


# --- a folder of own ones -----------------------------------------------------------------------


def test_a_folder_has_pages_by_status(tmp_path: Path) -> None:
    (tmp_path / "503.html").write_text("<h1>Back soon</h1>{status} {title}: {detail} {{x}}")
    (tmp_path / "404.json").write_text('{"error": {detail}, "code": {status}}')
    pages = Pages(tmp_path)
    head, body = answer(pages, 503, EVIL, accept="text/html")
    assert kind(head) == b"text/html; charset=utf-8"
    assert body.startswith(b"<h1>Back soon</h1>503 Service Unavailable: &lt;img")
    assert body.endswith(b"{{x}}")
    head, body = answer(pages, 404, EVIL)
    assert kind(head) == b"application/json"
    assert json.loads(body) == {"error": EVIL, "code": 404}
    # What the folder has no file for is as ever.
    assert b"<h1>404 Not Found</h1>" in answer(pages, accept="text/html")[1]
    assert kind(answer(pages, 503)[0]) == b"application/problem+json"


def test_what_is_filled_in_is_not_filled_in_again(tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("{detail}{title}")
    _, body = answer(Pages(tmp_path), 404, "{title}", accept="text/html")
    assert body == b"{title}Not Found"


def test_only_files_of_a_status_are_read(tmp_path: Path) -> None:
    (tmp_path / "404.html.bak").write_text("x")
    (tmp_path / "index.html").write_text("x")
    (tmp_path / "40.html").write_text("x")
    (tmp_path / "secret.txt").write_bytes(b"\xff")
    assert b"<h1>404" in answer(Pages(tmp_path), accept="text/html")[1]


def test_a_folder_that_is_not_there_or_holds_nonsense(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        Pages(tmp_path / "nowhere")
    (tmp_path / "404.html").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"404\.html"):
        Pages(tmp_path)
    (tmp_path / "404.html").write_bytes(b"x" * 70_000)
    with pytest.raises(ValueError, match=r"404\.html"):
        Pages(tmp_path)
    (tmp_path / "404.html").unlink()
    (tmp_path / "404.json").write_text('{"a": {detail}')
    with pytest.raises(ValueError, match=r"404\.json"):
        Pages(tmp_path)
