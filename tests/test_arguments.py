"""Arguments that there are not: the error names the call that was made, and what is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import restsock
import restsock.sync

URL = "ws://hub/"


async def app(request: restsock.Request) -> restsock.Response:
    return restsock.Response()


CONNECTS: list[Callable[..., Any]] = [restsock.connect, restsock.sync.connect]
LISTENS: list[Callable[..., Any]] = [restsock.listen, restsock.sync.listen]


@pytest.mark.parametrize("with_app", [{}, {"app": app}])
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nmae", "; did you mean 'name'?"),
        ("interfase", "; did you mean 'interface'?"),
        ("worker", "; did you mean 'workers'?"),
        ("timeout", "; did you mean options=Options(timeouts=Timeouts(...))?"),
        ("limits", "; did you mean options=Options(limits=Limits(...))?"),
        ("max_head", "; did you mean options=Options(limits=Limits(max_head=...))?"),
        ("qqq", ""),
    ],
)
def test_a_wrong_keyword(with_app: dict[str, Any], name: str, hint: str) -> None:
    for call in CONNECTS:
        with pytest.raises(TypeError) as caught:
            call(URL, **with_app, **{name: 1})
        assert str(caught.value) == f"connect() has no argument {name!r}{hint}"
    for call in LISTENS:
        with pytest.raises(TypeError) as caught:
            call("127.0.0.1", 0, **with_app, **{name: 1})
        assert str(caught.value) == f"listen() has no argument {name!r}{hint}"


def test_only_a_client_dials_again() -> None:
    with pytest.raises(TypeError, match=r"did you mean backoff=Backoff\(tries=\.\.\.\)\?"):
        restsock.connect(URL, tries=3)
    with pytest.raises(TypeError, match=r"listen\(\) has no argument 'tries'$"):
        restsock.listen("127.0.0.1", 0, tries=3)


@pytest.mark.parametrize("options", [{"workers": 3}, {"interface": "wsgi"}, {"loop": "trio"}])
def test_an_option_of_an_app_that_there_is_not(options: dict[str, Any]) -> None:
    (name,) = options
    for call in CONNECTS:
        with pytest.raises(TypeError, match=f"^{name}= is for an app, and this is without an app="):
            call(URL, **options)


@pytest.mark.parametrize("name", ["tls", "ssl_context"])
def test_tls_for_a_plain_url(name: str) -> None:
    for call in CONNECTS:
        with pytest.raises(ValueError, match=f"^{name}= needs a wss:// URL$"):
            call(URL, **{name: restsock.tls.client()})
        with pytest.raises(ValueError, match=rf"^{name}= needs a wss\+unix:// URL$"):
            call("ws+unix:///run/hub.sock", **{name: restsock.tls.client()})
