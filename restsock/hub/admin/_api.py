"""`AdminAPI`: the admin API as a `Handler`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from restsock.gateway.management import OperationAPI, Problem
from restsock.openapi import load

from . import _configuration, _health, _peers, _records, _token_files
from ._call import Call, OperationFunction
from ._guard import Guard

if TYPE_CHECKING:
    from restsock.connection import Request, Response

    from ._interface import HubLike

__all__ = ["DOCUMENT", "OPERATIONS", "AdminAPI"]

_log = logging.getLogger("restsock.hub.admin")

DOCUMENT = Path(__file__).with_name("hub.yaml")
"""The OpenAPI document; spec/hub.yaml is the same file."""

OPERATIONS: dict[str, OperationFunction] = {
    **_health.OPERATIONS,
    **_peers.OPERATIONS,
    **_records.OPERATIONS,
    **_token_files.OPERATIONS,
    **_configuration.OPERATIONS,
}
"""All operations, by the ids that the document has for them."""


class AdminAPI(OperationAPI[Call]):
    """Answers the admin API of a hub, as its OpenAPI document has it.

    Args:
        hub: whose it is.
    """

    def __init__(self, hub: HubLike) -> None:
        document = load(DOCUMENT, check=False)  # the tests have checked it
        super().__init__(
            document,
            OPERATIONS,
            lambda request, variables: Call(request, variables, hub),
            Guard(hub, document),
            wrong_response="log",
        )

    async def answer(self, request: Request) -> Response:
        """See `OperationAPI`; a file of tokens may have been broken meanwhile."""
        try:
            return await super().answer(request)
        except (OSError, ValueError) as exc:
            _log.error("%s %s cannot be answered: %s", request.method, request.target, exc)
            return Problem(500, "It cannot be answered; the log says why.").response()
