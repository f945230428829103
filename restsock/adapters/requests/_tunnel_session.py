"""A `requests.Session` that knows the URLs of tunnels, and keeps the environment from them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import requests
from requests.adapters import BaseAdapter
from requests.models import PreparedRequest, Response
from requests.utils import resolve_proxies

from restsock._addresses import PORTS

from ._tunnel import TunnelAdapter

__all__ = ["TunnelSession"]

_AUTHORITY = re.compile(r"(https?)://(?:[^/?#]*@)?([^/?#@]*?)\.?(?::([0-9]{0,5}))?(?=[/?#])")

_long_way = cast("Any", requests.Session)  # the stubs leave out the types of some of it


class _Environment(threading.local):
    """Whether this thread is handling the URL of a tunnel."""

    hidden = False


_environment = _Environment()


class TunnelSession(requests.Session):
    """See above. Every other URL is treated as ever."""

    @property
    def trust_env(self) -> bool:
        """As in requests; it has no effect on URLs of a tunnel."""
        try:
            trust = cast("bool", self.__dict__["trust_env"])
        except KeyError:  # in a subclass that has yet to call `__init__`
            raise AttributeError("trust_env") from None
        return trust and not _environment.hidden

    @trust_env.setter
    def trust_env(self, value: bool) -> None:
        self.__dict__["trust_env"] = value

    def prepare_request(self, request: requests.Request) -> PreparedRequest:
        """As in requests. No netrc file is read for a tunnel."""
        with self._environment_for(request.url):
            return super().prepare_request(request)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """As in requests. For a tunnel the environment is left alone."""
        with self._environment_for(url):
            return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def rebuild_auth(self, prepared_request: PreparedRequest, response: Response) -> None:
        """As in requests. No netrc file is read for a tunnel."""
        with self._environment_for(prepared_request.url):
            _long_way.rebuild_auth(self, prepared_request, response)

    def rebuild_proxies(
        self, prepared_request: PreparedRequest, proxies: Mapping[str, str] | None
    ) -> Any:
        """As in requests. For a tunnel the environment's proxies are left out."""
        with self._environment_for(prepared_request.url):
            return _long_way.rebuild_proxies(self, prepared_request, proxies)

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """As in requests, with its errors. For a tunnel the environment's proxies are left out."""
        if "proxies" not in kwargs and self._is_tunnel(getattr(request, "url", None)):
            kwargs["proxies"] = resolve_proxies(request, cast("Any", self.proxies), trust_env=False)
        return super().send(request, **kwargs)

    @contextmanager
    def _environment_for(self, url: object) -> Iterator[None]:
        before = _environment.hidden
        _environment.hidden = self._is_tunnel(url)
        try:
            yield
        finally:
            _environment.hidden = before

    def get_adapter(self, url: str) -> BaseAdapter:
        """As in requests, but a mounted tunnel also gets other spellings of its URL.

        `http://edge-1:80/`, `http://user@edge-1/` and `http://edge-1./` match `http://edge-1/` if a
        `TunnelAdapter` is mounted there.
        """
        lower = url.lower()
        spelled = None
        for prefix, adapter in self.adapters.items():  # the longest comes first
            prefix = prefix.lower()
            if lower.startswith(prefix):
                break
            if isinstance(adapter, TunnelAdapter):
                if spelled is None:
                    spelled = _spelled(f"{lower}/" if lower.count("/") == 2 else lower)
                if spelled.startswith(_spelled_prefix(prefix)):
                    return adapter
        return super().get_adapter(url)

    def _is_tunnel(self, url: object) -> bool:
        if isinstance(url, bytes):
            url = url.decode("latin-1")
        try:
            return isinstance(self.get_adapter(str(url).lstrip()), TunnelAdapter)
        except Exception:  # noqa: BLE001  # requests raises the better error for a wrong URL
            return False


def _spelled(url: str) -> str:
    """A URL in lower case, without userinfo, default port and the final dot of the host.

    A prefix that ends within its authority stays unchanged: `http://edge-1` is also a prefix of
    `http://edge-10/`.
    """
    match = _AUTHORITY.match(url)
    if match is None:
        return url
    scheme, host, port = match.groups()
    if port and int(port) != PORTS[scheme]:
        host = f"{host}:{int(port)}"
    return f"{scheme}://{host}{url[match.end() :]}"


_spelled_prefix = lru_cache(maxsize=1024)(_spelled)
