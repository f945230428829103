"""`Catalog`: the operations of a document, and the requests of calls, without sending."""

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
    """The operations of a document, for code that sends the requests itself.

    Its checks block; see `restsock.openapi.OpenAPIHandler`. Threads may share it.

    Args:
        spec: The document, or a `Contract` with options.

    Raises:
        SpecError: The document cannot be used.
        ValueError: The document is on a peer: a path, or `True`.
    """

    def __init__(self, spec: ContractLike) -> None:
        contract = spec if isinstance(spec, Contract) else Contract(spec)
        if contract.document is None:
            raise ValueError("the document is not here: pass a file, or what `load` has given")
        self._document = contract.document
        # The document is here, so no peer is asked for it.
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
        """The contract for validation; `None` if nothing is validated."""
        return self._contract

    @property
    def names(self) -> tuple[str, ...]:
        """The ids of all operations; "METHOD /path" for those without an id."""
        return self._names

    @property
    def max_time(self) -> float:
        """Seconds of processor time that a check may take."""
        return 0.0 if self._contract is None else self._contract.max_time

    def arguments(self, name: str) -> Arguments:
        """The arguments of an operation.

        Raises:
            UnknownOperation: There is no such operation; the message suggests similar names.
            SpecError: The document is invalid in this operation.
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
        """Validates the request of a call; returns the `checks` for its response.

        Raises:
            RequestValidationError: The request violates the contract.
        """
        if self._contract is None:
            return None
        return self._contract.check_call(arguments.base, call, call.fields())

    def check_response(self, checks: object, status: int, headers: Headers, body: bytes) -> None:
        """Validates a response.

        Args:
            checks: The result of `check`.
            status: The status code of the response.
            headers: Its header fields.
            body: Its whole body.

        Raises:
            ResponseValidationError: The response violates the contract.
        """
        if self._contract is not None:
            self._contract.check_response(checks, status, headers, body)

    def schemas(self, operation: Operation) -> Iterator[tuple[str, Mapping[str, Any] | bool]]:
        """The JSON schemas of an operation's responses, by status. They may be references."""
        for status, node in (operation.mapping.get("responses") or {}).items():
            for media_type, media in (self._document.resolve(node).get("content") or {}).items():
                if "json" in media_type:
                    yield str(status), self._document.resolve(media).get("schema", {})

    def __repr__(self) -> str:
        return f"<Catalog of {self._document.title!r}, {len(self._names)} operations>"
