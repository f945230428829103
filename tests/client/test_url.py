"""URLs are read strictly, and never show up whole in a log or an error."""

from __future__ import annotations

import pytest

from restsock.client import Address, parse_url


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("ws://hub", Address(False, "hub", 80, "/"), "hub"),
        ("wss://hub", Address(True, "hub", 443, "/"), "hub"),
        (
            "WSS://Hub.Example:8443/a/b?x=1&y",
            Address(True, "hub.example", 8443, "/a/b?x=1&y"),
            None,
        ),
        ("ws://hub:443", Address(False, "hub", 443, "/"), "hub:443"),
        ("ws://hub?q", Address(False, "hub", 80, "/?q"), "hub"),
        ("ws://127.0.0.1:1/", Address(False, "127.0.0.1", 1, "/"), "127.0.0.1:1"),
        ("ws://[::1]:65535/", Address(False, "::1", 65535, "/"), "[::1]:65535"),
        ("wss://[FE80::1%25Eth0]/", Address(True, "fe80::1%Eth0", 443, "/"), "[fe80::1]"),
        ("wss://[fe80::1%eth0]:81/", Address(True, "fe80::1%eth0", 81, "/"), "[fe80::1]:81"),
        ("wss://[fe80::1%25eth0.7]/", Address(True, "fe80::1%eth0.7", 443, "/"), None),
        ("wss://[fe80::1%2525]/", Address(True, "fe80::1%25", 443, "/"), None),  # the 25th
        ("wss://[fe80::1%25]/", Address(True, "fe80::1%25", 443, "/"), None),
        ("wss://bücher.example/", Address(True, "xn--bcher-kva.example", 443, "/"), None),
        ("ws://hub.example./", Address(False, "hub.example.", 80, "/"), "hub.example."),
        (f"ws://{'a' * 63}/", Address(False, "a" * 63, 80, "/"), None),
        ("ws+unix:///run/a.sock", Address(False, "localhost", 80, "/", "/run/a.sock"), "localhost"),
        ("ws+unix:/run/a.sock", Address(False, "localhost", 80, "/", "/run/a.sock"), "localhost"),
        ("WSS+Unix:///a:", Address(True, "localhost", 443, "/", "/a"), "localhost"),
        ("ws+unix:///a:/b:c?d=/e:f", Address(False, "localhost", 80, "/b:c?d=/e:f", "/a"), None),
        ("ws+unix:///a:?q", Address(False, "localhost", 80, "/?q", "/a"), None),
        ("ws+unix:///a%20%3A%3F%25ü", Address(False, "localhost", 80, "/", "/a :?%ü"), None),
        ("ws://hub:/", Address(False, "hub", 80, "/"), "hub"),
        ("ws://hub:00081/", Address(False, "hub", 81, "/"), None),
        ("ws://hub/?", Address(False, "hub", 80, "/"), None),
        ("ws://hub//a?b?c", Address(False, "hub", 80, "//a?b?c"), None),
        ("ws://hub/%7Bx%7D", Address(False, "hub", 80, "/%7Bx%7D"), "hub"),
    ],
)
def test_what_is_dialed(url: str, address: Address, authority: str | None) -> None:
    assert parse_url(url) == address
    if authority is not None:
        assert parse_url(url).authority == authority


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://hub/", "did you mean ws://"),
        ("https://hub/", "did you mean wss://"),
        ("ftp://hub/", "must begin with ws://"),
        ("hub:80", "must begin with ws://"),
        ("//hub/", "must begin with ws://"),
        ("", "must begin with ws://"),
        ("ws:///path", "no host"),
        ("ws://:80/", "no host"),
        ("ws://hub:0/", "port 0"),
        ("ws://hub:65536/", "port"),
        ("ws://hub:http/", "port"),
        ("ws://hub/#top", "fragment"),
        ("ws://hub/#", "fragment"),
        ("ws://user:sesame@hub/", "user or password"),
        ("ws://user@hub/", "user or password"),
        ("ws://hub /", "white space"),
        ("ws://hub/\r\nX: y", "white space"),
        ("ws://hub/\tx", "white space"),
        (" ws://hub/", "white space"),
        ("ws://hub/ü", "percent-encoded"),
        ("ws://hub/?q=sesame-ü", "percent-encoded"),
        ("ws://[::1/", "malformed"),
        ("ws://::1/", "malformed"),
        ("ws://a[::1]/", "malformed|not a valid"),
        ("ws://[::1]a/", "malformed"),
        ("ws://[::1]sesame:80/", "malformed"),
        ("ws://[::1][::1]/", "malformed"),
        ("ws://[]/", "no host"),
        ("ws://hub:80:80/", "port"),
        ("ws://hub:-1/", "port"),
        ("ws://hub:+1/", "port"),
        ("ws://hub:1_0/", "port"),
        ("ws://hub:\u0661/", "port"),
        ("ws://hub:" + "1" * 5000, "port"),
        ("ws://hub\u2100/", "not a valid name"),  # a compatibility form of a/c
        ("ws://hub\uff20x/", "not a valid name"),  # of @
        ("ws://hub\uff03x/", "not a valid name"),  # of #
        ("ws://hub\u2028/", "not a valid name"),
        ("ws://hub\\x/", "not a valid name"),
        ("ws://[hub]/", "malformed|not a valid"),
        ("ws://[:::]/", "malformed|not a valid"),
        ("ws://[v1.x]/", "malformed|not a valid"),
        ("ws://[::1%]/", "malformed|not a valid"),
        ("ws://[::1%25lo%20x]/", "malformed|not a valid"),
        ("ws://[::1%25lo%2Fx]/", "malformed|not a valid"),
        ("ws://[::1%25lo%25x]/", "malformed|not a valid"),
        ("ws+unix://hub/run/a.sock", "write ws\\+unix:///run"),
        ("ws+unix://run.sock", "write ws\\+unix:///run"),
        ("wss+unix://:80/run/a.sock", "write wss\\+unix:///run"),
        ("ws+unix:run/a.sock", "absolute path"),
        ("ws+unix:", "absolute path"),
        ("ws+unix://", "absolute path"),
        ("ws+unix:///run/a.sock?token=sesame", "query without a path"),
        ("ws+unix:///run/a.sock:8080", "a colon after which no path begins"),
        ("ws+unix:///run/a.sock:/ü", "percent-encoded"),
        ("ws+unix:///run/a.sock:/#x", "fragment"),
        ("ws+unix:///run/a%00.sock", "zero byte"),
        ("ws+unix:///run/" + "a" * 103, "a path of 108 bytes; that of a Unix socket has"),
        ("http+unix:///run/a.sock", "must begin with ws://"),
        ("ws://-hub/", "not a valid name"),
        ("ws://h,ub/", "not a valid name"),
        ("ws://hub..example/", "not a valid name"),
        ("ws://.hub/", "not a valid name"),
        (f"ws://{'a' * 64}.example/", "not a valid name"),
    ],
)
def test_what_is_not(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        parse_url(url)
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_string() -> None:
    with pytest.raises(TypeError):
        parse_url(b"ws://hub/")  # type: ignore[arg-type]


def test_text_of_a_unix_socket() -> None:
    address = parse_url("ws+unix:///run/a%20b.sock:/path?token=sesame")
    assert str(address) == "ws+unix:///run/a%20b.sock:/path"
    assert str(parse_url("wss+unix:///run/a.sock")) == "wss+unix:///run/a.sock"
    assert address.where == "/run/a b.sock"


def test_text_without_the_query() -> None:
    address = parse_url("wss://hub:8443/path?token=sesame")
    assert str(address) == "wss://hub:8443/path"
    assert "sesame" not in repr(address)
