"""`restsock.Session` against `requests.Session`: whatever the call, nobody can tell them apart.

A call is made through both, with the same adapter to the same scripted peer. Compared is all that
shows: what crosses the tunnel, what the adapter is handed, the response with everything in it, or
the exception, and what is left in the session.
"""

from __future__ import annotations

import copy
import gzip
import io
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
import requests
import trio
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.util import Timeout

import restsock
from restsock._exceptions import RestsockError, StreamRefused, StreamReset
from restsock._options import Limits, Timeouts
from restsock.adapters import TunnelAdapter
from restsock.testing import connected_pair
from restsock.threads import _driver
from tests import strategies  # noqa: F401  # selects the profile of Hypothesis
from tests.adapters.fake_tunnel import FakeExchange, FakeRequester, Loop, Script, ok

REAL_EXCHANGE = cast("Any", _driver).Exchange

Sessions = tuple[type[requests.Session], type[requests.Session]]
BOTH: Sessions = (requests.Session, restsock.Session)


@pytest.fixture(scope="module")
def shared() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module", autouse=True)
def _scripted() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_driver, "Exchange", FakeExchange)
        # The environment has a say in requests, and none here.
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name.endswith("_CA_BUNDLE"):
                patch.delenv(name)
        patch.setenv("NETRC", os.devnull)
        patch.setattr("urllib3.filepost.choose_boundary", lambda: "boundary")
        yield


# --- what shows -------------------------------------------------------------------------------


def show_jar(jar: Any) -> Any:
    if jar is None or not isinstance(jar, CookieJar):
        return jar
    policy = cast("Any", jar)._policy
    hidden = ("_now", "_policy", "_cookies", "_cookies_lock")
    return (
        type(jar),
        [sorted(vars(cookie).items(), key=str) for cookie in jar],
        sorted(set(vars(jar)) - {"_now"}),
        {name: value for name, value in vars(jar).items() if name not in hidden},
        type(policy),
        {name: value for name, value in vars(policy).items() if name != "_now"},
    )


def show_headers(headers: Any) -> Any:
    if headers is None:
        return None
    items = list(headers.items())
    return type(headers), items, [(type(k), type(v)) for k, v in items]


def show_body(body: Any) -> Any:
    return type(body), body.getvalue() if isinstance(body, io.BytesIO) else body


def show_request(request: Any) -> Any:
    if request is None:
        return None
    return {
        "attributes": (type(request), list(vars(request))),
        "line": (request.method, request.url, type(request.url), request.path_url),
        "headers": show_headers(request.headers),
        "body": show_body(request.body),
        "hooks": request.hooks,
        "position": type(request._body_position),
        "cookies": show_jar(request._cookies),
    }


def show_response(response: requests.Response, adapter: object) -> Any:
    state = cast("Any", response)
    raw = response.raw
    consumed = state._content_consumed
    content: Any
    try:
        content = response.content
    except Exception as exc:  # noqa: BLE001  # whatever it is, both raise it
        content = show_error(exc)
    shown = {
        "attributes": (type(response), list(vars(response))),
        "line": (response.status_code, response.reason, response.url, response.encoding),
        "headers": show_headers(response.headers),
        "consumed": consumed,
        "content": content,
        "history": [show_response(earlier, adapter) for earlier in response.history],
        "cookies": show_jar(response.cookies),
        "elapsed": response.elapsed.total_seconds() > 0,
        "request": show_request(response.request),
        "connection": cast("Any", response).connection is adapter,
        "next": show_request(response.next),
        "raw": (type(raw), raw.status, raw.version, raw.reason, list(raw.headers.items())),
        "read": (raw.closed, raw.isclosed(), raw.tell(), raw.length_remaining, raw.read()),
        "retries": repr(raw.retries),
    }
    if isinstance(content, bytes):
        shown["text"] = response.text
        again = pickle.loads(pickle.dumps(response)) if picklable(response.request) else None
        if again is not None:
            shown["pickled"] = (list(vars(again)), again.content, show_request(again.request))
    return shown


def picklable(request: Any) -> bool:
    try:
        pickle.dumps((request.body, request.hooks))
    except Exception:  # noqa: BLE001  # a file, mostly
        return False
    return True


def show_error(exc: BaseException | None) -> Any:
    if exc is None:
        return None
    return (
        type(exc),
        str(exc) if " at 0x" not in str(exc) else None,
        show_request(getattr(exc, "request", None)),
        getattr(getattr(exc, "response", None), "status_code", None),
        show_error(exc.__cause__),
        show_error(exc.__context__),
    )


def show_session(session: requests.Session) -> Any:
    return {
        "attributes": [name for name in vars(session) if name != "_merged"],
        "cookies": show_jar(session.cookies),
        "headers": show_headers(session.headers),
        "rest": [(session.auth, session.params, session.proxies, session.hooks)],
        "trust_env": session.trust_env,
    }


def show_exchange(exchange: FakeExchange) -> Any:
    head = exchange.request
    return head.method, head.target, list(head.headers), bytes(exchange.sent), exchange.ended


def observe(
    make: type[requests.Session],
    loop: Loop,
    scripts: list[Script],
    steps: Callable[[requests.Session], Any],
    retries: int = 0,
) -> tuple[Any, bool]:
    """Returns what shows of some calls, and whether the last went the short way."""
    tunnel = FakeRequester(loop, Limits(), Timeouts(connect=5.0))
    tunnel.scripts = list(scripts)
    adapter = TunnelAdapter(cast("Any", tunnel), max_retries=retries)
    handed = []
    short: list[object] = []

    def send(
        request: Any,
        stream: Any = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        time = repr(timeout) if isinstance(timeout, Timeout) else timeout
        handed.append((show_request(request), stream, time, verify, cert, type(proxies), proxies))
        return TunnelAdapter.send(adapter, request, stream, timeout, verify, cert, proxies)

    adapter.send = send  # type: ignore[method-assign]

    with make() as session:
        mount(session, adapter)
        with short_way(short):
            try:
                shown = show_response(steps(session), adapter)
            except Exception as exc:  # noqa: BLE001  # whatever it is, both raise it
                shown = show_error(exc)
        wire = [show_exchange(exchange) for exchange in tunnel.exchanges]
        return (shown, wire, handed, show_session(session)), bool(short)


def mount(session: requests.Session, adapter: TunnelAdapter) -> None:
    """Mounts it for all that the tests call; restsock's session knows some spellings by itself."""
    session.mount("http://edge-1/", adapter)
    session.mount("https://edge-1/", adapter)
    if type(session) is requests.Session:
        for other in ("http://edge-1:80/", "http://user:pw@edge-1/", "https://user:pw@edge-1/"):
            session.mount(other, adapter)


class short_way:  # noqa: N801  # used like contextlib's
    """Notes the calls that take the short cut."""

    def __init__(self, calls: list[object]) -> None:
        self._calls = calls

    def __enter__(self) -> None:
        inner = restsock.Session._send

        def send(session: restsock.Session, *args: Any) -> requests.Response:
            self._calls.append(session)
            return inner(session, *args)

        self._patch = mock.patch.object(restsock.Session, "_send", send)
        self._patch.start()

    def __exit__(self, *args: object) -> None:
        self._patch.stop()


def compare(
    loop: Loop,
    scripts: list[Script],
    steps: Callable[[requests.Session], Any],
    retries: int = 0,
) -> bool:
    """Holds both to the same; returns whether the short cut was taken."""
    # A clock that stands: what has a Max-Age expires at the same second for both.
    clock = SimpleNamespace(time=partial(float, time.time()), localtime=time.localtime)
    with mock.patch("http.cookiejar.time", clock):
        expected, _ = observe(requests.Session, loop, scripts, steps, retries)
        shown, short = observe(restsock.Session, loop, scripts, steps, retries)
    assert shown == expected
    return short


# --- calls ------------------------------------------------------------------------------------

SEGMENTS = ["", ".", "..", "pets", "a.b", ".well-known", "1", "a%20b", "%7e", "a b", "ä", "x;y=1"]
SEGMENTS += ["~_-", "a:b", "@", "(1)", "$&'*+,=!", "[", "|", '"', "%", "%2f", "\\", "^"]
HOSTS = ["edge-1"] * 9 + ["EDGE-1", "edge-1:80", "edge-1:8080", "user:pw@edge-1", "edge-1:"]

segments = st.one_of(st.sampled_from(SEGMENTS), st.text(max_size=3))
paths = st.lists(segments, max_size=3).map(lambda parts: "/" + "/".join(parts))
queries = st.one_of(
    st.just(""),
    st.sampled_from(["?", "?a=1", "?a=1&b=%20", "?x=ä", "?a/b?c", "?a b", "?a=[1]", "?%zz"]),
    st.text("aB1=&%+ ?/:@'\"[]~", max_size=6).map("?{}".format),
)
plain_urls = st.sampled_from(
    ["http://edge-1/", "http://edge-1/pets", "https://edge-1/pets/1", "http://edge-1/a?b=c"]
)
urls = st.one_of(
    plain_urls,
    st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["http", "http", "http", "https", "HTTP"]),
        st.sampled_from(HOSTS),
        paths,
        queries,
        st.sampled_from(["", "", "", "#f", " "]),
    ),
    st.sampled_from([b"http://edge-1/pets", " http://edge-1/", "edge-1/pets", "mailto:a@b", ""]),
)
words = st.one_of(
    st.sampled_from(["a", "q", "a b", "ä", "&=", "~", "+/%", ""]), st.text(max_size=4)
)
scalars: st.SearchStrategy[Any] = st.one_of(
    words, st.integers(-5, 10**20), st.none(), st.booleans(), st.binary(max_size=3), st.floats()
)
plain_fields = st.dictionaries(words, st.one_of(words, st.integers(0, 99)), max_size=3)
fields = st.one_of(
    plain_fields,
    st.dictionaries(words, st.one_of(scalars, st.lists(words, max_size=2)), max_size=3),
    st.lists(st.tuples(words, words), max_size=2),
    words,
    st.binary(max_size=4),
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2)
)
NAMES: list[Any] = ["X-A", "x-b", "Accept", "user-agent", "Content-Type", "content-length", "Host"]
NAMES += ["Connection", "Accept-Encoding", "Authorization", "Cookie"]
NAMES += ["a b", "a:b", "", "\xe4", b"X-Bytes", 5]
names = st.sampled_from(NAMES)
values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["1", "v", "a  b ", "text/plain", "", " lead", "a\r\nb", "\tx", "é", "\u0142"]),
    st.sampled_from([b"bytes", None, 5, "a\x00", "a\tb", "\x7f"]),
)
plain_headers = st.dictionaries(
    st.sampled_from(["X-A", "x-b", "Accept", "user-agent", "Content-Type", "HOST", "Cookie"]),
    st.sampled_from(["1", "v w", "", "text/plain"]),
    max_size=3,
)
headers = st.one_of(
    plain_headers,
    plain_headers.map(CaseInsensitiveDict),
    st.dictionaries(names, values, max_size=3),
    st.lists(st.tuples(names, values), max_size=1),
)
timeouts = st.sampled_from([None, 5, 2.5, (3, 4), (None, 4), (1,), "x", -1, 0, True])
flags = st.sampled_from([None, True, False])


def optional(**choices: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


plain_calls = st.one_of(
    optional(params=plain_fields, headers=plain_headers, timeout=st.sampled_from([5, (3, 4)])),
    optional(json=trees, headers=plain_headers, allow_redirects=flags),
    optional(data=words | st.binary(max_size=5) | plain_fields, stream=flags),
)
calls = st.one_of(
    plain_calls,
    optional(
        params=fields,
        data=fields | st.binary().map(io.BytesIO) | st.binary().map(bytearray),
        json=trees,
        headers=headers,
        timeout=timeouts,
        allow_redirects=flags,
        stream=flags | st.just(1),
    ),
    optional(
        params=plain_fields,
        data=plain_fields,
        cookies=st.sampled_from([None, {}, {"a": "b"}]),
        files=st.sampled_from([None, {}, {"f": ("n", b"data")}]),
        auth=st.sampled_from([None, (), ("user", "pw"), HTTPAdapter]),
        proxies=st.sampled_from([None, {}, {"ftp": "http://127.0.0.1:9"}]),
        hooks=st.sampled_from([None, {}, {"response": []}, {"nothing": []}]),
        verify=flags,
        cert=st.sampled_from([None, "file"]),
    ),
)
methods = st.one_of(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    st.sampled_from(["get", "post", "Get", "PURGE", "", "a b", "ß"]),
)


class Note:
    """A hook that leaves a trace."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Note  # a copy, or one that was pickled, is as good

    __hash__ = object.__hash__

    def __call__(self, response: requests.Response, **kwargs: Any) -> None:
        response.headers["X-Hooked"] = ",".join(sorted(kwargs))


NOTE = Note()


def note_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["X-Auth"] = "1"
    return request


SETTINGS: list[dict[str, Any]] = [
    {"auth": ("user", "pw")},
    {"auth": ()},
    {"auth": note_auth},
    {"params": {"key": "1"}},
    {"params": None},
    {"params": {"key": None}},
    {"proxies": {"ftp": "http://127.0.0.1:9"}},
    {"proxies": None},
    {"hooks": {"response": [NOTE]}},
    {"hooks": {"response": NOTE}},
    {"hooks": {}},
    {"hooks": None},
    {"cookies": {"k": "v"}},
    {"stream": True},
    {"stream": None},
    {"verify": False},
    {"verify": "bundle"},
    {"cert": "file"},
    {"trust_env": False},
    {"max_redirects": 0},
    {"headers": {"X-A": "session", "X-B": "2"}},
    {"headers": {}},
    {"headers": None},
    {"headers": CaseInsensitiveDict({"X-A": None, "x-b": "1"})},
    {"headers": CaseInsensitiveDict({"X-A": " bad"})},
    {"headers": CaseInsensitiveDict({"X-A": b"bytes", "Content-Length": "5"})},
    {"headers": CaseInsensitiveDict({"X-A": "ä"})},
]
settings: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}), st.just({}), st.sampled_from(SETTINGS)
)


def set_up(session: requests.Session, values: Mapping[str, Any]) -> None:
    for name, value in copy.deepcopy(dict(values)).items():
        if name == "cookies":
            session.cookies.update(value)
        else:
            setattr(session, name, value)


# --- answers ----------------------------------------------------------------------------------

FIELDS = [
    ("Content-Type", "application/json"),
    ("content-type", "text/html"),
    ("Content-Type", "text/plain; charset='latin-1'"),
    ("Content-Type", ""),
    ("X-A", "1"),
    ("x-a", "2"),
    ("Set-Cookie", "k=v; Path=/"),
    ("set-cookie", "other=1; Max-Age=5"),
    ("Set-Cookie2", 'k="v"; Version=1'),
    ("Location", "/there"),
    ("location", "http://edge-1/there?x=1"),
    ("X-Latin", "\xe9"),
]
statuses = st.sampled_from([200, 200, 200, 201, 204, 299, 301, 302, 303, 304, 307, 308, 404, 500])
errors: st.SearchStrategy[RestsockError | None] = st.sampled_from(
    [None] * 8
    + [
        StreamReset("gone", code=1, by_peer=True),
        StreamRefused("no room"),
        restsock.RequestTimeout("late", phase="body"),
    ]
)


@st.composite
def answers(draw: st.DrawFn) -> Script:
    status = draw(statuses)
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=4))
    pieces = draw(st.lists(st.binary(min_size=1, max_size=9), max_size=3))
    if draw(st.integers(0, 9)) == 0:
        pieces.append(b"0123456789" * 3000)
    coding = draw(st.sampled_from([None, None, None, "gzip", "identity"]))
    length = draw(st.sampled_from([0, 0, 0, None, None, 3]))
    error = draw(errors)
    early = draw(st.booleans())
    reason = draw(st.sampled_from(["", "", "Fine"]))

    def script(exchange: FakeExchange) -> None:
        exchange.start()
        body = b"".join(pieces)
        if error is not None and early:
            exchange.fail(error)
            return
        described = [*fields, ("Content-Encoding", coding)] if coding else list(fields)
        if length is not None:
            described.append(("Content-Length", str(len(body) + length)))
        exchange.answer(status, *cast("Any", described), reason=reason)
        if status not in (204, 304) and exchange.request.method != b"HEAD":
            for piece in pieces:
                exchange.data(piece)
        if error is not None:
            exchange.fail(error)
        else:
            exchange.end()

    return script


@given(methods, urls, calls, settings)
def test_any_call_is_the_call_that_requests_makes(
    shared: Loop, method: str, url: Any, call: dict[str, Any], setting: dict[str, Any]
) -> None:
    def steps(session: requests.Session) -> requests.Response:
        set_up(session, setting)
        return session.request(method, url, **copy.deepcopy(call))

    compare(shared, [ok], steps)


@given(methods, urls, plain_calls)
def test_a_plain_call_is_the_call_that_requests_makes(
    shared: Loop, method: str, url: Any, call: dict[str, Any]
) -> None:
    compare(shared, [ok], lambda session: session.request(method, url, **copy.deepcopy(call)))


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"params": {"q": "a b", "n": 1}},
        {"json": {"name": "Rex"}},
        {"json": 0},
        {"data": "text"},
        {"data": b"bytes"},
        {"data": {"a": "b"}},
        {"headers": {"X-A": "1", "accept": "text/plain"}},
        {"timeout": (3, 4), "stream": True, "allow_redirects": False},
    ],
)
@pytest.mark.parametrize("url", ["http://edge-1/", "https://edge-1/pets/a.b/?x=1"])
def test_a_plain_call_takes_the_short_cut(shared: Loop, url: str, call: dict[str, Any]) -> None:
    for method in ("GET", "post", "HEAD"):
        assert compare(shared, [ok], lambda session: session.request(method, url, **call))  # noqa: B023


@pytest.mark.parametrize(
    ("url", "call"),
    [
        ("http://edge-1", {}),
        ("http://edge-1/a/../b", {}),
        ("http://edge-1//a", {}),
        ("http://EDGE-1/", {}),
        ("http://user:pw@edge-1/", {}),
        ("http://edge-1/%7e", {}),
        ("http://edge-1/?", {}),
        ("http://edge-1/#f", {}),
        ("http://edge-1/", {"params": {"a": None}}),
        ("http://edge-1/", {"params": {"a": ["1", "2"]}}),
        ("http://edge-1/", {"json": {1, 2}}),
        ("http://edge-1/", {"json": float("nan")}),
        ("http://edge-1/", {"data": "\ud800"}),
        ("http://edge-1/", {"data": {"a": None}}),
        ("http://edge-1/", {"data": io.BytesIO(b"file")}),
        ("http://edge-1/", {"headers": {"X-A": " lead"}}),
        ("http://edge-1/", {"headers": {"X-A": None}}),
        ("http://edge-1/", {"headers": {"Accept": None}}),
        ("http://edge-1/", {"cookies": {"a": "b"}}),
        ("http://edge-1/", {"auth": ("user", "pw")}),
        ("http://edge-1/", {"hooks": {"response": NOTE}}),
    ],
)
def test_any_other_call_goes_the_long_way(shared: Loop, url: str, call: dict[str, Any]) -> None:
    for method in ("GET", "POST"):
        assert not compare(
            shared,
            [ok],
            lambda session: session.request(method, url, **copy.deepcopy(call)),  # noqa: B023
        )


@pytest.mark.parametrize("setting", SETTINGS, ids="-".join)
def test_what_is_set_on_the_session_counts(shared: Loop, setting: dict[str, Any]) -> None:
    for call in ({}, {"headers": {"x-a": "call"}}, {"params": {"q": "1"}, "stream": False}):

        def steps(session: requests.Session) -> requests.Response:
            session.get("http://edge-1/")
            set_up(session, setting)
            return session.get("http://edge-1/", **call)  # noqa: B023

        compare(shared, [ok], steps)


@pytest.mark.parametrize(
    "step", ["send", "prepare_request", "get_adapter", "merge_environment_settings", "request"]
)
@pytest.mark.parametrize("where", ["requests", "class", "instance"])
def test_a_step_that_is_overridden_is_called(shared: Loop, step: str, where: str) -> None:
    tunnel = FakeRequester(shared, Limits(), Timeouts())
    tunnel.scripts = [ok]
    called = []

    class Derived(restsock.Session):
        pass

    session = Derived()
    session.mount("http://edge-1/", TunnelAdapter(cast("Any", tunnel)))
    owner: Any = {"requests": requests.Session, "class": Derived, "instance": session}[where]
    inner = getattr(owner, step)

    def spy(*args: Any, **kwargs: Any) -> Any:
        called.append(step)
        return inner(*args, **kwargs)

    with session, mock.patch.object(owner, step, spy):
        assert session.get("http://edge-1/").status_code == 200
    assert called


def test_an_adapter_that_derives_from_ours_goes_the_long_way(shared: Loop) -> None:
    class Derived(TunnelAdapter):
        def add_headers(self, request: requests.PreparedRequest, **kwargs: Any) -> None:
            request.headers["X-Verify"] = str(kwargs["verify"])

    tunnel = FakeRequester(shared, Limits(), Timeouts())
    tunnel.scripts = [ok]
    with restsock.Session() as session:
        session.mount("http://edge-1/", Derived(cast("Any", tunnel)))
        assert session.get("http://edge-1/").request.headers["X-Verify"] == "True"


def test_cookies_of_an_answer_come_back(shared: Loop) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200, ("Set-Cookie", "k=v"), ("Content-Length", "0"))
        exchange.end()

    def steps(session: requests.Session) -> requests.Response:
        session.get("http://edge-1/")
        return session.get("http://edge-1/")

    assert compare(shared, [script, ok], steps)  # the first of the two


def test_the_environment_has_no_say_about_a_tunnel(
    shared: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "bundle")
    calls_: list[dict[str, Any]] = [{}, {"cookies": {"a": "b"}}]
    for call in calls_:
        for again in (False, True):

            def answer(exchange: FakeExchange) -> None:
                exchange.start()
                exchange.answer(302, ("Location", "/there"), ("Content-Length", "0"))
                exchange.end()

            def steps(session: requests.Session) -> requests.Response:
                if type(session) is requests.Session:
                    session.trust_env = False
                response = session.get("http://edge-1/", **call)  # noqa: B023
                if again:  # noqa: B023
                    response = session.send(response.request)
                session.trust_env = True
                return response

            compare(shared, [answer, ok], steps)


def test_the_environment_counts_for_other_urls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapter: TunnelAdapter
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with restsock.Session() as session:
        session.mount("http://edge-1/", adapter)
        assert session.trust_env
        request = requests.Request("GET", "http://elsewhere/")
        assert "Authorization" in session.prepare_request(request).headers
        settings = session.merge_environment_settings("http://elsewhere/", {}, None, None, None)
        assert settings["proxies"]["http"] == "http://127.0.0.1:9"
        request = requests.Request("GET", "http://edge-1/")
        assert "Authorization" not in session.prepare_request(request).headers
        session.trust_env = False
        request = requests.Request("GET", "http://elsewhere/")
        assert "Authorization" not in session.prepare_request(request).headers


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("http://edge-1/", "http://edge-1:80/a"),
        ("http://edge-1/", "http://edge-1:080/a"),
        ("http://edge-1/", "http://u:p@edge-1/a"),
        ("http://edge-1/", "http://u:p%40x@edge-1:80/a"),
        ("http://edge-1/", "HTTP://EDGE-1/a"),
        ("http://edge-1/", "http://edge-1./a"),
        ("http://edge-1/", "http://edge-1.:80?a"),
        ("http://Edge-1:80/", "http://edge-1/a"),
        ("http://edge-1:8080/", "http://u@EDGE-1:8080/a"),
        ("https://edge-1/", "https://edge-1:443/a"),
        ("http://[::1]/", "http://u@[::1]:80/a"),
        ("http://[fe80::a]:80/", "http://[FE80::A]/a"),
        ("http://edge-1/a/", "http://edge-1:80/a/b"),
        ("http://edge-1", "http://u:p@edge-1/a"),
    ],
)
def test_a_tunnel_has_all_spellings_of_its_url(
    adapter: TunnelAdapter, tunnel: FakeRequester, prefix: str, url: str
) -> None:
    with restsock.Session() as session:
        session.mount(prefix, adapter)
        assert session.get(url).ok
    assert len(tunnel.exchanges) == 1


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("http://edge-1/", "http://edge-1:8080/"),
        ("http://edge-1/", "http://edge-1:443/"),
        ("http://edge-1/", "https://edge-1/"),
        ("http://edge-1/", "http://edge-10/"),
        ("http://edge-1/", "http://edge-1:80@elsewhere/"),
        ("http://edge-1/", "http://edge-1.elsewhere/"),
        ("http://edge-1:80", "http://edge-10/"),
        ("http://edge-1.", "http://edge-10/"),
        ("http://edge-1/a/", "http://edge-1:80/b"),
    ],
)
def test_another_url_is_not_the_tunnels(adapter: TunnelAdapter, prefix: str, url: str) -> None:
    with restsock.Session() as session:
        session.mount(prefix, adapter)
        assert session.get_adapter(url) is not adapter


def test_the_longest_spelling_wins(adapter: TunnelAdapter) -> None:
    other, plain = TunnelAdapter(cast("Any", None)), requests.adapters.HTTPAdapter()
    with restsock.Session() as session:
        session.mount("http://", other)
        session.mount("http://edge-1/", adapter)
        session.mount("http://edge-1:80/socket/", plain)
        assert session.get_adapter("http://u@edge-1:80/") is adapter
        assert session.get_adapter("http://edge-1:80/socket/") is plain
        assert session.get_adapter("http://edge-2/") is other
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get_adapter("mailto:a@b")


def test_a_session_can_be_pickled() -> None:
    session = restsock.Session()
    session.headers["X-A"] = "1"
    session.trust_env = False
    again = pickle.loads(pickle.dumps(session))
    assert type(again) is restsock.Session
    assert (again.headers, again.trust_env) == (session.headers, False)


@given(plain_urls, paths, queries, plain_fields)
def test_urls_are_written_as_requests_writes_them(
    shared: Loop, url: str, path: str, query: str, params: dict[str, Any]
) -> None:
    compare(shared, [ok], lambda session: session.get(url, params=params))
    compare(shared, [ok], lambda session: session.get(f"http://edge-1{path}{query}", params=params))


@given(st.sampled_from(["GET", "HEAD", "POST"]), answers(), flags, flags, st.integers(0, 1))
def test_any_answer_is_the_response_that_requests_gives(
    shared: Loop, method: str, answer: Script, stream: bool, redirects: bool, retries: int
) -> None:
    def steps(session: requests.Session) -> requests.Response:
        return session.request(
            method, "http://edge-1/pets", stream=stream, allow_redirects=redirects
        )

    compare(shared, [answer, ok], steps, retries)


@pytest.mark.parametrize("length", [0, 3, 6, 39999])
@pytest.mark.parametrize("body", [b"", b"abc", b"abcdef", b"x" * 20000, b"x" * 39999])
@pytest.mark.parametrize("stop", [True, False])
def test_a_length_that_is_not_true(shared: Loop, body: bytes, length: int, stop: bool) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200, ("Content-Length", str(length)))
        if body:
            exchange.data(body)
        if stop:
            exchange.end()
        else:
            exchange.fail(StreamReset("gone", code=1, by_peer=True))

    compare(shared, [script], lambda session: session.get("http://edge-1/"))


def test_headers_of_a_call_are_gone_in_the_next(shared: Loop) -> None:
    def steps(session: requests.Session) -> requests.Response:
        session.post("http://edge-1/", headers={"X-A": "1", "accept": "text/plain"}, json=1)
        return session.get("http://edge-1/")

    assert compare(shared, [ok], steps)


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_a_content_type_of_the_caller_is_kept(shared: Loop, name: str) -> None:
    for call in ({"json": 1}, {"data": {"a": "b"}}):

        def steps(session: requests.Session) -> requests.Response:
            return session.post("http://edge-1/", headers={name: "x/y"}, **call)  # noqa: B023

        assert compare(shared, [ok], steps)


@pytest.mark.parametrize("body", [gzip.compress(b"text" * 9000, mtime=0), b"no gzip"])
def test_a_coded_body_is_decoded(shared: Loop, body: bytes) -> None:
    def script(exchange: FakeExchange) -> None:
        exchange.start()
        exchange.answer(200, ("Content-Encoding", "gzip"), ("Content-Length", str(len(body))))
        exchange.data(body)
        exchange.end()

    assert compare(shared, [script], lambda session: session.get("http://edge-1/"))


@given(answers())
def test_responses_are_built_as_requests_builds_them(shared: Loop, answer: Script) -> None:
    tunnel = FakeRequester(shared, Limits(), Timeouts())
    tunnel.scripts = [answer]
    adapter = TunnelAdapter(cast("Any", tunnel))
    request = requests.Request("GET", "http://edge-1/pets").prepare()
    try:
        response = adapter.send(request)
    except requests.RequestException:
        return
    plain = HTTPAdapter.build_response(adapter, request, response.raw)
    shown = []
    for each in (plain, response):
        seen = (list(vars(each)), show_headers(each.headers), each.encoding, each.elapsed)
        line = (each.status_code, each.reason, each.url, each.request is request)
        shown.append((seen, line, show_jar(each.cookies), cast("Any", each).connection is adapter))
    response.close()
    assert shown[0] == shown[1]


@given(st.lists(st.tuples(plain_calls, settings), min_size=2, max_size=4))
def test_calls_in_a_row(shared: Loop, rounds: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    # Settings change from call to call: nothing that was remembered may outlive its reason.
    def steps(session: requests.Session) -> Any:
        for call, setting in rounds:
            set_up(session, setting)
            response = session.post("http://edge-1/pets", **copy.deepcopy(call))
            session.headers = session.headers or {}
            session.headers["X-Count"] = str(len(session.headers))
        return response

    compare(shared, [ok], steps)


# --- over a real connection -------------------------------------------------------------------


async def echo(request: restsock.Request) -> restsock.Response:
    """Answers with the request, in the body."""
    lines = [f"{request.method} {request.target}".encode()]
    lines += [b"%b: %b" % (name, value) for name, value in request.headers]
    fields = [("X-Echo", "1"), ("Date", "Sat, 21 Nov 2026 07:00:00 GMT")]
    return restsock.Response(200, fields, b"\n".join([*lines, b"", await request.read()]))


@pytest.fixture(scope="module")
def pair() -> Iterator[Any]:
    opened: list[Any] = []
    ready = threading.Event()
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            async with connected_pair(app_b=echo) as (dialer, _):
                opened.append(dialer)
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert ready.wait(5)
    yield opened[0]
    opened[0].token.run_sync_soon(scope.cancel)
    thread.join()


@given(methods, urls, st.one_of(plain_calls, calls))
def test_over_a_real_connection(pair: Any, method: str, url: Any, call: dict[str, Any]) -> None:
    with mock.patch.object(_driver, "Exchange", REAL_EXCHANGE):
        adapter = TunnelAdapter(pair)
        shown: list[Any] = []
        for make in BOTH:
            with make() as session:
                mount(session, adapter)
                try:
                    response = session.request(method, url, **copy.deepcopy(call))
                    shown.append(show_response(response, adapter))
                except Exception as exc:  # noqa: BLE001  # whatever it is, both raise it
                    shown.append(show_error(exc))
        assert shown[0] == shown[1]
