"""URLs that people are shown: what is let through is what it looks like."""

from __future__ import annotations

from ipaddress import IPv6Address
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
    st.text("ab.-_@:[]1%\u0430\\ ", max_size=8)
    | st.sampled_from(["[::1]", "a.example"])
    | st.text("0123456789abcdef:.", max_size=12).map("[{}]".format),
    st.sampled_from(["", ":1", ":65535", ":65536", ":0", ":", ":01"]),
    st.text("/a%2F?#;@:\\\n\u202e", max_size=8),
)


@given(ALMOST | st.text())
@example("http://a.example:8080/")
@example("https://[::1]/_/x/")
@example("http://[1.01:db8::7]/")
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
    if "[" in parts.netloc:
        assert IPv6Address(parts.hostname).scope_id is None
    assert parts.port is None or 0 < parts.port <= 65535
    assert parts.username is parts.password is None
    assert (parts.query, parts.fragment) == ("", "")
    assert parts.path.startswith("/")
    assert "\\" not in url


# RFC 3986, section 3.2.2: IPv6address.
@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("::", True),
        ("1:2:3:4:5:6:7:8", True),
        ("2001:db8::7", True),
        ("::ffff:192.0.2.1", True),
        ("1.01:db8::7", False),
        ("192.0.2.1", False),
        (":", False),
        (".", False),
        ("7", False),
        ("1::2::3", False),
        ("1:2:3:4:5:6:7:8:9", False),
        ("12345::", False),
        ("::192.0.2.256", False),
        ("::1%25eth0", False),
        ("v1.a:b", False),
    ],
)
def test_brackets_hold_an_ipv6_address(text: str, *, valid: bool) -> None:
    assert is_plain_url(f"http://[{text}]/") is valid
    assert is_plain_url(f"http://[{text}]:8080/a") is valid
