"""URLs that people are shown: what is let through is what it looks like."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restsock._exceptions import RemoteProtocolError
from restsock.protocol import is_plain_url
from restsock.protocol._urls import can_be_told, read_urls

ALMOST = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP", "ws", ""]),
    st.text("ab.-_@:[]1%\u0430\\ ", max_size=8) | st.sampled_from(["[::1]", "a.example"]),
    st.sampled_from(["", ":1", ":65535", ":65536", ":0", ":", ":01"]),
    st.text("/a%2F?#;@:\\\n\u202e", max_size=8),
)


@given(ALMOST | st.text())
@example("http://a.example:8080/")
@example("https://[::1]/_/x/")
def test_a_plain_url_has_nothing_but_host_port_and_path(url: str) -> None:
    if not is_plain_url(url):
        with pytest.raises(RemoteProtocolError):
            read_urls([url])
        return
    assert read_urls([url]) == (url,)
    assert can_be_told([url])
    assert url.isascii()
    assert url.isprintable()
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.port is None or 0 < parts.port <= 65535
    assert parts.username is parts.password is None
    assert (parts.query, parts.fragment) == ("", "")
    assert parts.path.startswith("/")
    assert "\\" not in url
