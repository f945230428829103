"""All operations, by the ids that the document has for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from restsock.connection import Request, Response
from restsock.openapi.document import NoSuchMethod, NoSuchPath

from . import _configuration, _health, _peers, _records, _token_files
from ._call import Call, OperationFunction, Problem

if TYPE_CHECKING:
    from restsock.openapi import Document

    from ._interface import HubLike

__all__ = ["OPERATIONS", "Operations"]

_log = logging.getLogger("restsock.hub.admin")

OPERATIONS: dict[str, OperationFunction] = {
    **_health.OPERATIONS,
    **_peers.OPERATIONS,
    **_records.OPERATIONS,
    **_token_files.OPERATIONS,
    **_configuration.OPERATIONS,
}


class Operations:
    """The app: calls the function of an operation.

    Args:
        hub: what they are about.
        document: finds the operation of a request.
    """

    def __init__(self, hub: HubLike, document: Document) -> None:
        self._hub = hub
        self._document = document

    async def answer(self, request: Request) -> Response:
        """Answers a request that keeps to the document."""
        path = request.target.partition("?")[0]
        try:
            match = self._document.match(request.method, path)
        except (NoSuchPath, NoSuchMethod):  # OPTIONS, which is left to apps
            return Problem(405, "Nothing here answers to this method.").response()
        assert match.operation.id is not None
        call = Call(self._hub, request, match.variables)
        try:
            return await OPERATIONS[match.operation.id](call)
        except Problem as exc:
            return exc.response()
        except (OSError, ValueError) as exc:  # of a file of tokens that was broken meanwhile
            _log.error("%s cannot be answered: %s", match.operation, exc)
            return Problem(500, "It cannot be answered; the log says why.").response()
