"""Whom a request is for: the five ways, their order, and what is refused."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.auth import Refused
from restsock.ingress import Route
from restsock.ingress._names import Found, Naming, is_label
from restsock.protocol import HOST, RequestHead

ROUTES = (
    Route("api.example.com", "edge-1", path="/v1", strip=True),
    Route("api.example.com", "edge-2", path="/v1/deep"),
    Route("shop.example", "Peer of No Label"),
)


def naming(
    routes: Sequence[Route] = ROUTES,
    *,
    header: bool = True,
    path_prefix: bool = True,
    own_hosts_only: bool = False,
) -> Naming:
    return Naming(
        ["hub.example", "localhost"],
        routes,
        header=header,
        path_prefix=path_prefix,
        own_hosts_only=own_hosts_only,
    )


def request(host: str, target: str = "/pets", *peers: str) -> RequestHead:
    fields = [(b"Host", host.encode("latin-1"))]
    fields += [(b"Restsock-Peer", peer.encode("latin-1")) for peer in peers]
    return RequestHead(b"GET", target.encode("latin-1"), fields)


def find(host: str, target: str = "/pets", *peers: str) -> Found:
    return naming().find(request(host, target, *peers))


def status(host: str, target: str = "/pets", *peers: str) -> int:
    with pytest.raises(Refused) as refused:
        find(host, target, *peers)
    return refused.value.status


# --- the ways -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "target", "peers", "name", "to", "prefix"),
    [
        ("api.example.com", "/v1/pets?a=1", [], "edge-1", "/pets?a=1", "/v1"),
        ("api.example.com", "/v1/deep/x", [], "edge-2", "/v1/deep/x", ""),
        ("shop.example", "/x", [], "Peer of No Label", "/x", ""),
        ("edge-1.hub.example", "/pets", [], "edge-1", "/pets", ""),
        ("edge-1.localhost", "/pets", [], "edge-1", "/pets", ""),
        ("edge-1", "/pets", [], "edge-1", "/pets", ""),
        ("hub.example", "/pets", ["edge-1"], "edge-1", "/pets", ""),
        ("127.0.0.1", "/pets", ["edge-1"], "edge-1", "/pets", ""),
        ("hub.example", "/_/edge-1/pets?b", [], "edge-1", "/pets?b", "/_/edge-1"),
        ("hub.example", "/_/edge-1", [], "edge-1", "/", "/_/edge-1"),
        ("hub.example", "/_/edge-1?b", [], "edge-1", "/?b", "/_/edge-1"),
    ],
)
def test_the_ways(
    host: str, target: str, peers: list[str], name: str, to: str, prefix: str
) -> None:
    found = find(host, target, *peers)
    assert (found.name, found.target, found.prefix) == (name, to.encode(), prefix)


@pytest.mark.parametrize(
    "host",
    [
        *("edge-1.hub.example:8080", "edge-1.hub.example:", "edge-1.hub.example."),
        *("EDGE-1.Hub.Example", "Edge-1.HUB.example.:8080"),
    ],
)
def test_port_case_and_one_trailing_dot_do_not_matter(host: str) -> None:
    assert find(host).name == "edge-1"


def test_a_route_is_found_in_any_case_and_with_a_trailing_dot() -> None:
    routes = [Route("API.example.com.", "edge-1")]
    assert naming(routes).find(request("api.example.com")).name == "edge-1"
    assert naming(routes).find(request("Api.Example.Com.:80")).name == "edge-1"


def test_a_route_goes_before_a_domain() -> None:
    routes = [Route("edge-1.hub.example", "other")]
    assert naming(routes).find(request("edge-1.hub.example")).name == "other"


def test_a_routed_host_has_no_other_ways() -> None:
    assert status("api.example.com", "/_/edge-1/") == 404
    assert status("api.example.com", "/") == 404
    assert status("api.example.com", "/v2", "edge-1") == 404


def test_a_name_in_the_field_is_percent_decoded_and_not_folded() -> None:
    assert find("hub.example", "/", "Peer%20No%2F1").name == "Peer No/1"
    assert find("hub.example", "/", "caf%C3%A9").name == "caf\xe9"
    assert find("hub.example", "/", "Edge-1").name == "Edge-1"


# --- what contradicts itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "target", "peers"),
    [
        ("edge-1.hub.example", "/", ["edge-2"]),
        ("api.example.com", "/v1/x", ["edge-2"]),
        ("edge-1", "/", ["edge-2"]),
        ("hub.example", "/_/edge-1/", ["edge-2"]),
        ("hub.example", "/", ["edge-1", "edge-1"]),
        ("hub.example", "/", ["edge-1", "edge-2"]),
        ("edge-1.hub.example", "/", ["edge-1", "edge-2"]),
    ],
)
def test_two_that_differ_are_refused(host: str, target: str, peers: list[str]) -> None:
    assert status(host, target, *peers) == 400


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("edge-1.hub.example", "/"),
        ("api.example.com", "/v1/x"),
        ("hub.example", "/_/edge-1/"),
    ],
)
def test_two_that_say_the_same_are_fine(host: str, target: str) -> None:
    assert find(host, target, "edge-1").name == "edge-1"


def test_the_field_does_not_count_where_it_is_off() -> None:
    off = naming(header=False)
    with pytest.raises(Refused) as refused:
        off.find(request("hub.example", "/", "edge-1"))
    assert refused.value.status == 400


def test_the_prefix_does_not_count_where_it_is_off() -> None:
    off = naming(path_prefix=False)
    with pytest.raises(Refused) as refused:
        off.find(request("hub.example", "/_/edge-1/"))
    assert refused.value.status == 404
    assert off.find(request("hub.example", "/_/edge-1/", "edge-2")).target == b"/_/edge-1/"
    # On the host of a peer it is a path like any other.
    assert naming().find(request("edge-1.localhost", "/_/edge-2/")).target == b"/_/edge-2/"


# --- what is nobody -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *("hub.example", "localhost", "127.0.0.1", "[::1]", "[::1]:8080", "10.0.0.1:80"),
        *("a.b.hub.example", "www.hub.example", "admin.hub.example", "hub", "unknown.example"),
        *("xn--bcher-kva.hub.example", "xn--bcher-kva", "-a.hub.example", "a-.hub.example"),
        *("a_b.hub.example", ".hub.example", "..hub.example", "edge%2d1.hub.example"),
        *(f"{'a' * 64}.hub.example", "edge-1.hub.example..", "hub.example.", "edge-1..hub.example"),
        *("edge-1.hub.example.evil.example", "edge-1hub.example", "a%00.hub.example", "%2e%2e"),
    ],
)
def test_a_host_that_is_nobodys(host: str) -> None:
    assert status(host) == 404


@pytest.mark.parametrize(
    "segment",
    [
        *("..", ".", "%2e%2e", "..%2fadmin", "%2f", "%00", "a%00", "%E2%80%AE", "%e2%80%ae1"),
        *("admin", "www", "a" * 64, "xn--a", "_a", "%", "%zz", "a%20b", "\xe9"),
    ],
)
def test_a_prefix_that_is_no_label(segment: str) -> None:
    assert status("hub.example", f"/_/{segment}/x") == 404


@pytest.mark.parametrize(
    "value", ["", "%00", "a%0Ab", "a b", "%E2%80%AE", "\xe9", "%ff", "a" * 256]
)
def test_a_field_that_is_no_name(value: str) -> None:
    assert status("hub.example", "/", value) == 400


@pytest.mark.parametrize(
    "target", ["/_/", "/_", "//_/edge-1/", "/x/_/edge-1/", "/%5f/edge-1/", "*"]
)
def test_a_path_that_is_no_prefix(target: str) -> None:
    assert status("hub.example", target) == 404


def test_63_characters_are_a_label_and_64_are_not() -> None:
    assert is_label("a" * 63)
    assert not is_label("a" * 64)
    assert find(f"{'a' * 63}.hub.example").name == "a" * 63


def test_where_only_own_hosts_count_a_foreign_host_reaches_nobody() -> None:
    """A page whose name was pointed at this machine has a host of its own."""
    strict = naming(own_hosts_only=True)
    for host in ("evil.example", "evil.example:8080", "hub.example.evil.example"):
        for target, peers in (("/_/edge-1/", ()), ("/", ("edge-1",))):
            with pytest.raises(Refused) as refused:
                strict.find(request(host, target, *peers))
            assert refused.value.status == 404
    for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "hub.example", "10.0.0.1"):
        assert strict.find(request(host, "/", "edge-1")).name == "edge-1"
        assert strict.find(request(host, "/_/edge-1/")).name == "edge-1"


# --- paths that two readers understand differently ----------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        *("/%61dmin/x", "/x/../admin/", "/x/%2e%2e/admin", "//admin/x", "/./admin", "/%2fadmin"),
        *("/x%2f..%2fadmin/", "/\\admin", "/x\\..\\admin", "/%5cadmin", "/admin;a=b/x"),
        *("/admin%2fx", "/ADMIN/../admin/", "/%61dmin?x=/", "/public/../../admin"),
    ],
)
def test_no_spelling_of_a_path_goes_round_the_route_for_it(target: str) -> None:
    """A route with rules of its own is for what the app reads, not for how it is written."""
    routes = [Route("a.example", "edge-1"), Route("a.example", "edge-1", path="/admin")]
    found: object = None
    with contextlib.suppress(Refused):
        found = naming(routes).find(request("a.example", target)).route
    assert found in (None, routes[1])


@pytest.mark.parametrize("target", ["/a%2fb", "/x/../y", "//x", "/%7Ejo", "/caf%C3%A9", "/a;b/c"])
def test_other_spellings_pass_as_they_are(target: str) -> None:
    routes = [Route("a.example", "edge-1"), Route("a.example", "edge-1", path="/admin")]
    assert naming(routes).find(request("a.example", target)).target == target.encode()
    assert find("edge-1.hub.example", target).target == target.encode()


def test_two_routes_of_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="two routes"):
        naming([Route("a.example", "edge-1"), Route("A.example", "edge-2")])


def test_refusing_often_keeps_nothing() -> None:
    """An exception that is raised again and again holds the frames of each time."""
    depths = set()
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            find("unknown.example")
        depths.add(len(traceback.extract_tb(refused.value.__traceback__)))
    assert len(depths) == 1


ASCII = st.characters(codec="ascii")


@given(
    host=st.from_regex(
        HOST.pattern.decode(), fullmatch=True, alphabet=st.characters(codec="ascii")
    ),
    target=st.from_regex(r"(/[!-~]*){1,4}|\*", fullmatch=True),
    peers=st.lists(st.from_regex(r"[!-~]{0,20}", fullmatch=True), max_size=2),
    own=st.booleans(),
)
def test_whatever_is_asked_there_is_a_name_or_a_refusal(
    host: str, target: str, peers: list[str], own: bool
) -> None:
    asked = request(host, target, *peers)
    with contextlib.suppress(Refused):
        found = naming(own_hosts_only=own).find(asked)
        assert found.name
        assert found.name.isprintable()
        assert found.target.startswith(b"/") or found.target == b"*"
        assert target.encode().endswith(found.target.lstrip(b"/"))
        if peers:
            assert [found.name] == [unquote(peer) for peer in peers]
