"""Which proxy is taken: its URL, the environment, and what NO_PROXY says."""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import logging
import os
import ssl
from typing import Any

import pytest
import requests.utils
from hypothesis import given
from hypothesis import strategies as st

import restsock
from restsock import Proxy
from restsock.client import parse_url
from restsock.client._proxy import choose_proxy, is_exempt

LISTENER = parse_url("wss://hub.example/")
PLAIN = parse_url("ws://hub.example/")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One without any proxies, to put some into."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    return monkeypatch


# --- a proxy's URL --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://proxy", "http://proxy:80"),
        ("HTTP://Proxy:3128/", "http://proxy:3128"),
        ("https://proxy", "https://proxy:443"),
        ("socks5://proxy", "socks5://proxy:1080"),
        ("socks5h://10.0.0.1:1", "socks5h://10.0.0.1:1"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("http://[fe80::1%25eth0]:3128", "http://[fe80::1%25eth0]:3128"),
        ("http://[fe80::1%eth0]:3128", "http://[fe80::1%25eth0]:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy:80"),
        ("user:sesame@proxy:3128", "http://proxy:3128"),
        ("http://[::1]:sesame@proxy", "http://proxy:80"),
    ],
)
def test_urls(url: str, text: str) -> None:
    proxy = Proxy(url)
    assert str(proxy) == text
    assert repr(proxy) == f"<Proxy {text}>"
    assert (proxy.ssl_context is not None) == text.startswith("https")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "no host"),
        ("ftp://proxy", "http://, https://, socks5:// or socks5h://"),
        ("socks4://proxy", "must begin with"),
        ("http://", "no host"),
        ("http://proxy:0", "port 0"),
        ("http://proxy:65536", "port"),
        ("http://proxy/sesame", "path or query"),
        ("http://proxy?sesame", "path or query"),
        ("http://proxy#sesame", "fragment"),
        ("http://pro xy", "white space"),
        ("http://u:sesame@pro,xy", "not a valid name"),
        ("http://u:sesame#x@proxy", "malformed|fragment"),
        ("http://u:sesame@proxy:x", "malformed"),
        ("http://us%3Aer:sesame@proxy", "colon"),
        ("http://u:sesame%ff@proxy", "UTF-8"),
        ("http://sesame%ff:p@proxy", "UTF-8"),
        ("socks5://sesame@proxy", "must both be there"),
        ("socks5://:sesame@proxy", "must both be there"),
        ("socks5://u:sesame%C3%BC@proxy", "ASCII"),
        ("socks5://u:" + "sesame" * 50 + "@proxy", "1 to 255"),
    ],
)
def test_urls_that_are_none(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        Proxy(url)
    error: BaseException | None = caught.value
    assert error is not None
    assert "sesame" not in repr(error)
    assert error.__cause__ is None


def basic(text: str) -> tuple[bytes, bytes]:
    return (b"Proxy-Authorization", b"Basic " + base64.b64encode(text.encode()))


@pytest.mark.parametrize(
    ("userinfo", "login"),
    [
        ("user:pass", "user:pass"),
        ("user", "user:"),
        (":pass", ":pass"),
        ("us%40er:p%3Aa%2Fs%23s%25", "us@er:p:a/s#s%"),
        ("u:p@ss:word", "u:p@ss:word"),
        ("b%C3%BC:%E2%82%AC", "bü:€"),
    ],
)
def test_basic_authentication(userinfo: str, login: str) -> None:
    assert Proxy(f"http://{userinfo}@proxy").headers == [basic(login)]
    assert Proxy(f"https://{userinfo}@proxy").headers == [basic(login)]


def test_no_login() -> None:
    assert Proxy("http://proxy").headers == []
    assert Proxy("http://@proxy").headers == []
    assert Proxy("socks5://proxy").credentials is None
    assert Proxy("socks5://u%3A:p%20@proxy").credentials == ("u:", "p ")


def test_other_headers() -> None:
    proxy = Proxy("http://proxy", headers={"Proxy-Authorization": "Bearer sesame", "X-A": "b"})
    assert proxy.headers == [(b"Proxy-Authorization", b"Bearer sesame"), (b"X-A", b"b")]
    assert "sesame" not in f"{proxy} {proxy!r}"
    for bad in ({"X": "sesame\r\n"}, {"x y": "sesame"}, {"Host": "sesame"}, {"X": "ses€ame"}):
        with pytest.raises(ValueError, match="header field") as caught:
            Proxy("http://proxy", headers=bad)
        assert "sesame" not in str(caught.value)
    with pytest.raises(ValueError, match="takes no headers"):
        Proxy("socks5://proxy", headers={"X": "y"})


def test_tls_with_the_proxy() -> None:
    context = ssl.create_default_context()
    assert Proxy("https://proxy", ssl_context=context).ssl_context is context
    for url in ("http://proxy", "socks5://proxy"):
        with pytest.raises(ValueError, match="needs an https:// proxy"):
            Proxy(url, ssl_context=context)


def test_socks_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'restsock\[proxy\]'") as caught:
        Proxy("socks5://user:sesame@proxy")
    assert "\n" not in str(caught.value)
    assert Proxy("http://proxy").port == 80


# --- the argument and the environment -------------------------------------------------------------


def chosen(address: Any = LISTENER, proxy: Any = None) -> str | None:
    found = choose_proxy(address, proxy)
    return None if found is None else str(found)


def test_the_argument(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://environment")
    environment.setenv("NO_PROXY", "other.example")
    assert chosen() == "http://environment:80"
    assert chosen(proxy="http://named") == "http://named:80"
    assert chosen(proxy="") is None
    assert chosen(proxy=False) is None
    proxy = Proxy("http://object")
    assert choose_proxy(LISTENER, proxy) is proxy
    wrong: Any
    for wrong in (True, 1, b"http://proxy"):
        with pytest.raises(TypeError, match="proxy must be"):
            choose_proxy(LISTENER, wrong)


def test_a_unix_socket_is_dialed_directly(environment: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        environment.setenv(name, "http://environment")
    for url in ("ws+unix:///run/hub.sock", "wss+unix:///run/hub.sock"):
        address = parse_url(url)
        assert chosen(address) is None
        assert chosen(address, proxy=False) is None
        with pytest.raises(ValueError, match="proxy= has no meaning for a Unix socket"):
            chosen(address, proxy="http://named")


def test_a_named_proxy_is_taken_whatever_the_environment_exempts(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("NO_PROXY", "*")
    assert chosen(proxy="http://named") == "http://named:80"
    assert chosen(parse_url("ws://localhost/"), "http://named") == "http://named:80"


@pytest.mark.parametrize(
    ("variables", "secure", "plain"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://s"}, "http://s:80", None),
        ({"https_proxy": "http://s"}, "http://s:80", None),
        ({"HTTP_PROXY": "http://p"}, None, "http://p:80"),
        ({"http_proxy": "p:3128"}, None, "http://p:3128"),
        ({"ALL_PROXY": "socks5h://a"}, "socks5h://a:1080", "socks5h://a:1080"),
        ({"all_proxy": "http://a"}, "http://a:80", "http://a:80"),
        ({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://s"}, "http://s:80", "http://a:80"),
        ({"HTTPS_PROXY": "http://large", "https_proxy": "http://small"}, "http://small:80", None),
        ({"HTTPS_PROXY": "http://s", "https_proxy": ""}, None, None),
        ({"HTTPS_PROXY": ""}, None, None),
        # Under CGI, HTTP_PROXY is what the client's "Proxy:" field says (CVE-2016-1000110).
        ({"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://p", "REQUEST_METHOD": "GET"}, None, "http://p:80"),
        ({"HTTPS_PROXY": "http://s", "NO_PROXY": "hub.example"}, None, None),
        ({"HTTPS_PROXY": "http://s", "no_proxy": "hub.example:443"}, None, None),
        ({"HTTPS_PROXY": "http://s", "NO_PROXY": "hub.example:80"}, "http://s:80", None),
        ({"ALL_PROXY": "http://a", "NO_PROXY": "example"}, None, None),
    ],
)
def test_the_environment(
    environment: pytest.MonkeyPatch,
    variables: dict[str, str],
    secure: str | None,
    plain: str | None,
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert (chosen(LISTENER), chosen(PLAIN)) == (secure, plain)


def test_a_broken_environment_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://user:sesame@proxy:port")
    with pytest.raises(ValueError, match="HTTPS_PROXY in the environment: ") as caught:
        restsock.connect("wss://hub.example/")
    assert "sesame" not in str(caught.value)
    restsock.connect("wss://hub.example/", proxy=False)
    environment.setenv("NO_PROXY", "hub.example")
    restsock.connect("wss://hub.example/")


def test_connect_takes_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://user:sesame@proxy:3128")
    client = restsock.connect("wss://hub.example/")
    assert str(client._dialer.transport.proxy) == "http://proxy:3128"
    assert "sesame" not in repr(client)
    assert restsock.connect("wss://hub.example/", proxy=False)._dialer.transport.proxy is None


# --- NO_PROXY ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "host", "exempt"),
    [
        ("", "hub.example", False),
        ("*", "hub.example", True),
        ("other, *", "hub.example", True),
        ("hub.example", "hub.example", True),
        ("HUB.example", "hub.example", True),
        (".example", "hub.example", True),
        ("example", "hub.example", True),
        ("*.example", "hub.example", True),
        (" a , hub.example ,b", "hub.example", True),
        ("b.example", "hub.example", False),
        ("ub.example", "hub.example", False),
        (".hub.example", "hub.example", True),
        ("x.hub.example", "hub.example", False),
        ("hub.example", "hub.example.", True),
        ("hub.example:443", "hub.example", True),
        ("hub.example:80", "hub.example", False),
        (".example:443", "hub.example", True),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1:443", "10.0.0.1", True),
        ("10.0.0.1:80", "10.0.0.1", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.9.9.9/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("0.0.1", "10.0.0.1", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("fd00::/8", "fd00::1", True),
        ("fd00::1", "fd00:0::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:443", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("10.0.0.0/99", "10.0.0.1", False),
        ("10.0.0.0/8", "hub.example", False),
        # This machine itself, whatever the environment says.
        ("", "localhost", True),
        ("", "hub.localhost", True),
        ("", "127.0.0.1", True),
        ("", "127.9.9.9", True),
        ("", "::1", True),
        ("", "notlocalhost", False),
    ],
)
def test_no_proxy(entries: str, host: str, exempt: bool) -> None:
    assert is_exempt(host, 443, {"no": entries}) is exempt


def test_without_no_proxy() -> None:
    assert not is_exempt("hub.example", 443, {})


labels = st.sampled_from(["a", "b", "hub", "example", "x-1"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
name_entries = st.builds(
    "{}{}{}".format, st.sampled_from(["", "."]), names, st.sampled_from(["", ":443", ":80"])
)
# Few addresses and networks, so that they meet.
addresses = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.ip_address(n & 0xC0000003)))
networks = st.builds("{}/{}".format, addresses, st.integers(1, 32))


@given(st.lists(name_entries, max_size=4), names)
def test_names_mean_what_they_mean_to_the_standard_library(entries: list[str], host: str) -> None:
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    found = {"no": ",".join(entries)}
    assert is_exempt(host, 443, found) == bool(proxy_bypass_environment(f"{host}:443", found))


@given(st.lists(addresses | networks, max_size=4), addresses.filter(lambda a: a[:3] != "127"))
def test_addresses_mean_what_they_mean_to_requests(entries: list[str], host: str) -> None:
    no_proxy = ",".join(entries) or "nothing.example"
    expected = requests.utils.should_bypass_proxies(f"https://{host}/", no_proxy)
    assert is_exempt(host, 443, {"no": no_proxy}) == expected


@given(st.text(max_size=60), st.sampled_from(["hub.example", "10.0.0.1", "fd00::1"]))
def test_any_no_proxy_is_read(text: str, host: str) -> None:
    assert is_exempt(host, 443, {"no": text}) in (True, False)


def test_what_is_logged(environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    restsock.connect("wss://hub.example/?q=sesame", proxy="http://user:sesame@proxy")
    assert caplog.messages == []
    environment.setenv("ALL_PROXY", "http://user:sesame@proxy")
    restsock.connect("wss://hub.example/?q=sesame")
    assert caplog.messages == [
        "wss://hub.example/ is dialed through http://proxy:80, as ALL_PROXY says"
    ]
