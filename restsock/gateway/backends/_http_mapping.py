"""`HTTPMapping`: messages as HTTP requests, and responses as replies."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import trio

from restsock._field_names import NOT_IN_TRAILERS, is_plain_name
from restsock.apps import BadTargetError, check_path, say_who
from restsock.connection import Peer
from restsock.gateway._errors import CallFailed
from restsock.gateway._message import Message, Reply
from restsock.protocol import TOKEN, VALUE

from ._payload import decode_json, encode, is_json
from ._template import Source, Template, text_of

if TYPE_CHECKING:
    from restsock.connection import Response

__all__ = ["HTTPMapping", "HTTPRequest"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
# Of these nobody expects a body.
_BODILESS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))

_HEADERS = (
    *("accept", "accept-language", "content-type", "if-match", "if-none-match"),
    *("if-modified-since", "if-unmodified-since", "idempotency-key", "prefer"),
    *("traceparent", "tracestate", "x-request-id"),
)
_REPLY_HEADERS = (
    *("content-type", "content-language", "etag", "last-modified", "location", "link"),
    *("retry-after", "cache-control", "warning", "deprecation", "sunset", "x-request-id"),
)
_WHO = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded")
_CLIENTS = 1024  # whose fields are kept for the next time
_JSON = "JSON"
_FORWARDED = (None, "x-forwarded", "forwarded", "both")
_TARGET = re.compile(r"/[!-~]*")
# Those that texts have. Python has others, that are no charsets, or take the square of the length.
_CHARSETS = re.compile(
    r"utf[-_]?(?:8|16|32)(?:[-_]?[bl]e)?|(?:us-)?ascii|latin-?1|iso[-_]?8859[-_]\d{1,2}"
    r"|(?:windows-|cp)\d{3,4}|koi8[-_][ru]|gbk|gb2312|gb18030|big5|euc[-_](?:jp|kr)|shift[-_]jis",
    re.IGNORECASE | re.ASCII,
)
_CHARSET = re.compile(r'charset="?([A-Za-z0-9_.:-]{1,40})"?', re.IGNORECASE)


class HTTPRequest(NamedTuple):
    """A request of HTTP, before it is sent.

    Attributes:
        method: In capitals.
        target: Path and query, percent-encoded, below the base of what it is sent to. `""` is that
            base itself.
        headers: Fields.
        body: All of it.
        scheme: Of the URL that the client has come by.
        timed: Whether the last of the fields says how much time is left.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    scheme: str = "http"
    timed: bool = False

    def __repr__(self) -> str:
        return f"<HTTPRequest {self.method} {self.target}>"  # the rest may hold secrets


@dataclass(frozen=True)
class HTTPMapping:
    """How messages become HTTP requests, and responses become replies.

        HTTPMapping(method="GET", path="/pets/{body[id]}", query={"limit": "body[limit]"})

    Without arguments, a message of the dialect `http` is sent with its own method and path, and any
    other message as a POST to the URL of the backend.

    In a template, `{body[pet][id]}` is a part of the message; see `restsock.gateway.Source`. Its
    value is percent-encoded and never leads to another path: an empty value, or one with a slash, a
    backslash or `..`, is answered with 422. `{+body[file]}` may have slashes.

    A body that is text or bytes is sent as it is; any other one as JSON. A response of JSON is
    decoded, and one of text is text. The reply has its status, so a 500 is a failure. A redirect is
    not followed: the dialect `http` shows it, and for the others it is a 502.

    Args:
        method: The method of all requests; `None` is the message's own, or POST.
        path: A template of the path, and a query if it has one; `None` is the message's own path.
        query: Further parameters of the query, each with a source. A parameter is left out if the
            message has no value for it. A list becomes several of one name.
        body: The source of the body; `None` sends none. GET, HEAD, DELETE and OPTIONS have one only
            if the message itself names its method.
        content_type: The media type of the body, instead of the one by its kind.
        headers: Which of the message's fields are sent on, by name.
        tell: Fields about the client, each with a source: `{"X-User": "principal"}`.
        fields: Further fields, the same for all requests. They may hold secrets, and replace all
            others of the same name.
        forwarded: How to tell the address of the client; as in `restsock.forward`.
        deadline_field: The field that says for how many milliseconds the client waits; `None` sends
            none.
        methods: The methods that a message may have.
        reply_headers: Which fields of the response the reply has, by name.

    Raises:
        ValueError: An argument is not valid. It shows no value of `fields`.
        TypeError: Likewise.
    """

    _: KW_ONLY
    method: str | None = None
    path: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    body: str | None = "body"
    content_type: str | None = None
    headers: Collection[str] = _HEADERS
    tell: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    forwarded: str | None = "x-forwarded"
    deadline_field: str | None = "X-Request-Timeout-Ms"
    methods: Collection[str] = _METHODS
    reply_headers: Collection[str] = _REPLY_HEADERS
    _path: Template | None = field(init=False, repr=False, compare=False)
    _search: Template | None = field(init=False, repr=False, compare=False)
    _query: Mapping[str, Source] = field(init=False, repr=False, compare=False)
    _body: Source | None = field(init=False, repr=False, compare=False)
    _tell: Mapping[str, Source] = field(init=False, repr=False, compare=False)
    _timed: bool = field(init=False, repr=False, compare=False)
    _told: Callable[..., tuple[tuple[str, str], ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in (self.method, *self.methods):
            if name is not None and not (name.isascii() and name.isalpha() and name.isupper()):
                raise ValueError(f"a method is a word in capitals, not {name!r}")
        if self.method in ("CONNECT", "TRACE") or {"CONNECT", "TRACE"} & set(self.methods):
            raise ValueError("CONNECT and TRACE are not for messages")
        path = search = None
        if self.path is not None:
            path_text, _, search_text = self.path.partition("?")
            path, search = Template(path_text, _in_path), Template(search_text, _in_query)
            if not path_text.startswith("/") or not _TARGET.fullmatch(path.literals):
                raise ValueError(f"the path begins with / and is percent-encoded: {self.path!r}")
            if not _TARGET.fullmatch("/" + search.literals):
                raise ValueError(f"the query is percent-encoded: {self.path!r}")
        for names in (self.headers, self.reply_headers, self.tell, self.fields):
            _check_names(names)
        if self.forwarded not in _FORWARDED:
            raise ValueError(f"forwarded has to be one of {_FORWARDED}, not {self.forwarded!r}")
        if self.deadline_field is not None:
            _check_names([self.deadline_field])
        for name, value in self.fields.items():
            if not _fits(value):
                raise ValueError(f"not a value for the field {name!r}")
        made: dict[str, object] = {
            "_path": path,
            "_search": search,
            "_query": {name: Source(source) for name, source in self.query.items()},
            "_body": None if self.body is None else Source(self.body),
            "_tell": {name: Source(source) for name, source in self.tell.items()},
            "headers": frozenset(name.lower() for name in self.headers),
            "reply_headers": frozenset(name.lower() for name in self.reply_headers),
            "_timed": self.deadline_field is not None
            and self.deadline_field.lower() not in {name.lower() for name in self.fields},
            "_told": lru_cache(_CLIENTS)(self._tell_all),  # a client asks more than once
        }
        for name, made_value in made.items():
            object.__setattr__(self, name, made_value)

    # --- the request --------------------------------------------------------------------------

    def request_of(self, message: Message) -> HTTPRequest:
        """The request that a message is.

        Raises:
            CallFailed: It is none: 400 and 422, and 405 for a method that is not allowed.
        """
        method = self.method or message.method or "POST"
        if method not in self.methods and method != self.method:
            raise CallFailed(405, "no such method here")
        fields = {name: value for name, value in message.headers.items() if name in self.headers}
        body = b""
        if self._body is not None and (method not in _BODILESS or message.method is not None):
            body = self._encoded(self._body.find(message), fields)
        if not body:
            fields.pop("content-type", None)
        return HTTPRequest(method, self._target(message), tuple(fields.items()), body)

    def _target(self, message: Message) -> str:
        if self._path is not None and self._search is not None:
            target = self._path.fill(message)
            if self._search.text:
                target += "?" + self._search.fill(message)
        elif message.path is not None:
            target = message.path
            if not _TARGET.fullmatch(target) or "#" in target:
                raise CallFailed(400, "the path begins with / and is percent-encoded")
        elif not self._query:
            return ""
        else:
            target = ""
        path, _, query = target.partition("?")
        if path:
            try:
                check_path(path.encode("ascii"))
            except BadTargetError as exc:
                raise CallFailed(400, str(exc)) from None
        pairs = [query] if query else []
        for name, source in self._query.items():
            found = source.find(message)
            for value in found if isinstance(found, list) else [found]:
                text = text_of(value)
                if text is not None:
                    pairs.append(f"{quote(name, safe='')}={quote(text, safe='')}")
                elif value is not None:
                    raise source.refuse("has to be a text or a number")
        return f"{path}?{'&'.join(pairs)}" if pairs else path

    def _encoded(self, value: Any, fields: dict[str, str]) -> bytes:
        if value is None:
            return b""
        body, kind = encode(value)
        if self.content_type is not None:
            fields["content-type"] = self.content_type
        else:
            fields.setdefault("content-type", kind)
        return body

    def completed(self, message: Message, request: HTTPRequest) -> HTTPRequest:
        """The same with the fields that say who asks, and how long that makes sense.

        Raises:
            CallFailed: A field cannot have the value that the message has: 422.
        """
        said: tuple[tuple[str, str | None], ...] = ()
        if self._tell:
            said = tuple(
                [(name, text_of(source.find(message))) for name, source in self._tell.items()]
            )
        asked = message.session.request
        fields = self._told(request.headers, said, asked.host, asked.peer.host, asked.scheme)
        timed = self._timed and message.deadline < math.inf
        if timed:
            left = max(0, round((message.deadline - trio.current_time()) * 1000))
            fields = (*fields, (self.deadline_field or "", str(left)))
        return HTTPRequest(
            request.method, request.target, fields, request.body, asked.scheme, timed
        )

    def _tell_all(
        self,
        headers: tuple[tuple[str, str], ...],
        said: tuple[tuple[str, str | None], ...],
        host: str,
        client: str,
        scheme: str,
    ) -> tuple[tuple[str, str], ...]:
        """All fields but the time that is left."""
        fields: dict[str, tuple[str, str]] = {}
        for name, value in headers:
            if not _fits(value):
                raise CallFailed(422, f"not a value for the field {name}")
            fields[name.lower()] = name, value
        for name, text in said:
            fields.pop(name.lower(), None)  # else a client could write it
            if text is not None:
                if not _fits(text):
                    raise self._tell[name].refuse("cannot stand in a field")
                fields[name.lower()] = name, text
        if self.deadline_field is not None:
            fields.pop(self.deadline_field.lower(), None)
        for name, value in self.fields.items():
            fields[name.lower()] = name, value
        told = tuple(fields.values())
        if self.forwarded is None:
            return told
        # What is there of these fields stands before what is added, or instead of it.
        before = () if fields.keys().isdisjoint(_WHO) else told
        who = _who(self.forwarded, host or "restsock", client, scheme, before)
        return who if before else told + who

    # --- the reply ----------------------------------------------------------------------------

    def reply_to(self, message: Message, response: Response) -> Reply:
        """The reply that an answer is, whatever its status.

        Raises:
            CallFailed: It is a redirect, or not the JSON that it says it is: 502.
        """
        status = response.status
        if 300 <= status < 400 and status != 304 and message.method is None:
            raise CallFailed(
                502, "what this goes to redirects to somewhere else", may_have_run=True
            )
        if not 100 <= status <= 599:
            raise CallFailed(502, f"an answer with the status {status}", may_have_run=True)
        headers: dict[str, str] = {}
        kind: str | None = None
        for raw, value in response.headers:
            name = _lower(raw)
            text = value.decode("latin-1")
            if name == "content-type" and kind is None:
                kind = text
            if name in self.reply_headers:
                headers[name] = f"{headers[name]}, {text}" if name in headers else text
        return Reply(_decoded(response.content, kind or ""), status, headers)


def _who(
    how: str, host: str, client: str, scheme: str, before: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Some fields with those that say who asks: see `say_who`."""
    told = [(name.encode("ascii"), value.encode("latin-1")) for name, value in before]
    say_who(told, how, host.encode("latin-1"), Peer(client, 0), scheme.encode("ascii"))
    return tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in told)


@lru_cache(256)  # there are few
def _lower(name: bytes) -> str:
    return name.decode("ascii").lower()


def _decoded(body: bytes, kind: str) -> Any:
    if not body:
        return None
    what = _what_is(kind)
    if what is _JSON:
        return decode_json(body)
    if what is not None:
        try:
            return body.decode(what, "replace")
        except LookupError:
            pass  # one of a number that there is not
    return body


@lru_cache(256)
def _what_is(kind: str) -> str | None:
    """What a media type is: JSON, text with a charset, or `None` for bytes."""
    essence = kind.strip().partition(";")[0].strip().lower()
    if is_json(essence):
        return _JSON
    if not essence.startswith("text/"):
        return None
    found = _CHARSET.search(kind)
    charset = found[1] if found else "utf-8"
    return charset if _CHARSETS.fullmatch(charset) else None


def _in_path(text: str, wide: bool) -> str:
    if not text:
        raise ValueError("is empty")
    for sign in "\\" if wide else "/\\":
        if sign in text:
            raise ValueError(f"has a {sign} in it")
    if any(part.strip() in (".", "..") for part in text.split("/")):
        raise ValueError("leads to another path")
    return quote(text, safe="/" if wide else "")


def _in_query(text: str, wide: bool) -> str:
    return quote(text, safe="")


def _check_names(names: Collection[str]) -> None:
    if isinstance(names, str):
        raise TypeError("names of fields are a list, not one name")
    for name in names:
        raw = name.encode("ascii", "replace")
        if not TOKEN.fullmatch(raw) or not is_plain_name(raw):
            raise ValueError(f"{name!r} is no name of a field to send on")
        if raw.lower() in NOT_IN_TRAILERS:
            raise ValueError(f"{name!r} is a field of the connection")


def _fits(text: str) -> bool:
    raw = text.encode("latin-1", "replace")
    return raw.decode("latin-1") == text.strip("\t ") and bool(VALUE.fullmatch(raw))
