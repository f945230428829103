"""Routes: which paths they are for, what is not one, and their rules for fields."""

from __future__ import annotations

from typing import Any

import pytest

from restsock.ingress import FieldRules, Route
from restsock.ingress._names import Naming
from restsock.protocol import RequestHead


@pytest.mark.parametrize(
    ("path", "asked", "covered"),
    [
        ("/", "/", True),
        ("/", "/anything", True),
        ("/", "*", True),
        ("/v1", "/v1", True),
        ("/v1", "/v1/", True),
        ("/v1", "/v1/pets", True),
        ("/v1", "/v10", False),
        ("/v1", "/v1.json", False),
        ("/v1", "/", False),
        ("/v1", "*", False),
        ("/v1/", "/v1", True),
        ("/v1/", "/v1/x", True),
        ("/v1", "/V1", False),
    ],
)
def test_a_route_covers_whole_segments(path: str, asked: str, covered: bool) -> None:
    assert Route("a.example", "edge-1", path=path).covers(asked) is covered


def find(target: str, *routes: Route) -> tuple[str, bytes, str]:
    naming = Naming([], routes, header=False, path_prefix=False)
    found = naming.find(RequestHead(b"GET", target.encode(), [(b"Host", b"a.example")]))
    return found.name, found.target, found.prefix


def test_the_longest_path_wins_in_any_order() -> None:
    one, two, three = (
        Route("a.example", "root"),
        Route("a.example", "v1", path="/v1"),
        Route("a.example", "pets", path="/v1/pets/"),
    )
    for routes in ((one, two, three), (three, two, one), (two, three, one)):
        assert find("/v1/pets", *routes)[0] == "pets"
        assert find("/v1/pets/1", *routes)[0] == "pets"
        assert find("/v1/petsy", *routes)[0] == "v1"
        assert find("/v2", *routes)[0] == "root"


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/v1", b"/"),
        ("/v1/", b"/"),
        ("/v1?a=/v1", b"/?a=/v1"),
        ("/v1/pets?a", b"/pets?a"),
        ("/v1//pets", b"//pets"),
        ("/v1/%2e", b"/%2e"),
    ],
)
def test_strip_takes_the_path_off(asked: str, target: bytes) -> None:
    route = Route("a.example", "edge-1", path="/v1", strip=True)
    assert find(asked, route) == ("edge-1", target, "/v1")


def test_strip_of_all_paths_changes_nothing() -> None:
    assert find("/x", Route("a.example", "edge-1", strip=True)) == ("edge-1", b"/x", "")


@pytest.mark.parametrize(
    "arguments",
    [
        *({"host": ""}, {"host": "a b"}, {"host": "a.example/x"}, {"host": "http://a.example"}),
        *(
            {"host": "a.example:80"},
            {"host": "a.example:"},
            {"host": "u@a"},
            {"host": "b\u00fc.de"},
        ),
        *({"path": ""}, {"path": "v1"}, {"path": "/v1?x"}, {"path": "/v1#x"}, {"path": "/a b"}),
        *({"path": "/a/../b"}, {"path": "/./a"}, {"path": "/a//b"}, {"path": "/%61"}),
        *({"path": "/a;b"}, {"path": "/a\\b"}),
        *({"peer": ""}, {"peer": "a\n"}, {"rate": "fast"}, {"host": "*.example"}),
    ],
)
def test_what_is_no_route(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"route|peer|rate|host"):
        Route(**{"host": "a.example", "peer": "edge-1", **arguments})


def test_rules_for_fields_set_and_remove_in_any_case() -> None:
    rules = FieldRules(set={"X-Frame-Options": "DENY", "x-new": "1"}, remove=["Server"])
    before = [(b"x-frame-options", b"ALLOW"), (b"SERVER", b"x"), (b"A", b"1"), (b"X-NEW", b"0")]
    assert rules.apply(before) == [(b"A", b"1"), (b"X-Frame-Options", b"DENY"), (b"x-new", b"1")]
    assert FieldRules().apply(before) is before


@pytest.mark.parametrize(
    "arguments",
    [
        {"set": {"a b": "1"}},
        {"set": {"a": "1\r\nb: 2"}},
        {"set": {"\u00e9": "1"}},
        {"set": {"a": "\u20ac"}},
        {"set": {"a": " 1"}},
        {"set": {"a": "1\t"}},
        {"set": {"Content-Length": "1"}},
        {"set": {"Transfer-Encoding": "chunked"}},
        {"remove": [""]},
        {"remove": ["a:"]},
        {"remove": ["Content-Length"]},
        {"remove": ["host"]},
    ],
)
def test_what_are_no_rules_for_fields(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="header field"):
        FieldRules(**arguments)
