"""Makes empty objects of requests and urllib3 in a tenth of the time of their constructors.

They are ordinary instances of the ordinary classes. If a later version builds them differently, the
constructors are called instead.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from http.cookiejar import DefaultCookiePolicy
from operator import attrgetter
from typing import Any

from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict

__all__ = ["cookies_of", "merged_fields", "new_fields", "new_headers", "new_jar", "store_of"]

Store = OrderedDict[str, "tuple[str, Any]"]

store_of = attrgetter("_store")
"""Returns the fields of such headers, by name in lower case: not a copy."""

cookies_of = attrgetter("_cookies")
"""Returns the contents of a jar: not a copy. Empty only if there are no cookies."""


def new_headers(store: Store) -> CaseInsensitiveDict[Any]:
    """Headers of these fields: name in lower case -> (name, value). Takes the dict over."""
    headers: Any = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
    headers._store = store
    return headers  # type: ignore[no-any-return]


def new_jar() -> RequestsCookieJar:
    """An empty jar, like `RequestsCookieJar()`."""
    if not _JAR_IS_KNOWN:
        return RequestsCookieJar()
    policy = DefaultCookiePolicy.__new__(DefaultCookiePolicy)
    policy.__dict__.update(_POLICY)
    jar = RequestsCookieJar.__new__(RequestsCookieJar)
    jar.__dict__.update(_policy=policy, _cookies_lock=_RLock(), _cookies={})
    return jar


def new_fields(headers: Iterable[tuple[bytes, bytes]]) -> HTTPHeaderDict:
    """The fields of a head, as urllib3 represents them."""
    fields = HTTPHeaderDict()
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        lower = name.lower()
        if not _FIELDS_ARE_KNOWN:
            fields.add(name, value)
        elif lower in fields._container:
            fields._container[lower].append(value)
        else:
            fields._container[lower] = [name, value]
    return fields


def merged_fields(fields: HTTPHeaderDict) -> Store:
    """The same as requests represents them: repeated fields are joined."""
    if _FIELDS_ARE_KNOWN:
        store: Store = OrderedDict()
        for lower, values in fields._container.items():
            store[lower] = (values[0], values[1] if len(values) == 2 else ", ".join(values[1:]))
        return store
    return OrderedDict((name.lower(), (name, value)) for name, value in fields.itermerged())


_RLock = type(threading.RLock())  # the function of this name costs a call more
_JAR = vars(RequestsCookieJar())
_POLICY = dict(vars(_JAR["_policy"]))
_JAR_IS_KNOWN = (
    list(_JAR) == ["_policy", "_cookies_lock", "_cookies"]
    and type(_JAR["_policy"]) is DefaultCookiePolicy
    and type(_JAR["_cookies_lock"]) is _RLock
    # Shared between all jars made here: nothing of a policy may be changed in place.
    and all(value is None or isinstance(value, (int, str, tuple)) for value in _POLICY.values())
)
_FIELDS_ARE_KNOWN = vars(HTTPHeaderDict([("A", "1"), ("a", "2")])) == {
    "_container": {"a": ["A", "1", "2"]}
}
