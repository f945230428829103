"""What header fields become on their way: peers see what the ingress says, and no caller's word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Principal
from restsock._field_names import told_by_gateways
from restsock.connection import Peer
from restsock.ingress import FieldRules, Route
from restsock.ingress._fields import clean_trailers, head_for_client, head_for_peer
from restsock.ingress._fields_fast import pass_to_client, pass_to_peer
from restsock.ingress._names import Found
from restsock.protocol import Headers, PlainHead, RequestHead, ResponseHead, values_of
from restsock.protocol._heads_fast import encode_request_fast, encode_response_fast

CLIENT = Peer("203.0.113.7", 4711)
HOST = (b"Host", b"edge-1.hub.example:8080")


def found(prefix: str = "", route: Route | None = None) -> Found:
    return Found("edge-1", b"/pets", prefix, route, "a test", HOST[1])


def at_peer(
    *fields: tuple[bytes, bytes],
    client: Peer = CLIENT,
    trusted: bool = False,
    principal: Principal | None = None,
    own_authorization: bool = False,
    prefix: str = "",
    route: Route | None = None,
) -> RequestHead:
    return _at_peer(
        [HOST, *fields],
        found(prefix, route),
        client=client,
        trusted=trusted,
        principal=principal,
        own_authorization=own_authorization,
    )


def _at_peer(fields: Headers, found: Found, **known: Any) -> RequestHead:
    """The head that the peer gets, the short way and the long way alike."""
    request = RequestHead(b"GET", b"/v1/pets" if found.prefix else b"/pets", fields)
    head = head_for_peer(request, found, **known)
    encoded = encode_request_fast(request)
    plain = None if encoded is None else PlainHead(request, *encoded)
    passed, data = pass_to_peer(request, plain, found, **known)
    assert passed == head
    assert data is None or data == (passed, *(encode_request_fast(head) or ()))
    return head


def values(head: RequestHead | ResponseHead, name: str) -> list[bytes]:
    return values_of(head.headers, name.lower().encode())


# --- requests -----------------------------------------------------------------------------------


def test_the_peer_is_told_who_has_called_and_how() -> None:
    head = at_peer((b"Accept", b"*/*"), (b"Accept", b"text/html"), prefix="/v1")
    assert head.headers == [
        HOST,
        (b"Accept", b"*/*"),
        (b"Accept", b"text/html"),
        (b"X-Forwarded-For", b"203.0.113.7"),
        (b"X-Forwarded-Host", b"edge-1.hub.example:8080"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Prefix", b"/v1"),
        (b"Forwarded", b'for=203.0.113.7;host="edge-1.hub.example:8080";proto=http'),
    ]
    assert (head.method, head.target, head.scheme) == (b"GET", b"/pets", "http")


def test_the_scheme_and_an_ipv6_address() -> None:
    head = at_peer(client=Peer("fe80::1%eth0", 1, tls=True))
    assert head.scheme == "https"
    assert values(head, "X-Forwarded-For") == [b"fe80::1"]
    assert values(head, "X-Forwarded-Proto") == [b"https"]
    assert values(head, "Forwarded")[0].startswith(b'for="[fe80::1]";')


def test_over_a_unix_socket_there_is_no_address() -> None:
    head = at_peer(client=Peer("", 0))
    assert values(head, "X-Forwarded-For") == []
    assert values(head, "Forwarded")[0].startswith(b"for=unknown;")


FORGED = [
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"),
    *("X-Forwarded-Port", "X-Forwarded-User", "X-Forwarded", "Forwarded", "Forwarded-For", "Via"),
    *("X-Real-IP", "Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP"),
    *("X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Host", "X-Scheme"),
    *("Client-Cert", "Client-Cert-Chain", "X-SSL-Client-Verify", "SSL-Client-S-DN"),
    *("Restsock-Identity", "Restsock-Peer", "Restsock-May-Have-Run", "Restsock-Replay"),
    *("Restsock-Anything", "Proxy", "Proxy-Authorization", "Proxy-Connection", "HTTP2-Settings"),
    *("X_Forwarded_For", "Restsock_Identity", "X_A", "X.Forwarded.For", "Restsock~Identity"),
]


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_what_a_caller_writes_there_does_not_arrive(name: str, spell: type[str]) -> None:
    head = at_peer(
        (spell(name).encode(), b"forged"),
        (spell(name).encode(), b"forged"),
        principal=Principal("anna"),
        prefix="/v1",
    )
    assert [field for field in head.headers if b"forged" in field[1]] == []
    assert values(head, "Restsock-Identity") == [b"anna"]
    for name in ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"):
        assert len(values(head, name)) == 1


def test_a_trusted_proxy_is_added_to() -> None:
    head = at_peer(
        (b"X-Forwarded-For", b"198.51.100.1, 10.0.0.9"),
        (b"X-Forwarded-For", b"10.0.0.8"),
        (b"X-Forwarded-Host", b"shop.example"),
        (b"X-Forwarded-Proto", b"HTTPS"),
        (b"X-Forwarded-Prefix", b"/shop/"),
        (b"Forwarded", b"for=198.51.100.1"),
        (b"X-Real-IP", b"198.51.100.1"),
        (b"Restsock-Identity", b"forged"),
        client=Peer("10.0.0.7", 1),
        trusted=True,
        prefix="/v1",
    )
    assert values(head, "X-Forwarded-For") == [b"198.51.100.1, 10.0.0.9, 10.0.0.8, 10.0.0.7"]
    assert values(head, "X-Forwarded-Host") == [b"shop.example"]
    assert values(head, "X-Forwarded-Proto") == [b"https"]
    assert values(head, "X-Forwarded-Prefix") == [b"/shop/v1"]
    assert values(head, "Forwarded")[0].startswith(b"for=198.51.100.1, for=10.0.0.7;")
    assert values(head, "X-Real-IP") == []
    assert values(head, "Restsock-Identity") == []
    assert head.scheme == "https"


def test_a_scheme_that_is_none_does_not_count() -> None:
    head = at_peer((b"X-Forwarded-Proto", b"gopher"), trusted=True)
    assert values(head, "X-Forwarded-Proto") == [b"http"]


def test_authorization_goes_on_unless_it_was_for_the_ingress() -> None:
    field = (b"authorization", b"Bearer x")
    assert values(at_peer(field), "Authorization") == [b"Bearer x"]
    assert values(at_peer(field, own_authorization=True), "Authorization") == []


def test_an_identity_that_is_not_ascii_arrives_as_utf_8() -> None:
    head = at_peer(principal=Principal("Zoë"))
    assert values(head, "Restsock-Identity") == ["Zoë".encode()]


def test_rules_of_the_route_come_last() -> None:
    rules = FieldRules(set={"X-Key": "k", "X-Forwarded-Proto": "https"}, remove=["cookie"])
    route = Route("edge-1.hub.example", "edge-1", request_fields=rules)
    head = at_peer((b"Cookie", b"a=b"), (b"x-key", b"mine"), route=route)
    assert values(head, "Cookie") == []
    assert values(head, "X-Key") == [b"k"]
    assert values(head, "X-Forwarded-Proto") == [b"https"]


@pytest.mark.parametrize(
    ("peer", "rule", "host"),
    [
        ("edge-1", "keep", HOST[1]),
        ("edge-1", "name", b"edge-1"),
        ("No Label", "name", b"restsock"),
        ("edge-1", "app.internal:81", b"app.internal:81"),
    ],
)
def test_the_host_that_the_peer_gets(peer: str, rule: str, host: bytes) -> None:
    head = at_peer(route=Route("edge-1.hub.example", peer, upstream_host=rule))
    assert values(head, "Host") == [host]
    assert values(head, "X-Forwarded-Host") == [HOST[1]]


_NAMES = st.sampled_from(
    [*FORGED, "Accept", "Cookie", "Authorization", "X-Forward", "Viaduct", "Expect", "Connection"]
) | st.text("viaVIA-xX", min_size=1, max_size=6)
_VALUES = st.sampled_from(["a", "a: b", "for=x", "x; Domain=y", "", "\xff"])
_FIELDS = st.lists(
    st.tuples(
        st.builds(lambda spell, name: spell(name), st.sampled_from([str.lower, str]), _NAMES),
        _VALUES,
    ).map(lambda field: (field[0].encode(), field[1].encode("latin-1"))),
    max_size=4,
)


@given(
    fields=_FIELDS,
    host=st.sampled_from(["edge-1", "[::1]:80", "A.b:1", "x" * 300, "a_b", "edge-1.localhost"]),
    at=st.sampled_from(["10.0.0.1", "fe80::1%eth0", "", "wire"]),
    tls=st.booleans(),
    trusted=st.booleans(),
    name=st.sampled_from([None, "anna", "Zoë", "a b "]),
    own_authorization=st.booleans(),
    prefix=st.sampled_from(["", "/v1"]),
    rules=st.sampled_from([FieldRules(), FieldRules(set={"Via": "x"}), FieldRules(remove=["a"])]),
    upstream_host=st.sampled_from(["keep", "name"]),
)
def test_a_head_that_passes_as_it_came_is_that_of_the_long_way(
    *,
    fields: list[tuple[bytes, bytes]],
    host: str,
    at: str,
    tls: bool,
    trusted: bool,
    name: str | None,
    own_authorization: bool,
    prefix: str,
    rules: FieldRules,
    upstream_host: str,
) -> None:
    route = Route("a.example", "edge-1", request_fields=rules, upstream_host=upstream_host)
    _at_peer(
        [(b"hOST", host.encode()), *fields],
        Found("edge-1", b"/pets", prefix, route, "", host.encode()),
        client=Peer(at, 1, tls),
        trusted=trusted,
        principal=None if name is None else Principal(name),
        own_authorization=own_authorization,
    )


def test_an_everyday_head_passes_as_it_came() -> None:
    fields = [HOST, (b"Accept", b"*/*"), (b"Cookie", b"a=b"), (b"Content-Length", b"5")]
    request = RequestHead(b"POST", b"/pets", fields, "https")
    encoded = encode_request_fast(request)
    assert encoded is not None
    head, plain = pass_to_peer(
        request,
        PlainHead(request, *encoded),
        found(),
        client=CLIENT,
        trusted=False,
        principal=Principal("anna"),
        own_authorization=False,
    )
    assert plain is not None
    assert plain[1:] == encode_request_fast(head)
    assert head.scheme == "https"
    answer = ResponseHead(200, [(b"Content-Length", b"5"), (b"Set-Cookie", b"a=b; Path=/")], b"OK")
    encoded = encode_response_fast(answer)
    assert encoded is not None
    plain = PlainHead(answer, *encoded)
    assert pass_to_client(found(), answer, plain) == (answer, plain)


def test_the_bytes_of_another_head_are_not_taken_for_those_of_this_one() -> None:
    request = RequestHead(b"GET", b"/pets", [HOST])
    encoded = encode_request_fast(request)
    assert encoded is not None
    changed = request._replace(headers=[HOST, (b"X-A", b"1")])
    head, plain = pass_to_peer(
        changed,
        PlainHead(request, *encoded),
        found(),
        client=CLIENT,
        trusted=False,
        principal=None,
        own_authorization=False,
    )
    assert values(head, "X-A") == [b"1"]
    assert plain is None


# --- responses ----------------------------------------------------------------------------------


def at_client(
    *fields: tuple[bytes, bytes], prefix: str = "", route: Route | None = None
) -> ResponseHead:
    response = ResponseHead(200, list(fields))
    head = head_for_client(response, found(prefix, route))
    encoded = encode_response_fast(response)
    plain = None if encoded is None else PlainHead(response, *encoded)
    passed, data = pass_to_client(found(prefix, route), response, plain)
    assert passed == head
    assert data is None or data == (passed, *(encode_response_fast(head) or ()))
    return head


@given(
    fields=_FIELDS | _FIELDS.map(lambda fields: [*fields, (b"sEt-CooKie", b"a=b; DOMAIN=c")]),
    prefix=st.sampled_from(["", "", "/v1"]),
    rules=st.sampled_from([FieldRules(), FieldRules(set={"Via": "x"}), FieldRules(remove=["via"])]),
    cookie_domain=st.sampled_from(["keep", "host"]),
)
def test_an_answer_that_passes_as_it_came_is_that_of_the_long_way(
    fields: list[tuple[bytes, bytes]], prefix: str, rules: FieldRules, cookie_domain: str
) -> None:
    route = Route("a.example", "edge-1", response_fields=rules, cookie_domain=cookie_domain)
    at_client(*fields, prefix=prefix, route=route)


@pytest.mark.parametrize(
    ("cookie", "narrowed"),
    [
        (b"a=b; Domain=hub.example; Path=/", b"a=b; Path=/"),
        (b"a=b;domain = .hub.example", b"a=b"),
        (b"a=b; DOMAIN=x; Domain=y; Secure", b"a=b; Secure"),
        (b"a=b; Domain=", b"a=b"),
        (b"a=b;\tdomain\t=x", b"a=b"),
        (b"domain=x; Path=/", b"domain=x; Path=/"),
        (b"a=domain=x", b"a=domain=x"),
        (b"a=b; Subdomain=x", b"a=b; Subdomain=x"),
    ],
)
def test_cookies_are_for_this_host_alone(cookie: bytes, narrowed: bytes) -> None:
    assert values(at_client((b"SET-cookie", cookie)), "Set-Cookie") == [narrowed]


def test_a_route_may_keep_the_domain_of_cookies() -> None:
    route = Route("edge-1.hub.example", "edge-1", cookie_domain="keep")
    cookie = b"a=b; Domain=hub.example"
    assert values(at_client((b"Set-Cookie", cookie), route=route), "Set-Cookie") == [cookie]
    with pytest.raises(ValueError, match="cookie_domain"):
        Route("edge-1.hub.example", "edge-1", cookie_domain="wide")


@pytest.mark.parametrize(
    ("cookie", "below"),
    [
        (b"a=b; Path=/", b"a=b; Path=/_/edge-1/"),
        (b"a=b; path = /x; Secure", b"a=b; path = /_/edge-1/x; Secure"),
        (b"a=b", b"a=b"),
        (b"a=b; Path=x", b"a=b; Path=x"),
        (b"a=b; Path=/_/edge-2/", b"a=b; Path=/_/edge-1/_/edge-2/"),
    ],
)
def test_cookies_are_below_the_prefix(cookie: bytes, below: bytes) -> None:
    head = at_client((b"Set-Cookie", cookie), prefix="/_/edge-1")
    assert values(head, "Set-Cookie") == [below]


@pytest.mark.parametrize(
    ("location", "below"),
    [
        (b"/pets", b"/_/edge-1/pets"),
        (b"/", b"/_/edge-1/"),
        (b"//other.example/x", b"//other.example/x"),
        (b"pets", b"pets"),
        (b"?a", b"?a"),
        (b"https://other.example/", b"https://other.example/"),
        (b"http://" + HOST[1], b"http://" + HOST[1] + b"/_/edge-1/"),
        (b"http://" + HOST[1] + b"?a", b"http://" + HOST[1] + b"/_/edge-1/?a"),
        (b"HTTPS://EDGE-1.hub.example:8080/x", b"https://" + HOST[1] + b"/_/edge-1/x"),
        (b"http://" + HOST[1] + b".evil.example/", b"http://" + HOST[1] + b".evil.example/"),
        (b"http://" + HOST[1] + b"@evil.example/", b"http://" + HOST[1] + b"@evil.example/"),
    ],
)
@pytest.mark.parametrize("name", ["Location", "Content-Location"])
def test_locations_are_below_the_prefix(name: str, location: bytes, below: bytes) -> None:
    assert values(at_client((name.encode(), location), prefix="/_/edge-1"), name) == [below]
    assert values(at_client((name.encode(), location)), name) == [location]


@pytest.mark.parametrize(
    "name", ["Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc"]
)
def test_what_is_said_of_the_whole_origin_does_not_cross_below_a_prefix(name: str) -> None:
    assert values(at_client((name.encode(), b"/"), prefix="/_/edge-1"), name) == []
    assert values(at_client((name.encode(), b"/")), name) == [b"/"]


def test_a_peer_does_not_speak_for_the_ingress() -> None:
    head = at_client((b"Restsock-May-Have-Run", b"?0"), (b"RESTSOCK-X", b"1"), (b"X", b"2"))
    assert head.headers == [(b"X", b"2")]


FORGED_TRAILERS = [
    *(*FORGED, "Authorization", "Cookie", "Set-Cookie", "Location", "Clear-Site-Data"),
    *("Content-Type", "Cache-Control", "WWW-Authenticate", "Date", "Vary", "If-Match"),
]


@pytest.mark.parametrize("name", FORGED_TRAILERS)
def test_what_may_not_be_in_a_head_does_not_come_after_the_body(name: str) -> None:
    """Some servers add trailers to the fields of the head."""
    trailers = [(b"X-Sum", b"1"), (name.encode(), b"forged"), (name.lower().encode(), b"forged")]
    assert clean_trailers(trailers) == [(b"X-Sum", b"1")]


def test_rules_of_the_route_for_responses() -> None:
    rules = FieldRules(set={"X-Frame-Options": "DENY"}, remove=["server"])
    route = Route("edge-1.hub.example", "edge-1", response_fields=rules)
    head = at_client((b"Server", b"x"), (b"X", b"2"), route=route)
    assert head.headers == [(b"X", b"2"), (b"X-Frame-Options", b"DENY")]


def test_the_forged_names_are_what_gateways_tell() -> None:
    """So that a name that is added to the one list is thought of in the other."""
    assert told_by_gateways(b"x-forwarded-anything")
    assert not told_by_gateways(b"x-request-id")
