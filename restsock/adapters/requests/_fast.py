"""Empty objects of requests, made as its constructors make them but in a tenth of the time.

They are ordinary instances of its ordinary classes. Should a later version build them otherwise,
the constructors are called instead.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

__all__ = ["new_headers", "new_jar", "store_of"]

Store = OrderedDict[str, "tuple[str, Any]"]


def new_headers(store: Store) -> CaseInsensitiveDict[Any]:
    """Headers of these fields: name in lower case -> (name, value). Takes the dict over."""
    headers = cast("Any", CaseInsensitiveDict.__new__(CaseInsensitiveDict))
    headers._store = store
    return cast("CaseInsensitiveDict[Any]", headers)


def store_of(headers: object) -> Store:
    """The fields of such headers: not a copy."""
    return cast("Store", cast("Any", headers)._store)


def new_jar() -> RequestsCookieJar:
    """An empty jar, like `RequestsCookieJar()`."""
    if not _KNOWN:
        return RequestsCookieJar()
    policy = DefaultCookiePolicy.__new__(DefaultCookiePolicy)
    policy.__dict__.update(_POLICY)
    jar = RequestsCookieJar.__new__(RequestsCookieJar)
    jar.__dict__.update(_policy=policy, _cookies_lock=threading.RLock(), _cookies={})
    return jar


_JAR = vars(RequestsCookieJar())
_POLICY = dict(vars(_JAR["_policy"]))
_KNOWN = (
    list(_JAR) == ["_policy", "_cookies_lock", "_cookies"]
    and type(_JAR["_policy"]) is DefaultCookiePolicy
    and type(_JAR["_cookies_lock"]) is type(threading.RLock())
    # Shared between all jars made here: nothing of a policy may be changed in place.
    and all(value is None or isinstance(value, (int, str, tuple)) for value in _POLICY.values())
)
