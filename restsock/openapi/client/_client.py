"""`APIClient`: an API by its operations, over a `requests.Session` or a `Requester`.

api = restsock.openapi.APIClient(session, "petstore.json", base_url="http://edge-1/")
api.listPets(limit=10).json()

api = restsock.openapi.APIClient(server.route("edge-1"), "petstore.json")
(await api.listPets(limit=10)).json()
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload
from urllib.parse import urlsplit

from restsock.connection import Requester, Response, fields_of
from restsock.openapi.checks import Contract, ContractLike
from restsock.openapi.document import Document

from ._bound_operations import AsyncOperation, BlockingOperation, BoundOperation, CallOptions
from ._catalog import Catalog
from ._discover import add_part, search_blocking

if TYPE_CHECKING:
    import requests

__all__ = ["APIClient"]

_Bound = TypeVar("_Bound", bound=BoundOperation)

_NOTHING: Mapping[str, str] = MappingProxyType({})


class APIClient(Generic[_Bound]):
    """An API by its operations.

    `api.listPets(limit=10)` calls the operation with that id; `api.operation("listPets")` is the
    same, for ids that are not Python identifiers or that this class uses itself. Operations without
    an id are named "GET /pets". `dir(api)` lists all, `help(api.listPets)` shows the contract.

    Arguments are passed by name, for parameters in path, query, header and cookies. `None` leaves
    one out. The body is `body=`. In a name that is not a Python identifier, replace other
    characters by "_" (`x_request_id`), or pass it unchanged (`**{"X-Request-Id": "7"}`). Two
    parameters with the same name have their location as a prefix: `path_id=`, `query_id=`.

    Args:
        transport: A `requests.Session` (or a `restsock.Session`), for blocking calls; or a
            `Requester` (`restsock.Client`, `Connection`, `Route`), for async calls on its loop.
        spec: The document, or a `Contract` with options. The document is a file, a mapping, or the
            result of `load` or `discover`; with a session also a path on the peer
            (`"/openapi.json"`), or `True` to look for it there. If the session's adapter has its
            own contract, only that one is used.
        base_url: The base URL of the API: `"http://edge-1/"`. Its path, if any, replaces that of
            the document's `servers`. By default it is the first of `servers`, which must be an
            absolute URL for a session. A requester needs only the path.
        headers: Additional header fields for each request.
        timeout: Seconds for each call; with a session any `timeout` of `requests`, such as a pair.

    Raises:
        SpecError: The document cannot be used, or the peer has none.
        ValueError: Neither the document nor `base_url` contains the address of the API.
        TypeError: The transport is neither a session nor a requester.
    """

    @overload
    def __init__(
        self: APIClient[AsyncOperation],
        transport: Requester,
        spec: ContractLike,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] = _NOTHING,
        timeout: float | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: APIClient[BlockingOperation],
        transport: requests.Session,
        spec: ContractLike,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] = _NOTHING,
        timeout: Any = None,
    ) -> None: ...

    def __init__(
        self,
        transport: Any,
        spec: ContractLike,
        *,
        base_url: str | None = None,
        headers: Mapping[str, str] = _NOTHING,
        timeout: Any = None,
    ) -> None:
        contract = spec if isinstance(spec, Contract) else Contract(spec)
        self._kind: type[BoundOperation]
        if isinstance(transport, Requester):
            self._kind = AsyncOperation
            if contract.document is None:
                raise ValueError("the document is not here yet: pass `await discover(requester)`")
            base_path = None if base_url is None else urlsplit(base_url).path.rstrip("/") or None
            where = "" if base_url is None else urlsplit(base_url).scheme
        elif hasattr(transport, "get_adapter") and hasattr(transport, "request"):
            self._kind = BlockingOperation
            if contract.document is None:
                contract = copy(contract)
                contract.document = _discovered(transport, contract.where, base_url, timeout)
            where, base_path = _where(contract.document, base_url)
        else:
            raise TypeError(
                "the transport has to be a requests.Session or a restsock Requester, not "
                f"{type(transport).__name__}; for restsock.sync, mount its .adapter() on a session"
            )
        self._transport = transport
        catalog = Catalog(contract)
        self._options = CallOptions(
            catalog.contract, where, base_path, timeout, dict(headers), None
        )
        self._made: dict[str, BoundOperation] = {}
        # Set last: `__getattr__` uses it to detect a complete instance.
        self._catalog = catalog

    @property
    def document(self) -> Document:
        """The contract."""
        return self._catalog.document

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of all operations, for `operation()`."""
        return self._catalog.names

    def operation(self, name: str) -> _Bound:
        """The callable operation with this id, or "METHOD /path".

        Raises:
            UnknownOperation: There is no such operation; the message suggests similar names.
            SpecError: The document is invalid in this operation.
        """
        made = self._made.get(name)
        if made is None:
            arguments = self._catalog.arguments(name)
            # Two threads may both make it; they make the same.
            made = self._made[name] = self._kind(arguments, self._options, self._transport)
        return cast("_Bound", made)

    def __getattr__(self, name: str) -> _Bound:
        # An incomplete instance (during a copy, for example) has no operations yet.
        if name.startswith("__") or "_catalog" not in self.__dict__:
            raise AttributeError(name)
        return self.operation(name)

    def __dir__(self) -> list[str]:
        ids = (name for name in self.operations if name.isidentifier())
        return sorted({*object.__dir__(self), *ids})

    def __repr__(self) -> str:
        way = "async" if self._kind is AsyncOperation else "blocking"
        return f"<APIClient of {self.document.title!r}, {len(self.operations)} operations, {way}>"


def _discovered(
    session: requests.Session, where: str | None, base_url: str | None, timeout: Any
) -> Document:
    """Gets the document from the peer."""
    if base_url is None:
        raise ValueError("a document that the peer has needs base_url='http://NAME/', to ask there")
    parts = urlsplit(base_url)

    def get(target: str) -> Response:
        url = f"{parts.scheme}://{parts.netloc}{target}"
        content = bytearray()
        with session.get(url, timeout=timeout, stream=True) as response:
            for part in response.iter_content(64 * 1024):
                add_part(content, part, target)
        fields = fields_of(response.headers.items())
        return Response(response.status_code, fields, bytes(content))

    return search_blocking(get, where)


def _where(document: Document, base_url: str | None) -> tuple[str, str | None]:
    """Scheme and authority of the API, and the base path if it is not the document's."""
    if base_url is None:
        servers = document.mapping.get("servers") or [{}]
        url = str(servers[0].get("url", ""))
        for name, variable in (servers[0].get("variables") or {}).items():
            url = url.replace("{" + name + "}", str(variable.get("default", "")))
        parts = urlsplit(url)
        if not parts.scheme or not parts.netloc:
            raise ValueError(
                "the document does not say where the API is: give base_url='http://NAME/'"
            )
        return f"{parts.scheme}://{parts.netloc}", None
    parts = urlsplit(base_url)
    if not parts.scheme or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"base_url has to be like 'http://edge-1/', not {base_url!r}")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/") or None
