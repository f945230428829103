"""A `requests.Session` with a fast path for plain calls through a tunnel.

Rules:

- The fast path decides before it does anything. Any call that it does not recognize exactly goes to
  `requests.Session.request` unchanged, and without side effects before that.
- It builds what requests would have built: a real `PreparedRequest`, passed to the adapter's `send`
  with the same arguments.
- If user code could be involved (a hook, an auth, an overridden or patched method, a cookie, a
  redirect), the fast path is not used.

A call is plain if its URL is in normal form, its headers, parameters and body have common types,
it has no cookies, files, auth, proxies, hooks, `verify` or `cert`, and the session has no auth,
params, proxies, hooks or cookies.
"""

from __future__ import annotations

import json as json_
import re
from collections import OrderedDict
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast
from urllib.parse import urlencode

import requests
from requests import cookies as cookies_
from requests import models, sessions
from requests.cookies import RequestsCookieJar
from requests.exceptions import InvalidSchema
from requests.models import REDIRECT_STATI, PreparedRequest, Response
from requests.structures import CaseInsensitiveDict

from restsock.protocol import TOKEN

from ._fast import cookies_of, new_headers, new_jar, store_of
from ._response import TunnelResponse, read_content
from ._tunnel import TunnelAdapter
from ._tunnel_session import TunnelSession

__all__ = ["Session"]

# A URL that requests would send unchanged: a lower-case name without port or user, a path without
# escapes, empty or dot segments, possibly a query. Any other URL may be rewritten or refused.
_URL = re.compile(
    r"https?://[a-z0-9]+(?:(?:-+|[._])[a-z0-9]+)*(?=/)"
    r"(?:/(?!\.)[A-Za-z0-9_.~!$&'()*+,;=:@-]+)*/?"
    r"(\?[A-Za-z0-9_.~!$&'()*+,;=:@/?-]+)?"
)
_METHODS = {
    name: name.upper()
    for verb in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    for name in (verb, verb.lower())
}
_NO_HOOKS: dict[str, list[Any]] = {"response": []}

# The methods that requests calls on a session. If one is overridden or patched, it must be called.
_STEPS = (
    "request",
    "send",
    "prepare_request",
    "merge_environment_settings",
    "get_adapter",
    "get_redirect_target",
    "resolve_redirects",
)
_steps_of = attrgetter(*_STEPS)
_STEP_NAMES = frozenset(_STEPS)
_REQUESTS_STEPS = _steps_of(requests.Session)

# The stubs leave out its types.
_extract_cookies = cast("Any", cookies_.extract_cookies_to_jar)

_dumps = json_.JSONEncoder(allow_nan=False).encode


def _encoded(value: object) -> bytes:
    complexjson = cast("Any", models).complexjson
    if complexjson is json_:
        return _dumps(value).encode("utf-8")
    text: str = complexjson.dumps(value, allow_nan=False)  # simplejson, where it is installed
    return text.encode("utf-8")


class Session(TunnelSession):
    """A `requests.Session` with much faster plain calls through a `TunnelAdapter`.

    ::

        session = restsock.Session()
        session.mount("http://edge-1/", server.adapter("edge-1"))
        session.get("http://edge-1/pets").json()

    Use it wherever a `requests.Session` is used. Requests, responses and exceptions are the same,
    with two differences. First, the environment has no effect on URLs of a tunnel, as if
    `trust_env` were off for them: netrc files and `REQUESTS_CA_BUNDLE` are for sockets. For other
    URLs `trust_env` works as usual. Second, a mounted tunnel also gets other spellings of its URL,
    such as `http://edge-1:80/` and `http://user:password@edge-1/` (see `get_adapter`).
    """

    # The session's headers when they were last merged, and the result.
    _merged: tuple[tuple[Any, ...], OrderedDict[str, tuple[str, Any]]] | None = None

    def request(
        self,
        method: Any,
        url: Any,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = None,
        allow_redirects: bool = True,
        proxies: Any = None,
        hooks: Any = None,
        stream: Any = None,
        verify: Any = None,
        cert: Any = None,
        json: Any = None,
    ) -> Response:
        """Sends a request. Arguments, result and exceptions are those of `requests.Session`."""
        if (
            cookies is None
            and files is None
            and auth is None
            and proxies is None
            and hooks is None
            and verify is None
            and cert is None
            and (stream is None or type(stream) is bool)
            and type(url) is str
            and (match := _URL.fullmatch(url)) is not None
            and (adapter := self._fast_adapter(url)) is not None
        ):
            query = match.start(1) >= 0
            request = self._prepare(method, url, query, params, data, headers, json)
            if request is not None:
                return self._send(request, adapter, timeout, allow_redirects, stream)
        return super().request(
            method,
            url,
            params,
            data,
            headers,
            cookies,
            files,
            auth,
            timeout,
            allow_redirects,
            proxies,
            hooks,
            stream,
            verify,
            cert,
            json,
        )

    # --- the fast path ------------------------------------------------------------------------

    def _fast_adapter(self, url: str) -> TunnelAdapter | None:
        """The tunnel's adapter, if the session adds only its headers to a request."""
        cls = type(self)
        if not (
            self.auth is None
            and type(self.params) is dict
            and not self.params
            and type(self.proxies) is dict
            and not self.proxies
            and self.hooks == _NO_HOOKS
            and type(self.cookies) is RequestsCookieJar
            and (not cookies_of(self.cookies) or next(iter(self.cookies), None) is None)
            and type(self.headers) is CaseInsensitiveDict
            and _STEP_NAMES.isdisjoint(self.__dict__)
            and _steps_of(requests.Session) == _REQUESTS_STEPS
            and _steps_of(cls) == _OWN_STEPS
        ):
            return None
        try:
            adapter = self.get_adapter(url)
        except InvalidSchema:
            return None  # requests may raise another error first
        return adapter if type(adapter) is TunnelAdapter else None

    def _prepare(
        self,
        method: object,
        url: str,
        query: bool,
        params: object,
        data: Any,
        headers: object,
        json: object,
    ) -> PreparedRequest | None:
        """Builds the same as `prepare_request`; `None` if the fast path cannot do that."""
        verb = _METHODS.get(method) if type(method) is str else None
        if verb is None:
            return None
        if params is not None:
            encoded = _form(params)
            if encoded is None:
                return None
            if encoded:
                url = f"{url}{'&' if query else '?'}{encoded}"
        fields = self._merge(headers)
        if fields is None:
            return None

        body: str | bytes | None = None
        content_type = None
        if data is not None:
            if json is not None:
                return None
            if type(data) is str or type(data) is bytes:
                body = data or None
            else:
                body = _form(data)
                if body is None:
                    return None
                if body:
                    content_type = "application/x-www-form-urlencoded"
                else:
                    body = None
        elif json is not None:
            try:
                body = _encoded(json)
            except Exception:  # noqa: BLE001  # requests raises it, with its own message
                return None
            content_type = "application/json"
        if body is not None:
            try:
                size = len(body) if type(body) is bytes else len(body.encode("utf-8"))  # type: ignore[union-attr]
            except UnicodeEncodeError:
                return None
            fields["content-length"] = ("Content-Length", str(size))
            if content_type is not None and "content-type" not in fields:
                fields["content-type"] = ("Content-Type", content_type)
        elif verb not in ("GET", "HEAD") and "content-length" not in fields:
            fields["content-length"] = ("Content-Length", "0")

        request = PreparedRequest()
        request.method = verb
        request.url = url
        request.headers = new_headers(fields)
        request._cookies = new_jar()  # type: ignore[attr-defined]
        request.body = body
        return request

    def _merge(self, headers: object) -> OrderedDict[str, tuple[str, Any]] | None:
        """The fields of the session and of the call, by name in lower case."""
        values = tuple(store_of(self.headers).values())
        merged = self._merged
        if merged is None or merged[0] != values:
            scratch = PreparedRequest()
            try:
                scratch.prepare_headers(self.headers)
            except Exception:  # noqa: BLE001  # requests raises it where it belongs
                return None  # or handles it: there a `None` is left out
            merged = self._merged = (values, store_of(scratch.headers))
        fields = merged[1].copy()
        if headers is not None:
            if type(headers) is not dict:
                return None
            for name, value in headers.items():
                if (
                    type(name) is not str
                    or type(value) is not str
                    or not value.isascii()
                    or not value.isprintable()
                    or value[:1] == " "
                    or not _is_name(name)
                ):
                    return None
                fields[name.lower()] = (name, value)
        return fields

    def _send(
        self,
        request: PreparedRequest,
        adapter: TunnelAdapter,
        timeout: Any,
        allow_redirects: bool,
        stream: bool | None,
    ) -> Response:
        """Does the same as `send` for a request without hooks."""
        if stream is None:
            stream = self.stream
        clock = sessions.preferred_clock
        proxies: OrderedDict[str, str] = OrderedDict()
        start = clock()
        verify: Any = self.verify
        response = adapter.send(request, stream, timeout, verify, self.cert, proxies)
        response.elapsed = timedelta(seconds=clock() - start)

        raw = response.raw
        if type(raw) is TunnelResponse and type(response) is Response:
            fields = store_of(response.headers)
            if (
                "set-cookie" not in fields
                and "set-cookie2" not in fields
                and not ("location" in fields and response.status_code in REDIRECT_STATI)
            ):
                if not stream:
                    # A call checker may have read the body already.
                    if "content-encoding" in fields or response._content_consumed:  # type: ignore[attr-defined]
                        _ = response.content
                    else:
                        read_content(response, raw)
                return response
        return self._finish(response, request, timeout, allow_redirects, stream, proxies)

    def _finish(
        self,
        response: Response,
        request: PreparedRequest,
        timeout: Any,
        allow_redirects: bool,
        stream: bool,
        proxies: Any,
    ) -> Response:
        """Does the same as `send` after its hooks, with the public API of requests."""
        kwargs: dict[str, Any] = {
            "timeout": timeout,
            "proxies": proxies,
            "stream": stream,
            "verify": self.verify,
            "cert": self.cert,
        }
        for earlier in response.history:
            _extract_cookies(self.cookies, earlier.request, earlier.raw)
        _extract_cookies(self.cookies, request, response.raw)
        if allow_redirects:
            history = list(self.resolve_redirects(response, request, **kwargs))
            if history:
                history.insert(0, response)
                response = history.pop()
                response.history = history
        else:
            following = self.resolve_redirects(response, request, yield_requests=True, **kwargs)
            cast("Any", response)._next = next(following, None)
        if not stream:
            _ = response.content
        return response


_OWN_STEPS = _steps_of(Session)


@lru_cache(maxsize=1024)
def _is_name(name: str) -> bool:
    return name.isascii() and TOKEN.fullmatch(name.encode("ascii")) is not None


def _form(fields: object) -> str | None:
    """Encodes a dict as a query or a form; `None` if the fast path cannot do that."""
    if type(fields) is not dict:
        return None
    for name, value in fields.items():
        if type(name) is not str or (type(value) is not str and type(value) is not int):
            return None
    try:
        return urlencode(fields)
    except UnicodeEncodeError:
        return None
