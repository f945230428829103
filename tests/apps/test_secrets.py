"""No value of the peer's or of the app's gets into a log or into an error."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from restsock import StreamReset
from restsock.apps._errors import BadResponseError
from restsock.apps._response import Responder, checked_field
from restsock.apps.asgi._http import HttpRequest
from restsock.apps.wsgi._request import WsgiRequest
from restsock.testing import connected_pair


@pytest.mark.parametrize(
    ("name", "value", "error", "shown"),
    [
        (b"set-cookie", b"sid=SECRET\n", BadResponseError, "set-cookie"),
        (b"set-cookie", "sid=SECRET", TypeError, "bytes and str"),
        ("set-cookie", b"sid=SECRET", TypeError, "str and bytes"),
        (b"set-cookie: SECRET", b"", BadResponseError, "set-cookie"),
    ],
)
def test_a_bad_field_is_named_without_its_value(
    name: Any, value: Any, error: type[Exception], shown: str
) -> None:
    with pytest.raises(error, match=shown) as caught:
        checked_field(name, value)
    assert "SECRET" not in str(caught.value)


def test_a_bad_length_or_status_is_not_shown() -> None:
    sender: Any = None
    with pytest.raises(BadResponseError, match="Content-Length") as length:
        Responder(sender, b"GET").start(200, [(b"content-length", b"SECRET")])
    with pytest.raises(TypeError, match="not str") as status:
        Responder(sender, b"GET").start("SECRET", [])  # type: ignore[arg-type]  # on purpose
    assert "SECRET" not in str(length.value) + str(status.value)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        raise ZeroDivisionError


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    raise ZeroDivisionError


@pytest.mark.parametrize("app", [asgi, wsgi])
async def test_a_failure_is_logged_without_the_query(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "restsock.apps")
    async with connected_pair(app_b=app) as (dialer, _):
        await dialer.request("GET", "/boom?token=SECRET")
    assert "failed at GET /boom" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_bug_is_logged_without_the_query(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bug(request: HttpRequest) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(HttpRequest, "run", bug)
    async with connected_pair(app_b=asgi) as (dialer, _):
        with pytest.raises(StreamReset):
            await dialer.request("GET", "/boom?token=SECRET")
    assert "GET /boom" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_bug_in_a_worker_is_logged_without_the_query(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(request: WsgiRequest, app: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WsgiRequest, "run", bug)
    async with connected_pair(app_b=wsgi) as (dialer, _):
        with pytest.raises(StreamReset):
            await dialer.request("GET", "/boom?token=SECRET", timeout=10)
    assert "GET /boom" in caplog.text
    assert "SECRET" not in caplog.text
