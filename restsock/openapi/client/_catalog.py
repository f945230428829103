"""`Catalog`: the operations of a document, and the requests of calls, without sending them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from restsock.openapi.checks import Contract, ContractLike
from restsock.openapi.document import Document, Operation, did_you_mean

from ._call_errors import UnknownOperation
from ._contract import BoundContract
from ._operations import Arguments

if TYPE_CHECKING:
    from restsock.protocol import Headers

    from ._operations import PreparedCall

__all__ = ["Catalog"]


class Catalog:
    """The operations of a document: for those who send the requests by themselves.

    It blocks for as long as a check takes; see `restsock.openapi.OpenAPIHandler`. Threads may share
    it.

    Args:
        spec: The document, or a `Contract` with options.

    Raises:
        SpecError: The document cannot be used.
        ValueError: It is not here: a path on a peer, or `True`.
    """

    def __init__(self, spec: ContractLike) -> None:
        contract = spec if isinstance(spec, Contract) else Contract(spec)
        if contract.document is None:
            raise ValueError("the document is not here: pass a file, or what `load` has given")
        self._document = contract.document
        # The document is here, so there is no peer to ask for it.
        bound = contract.requests or contract.share > 0
        self._contract = BoundContract(None, contract) if bound else None
        self._made: dict[str, Arguments] = {}
        self._names = tuple(dict.fromkeys(map(str, self._document.operations)))

    @property
    def document(self) -> Document:
        """The contract."""
        return self._document

    @property
    def contract(self) -> BoundContract | None:
        """What holds messages to it; `None` where nothing is validated."""
        return self._contract

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all operations; "METHOD /path" of those without one."""
        return self._names

    @property
    def max_time(self) -> float:
        """Seconds of processor time that a check may take."""
        return 0.0 if self._contract is None else self._contract.max_time

    def arguments(self, name: str) -> Arguments:
        """What a call of an operation takes.

        Raises:
            UnknownOperation: There is none of that name; the message suggests similar ones.
            SpecError: The document is wrong about it.
        """
        made = self._made.get(name)
        if made is None:
            operation = self._document.operation(name)
            if operation is None:
                title = self._document.title or "the document"
                hint = did_you_mean(name, self._names)
                raise UnknownOperation(f"{title} has no operation {name!r}{hint}")
            # Two threads may both make it; they make the same.
            made = self._made[name] = Arguments(self._document, operation)
        return made

    def check(self, arguments: Arguments, call: PreparedCall) -> object | None:
        """Validates the request of a call; returns what is needed to check its response.

        Raises:
            RequestValidationError: It breaks the contract.
        """
        if self._contract is None:
            return None
        return self._contract.check_call(arguments.base, call, call.fields())

    def check_response(self, checks: object, status: int, headers: Headers, body: bytes) -> None:
        """Validates a response.

        Args:
            checks: What `check` has returned.
            status: Of the response.
            headers: Its fields.
            body: All of it.

        Raises:
            ResponseValidationError: It breaks the contract.
        """
        if self._contract is not None:
            self._contract.check_response(checks, status, headers, body)

    def schemas(self, operation: Operation) -> Iterator[tuple[str, Mapping[str, Any] | bool]]:
        """The schemas of JSON in the answers of an operation, by status. They may be references."""
        for status, node in (operation.mapping.get("responses") or {}).items():
            for media_type, media in (self._document.resolve(node).get("content") or {}).items():
                if "json" in media_type:
                    yield str(status), self._document.resolve(media).get("schema", {})

    def __repr__(self) -> str:
        return f"<Catalog of {self._document.title!r}, {len(self._names)} operations>"
