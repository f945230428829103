"""OpenAPI at either end: messages are held to the contract that both sides know."""

from __future__ import annotations

from .client import (
    WELL_KNOWN,
    APIClient,
    ArgumentError,
    AsyncOperation,
    BadBody,
    BadParameter,
    BlockingOperation,
    BoundOperation,
    Contract,
    ContractLike,
    MissingParameter,
    OperationFailed,
    UnknownOperation,
    UnknownParameter,
    bind_contract,
    discover,
    discover_blocking,
)
from .document import Document, Operation, SpecLike, load
from .serving import AccessHandler, CallerOf, OpenAPIHandler, Rule, Rules, allow, caller_of

__all__ = [
    "WELL_KNOWN",
    "APIClient",
    "AccessHandler",
    "ArgumentError",
    "AsyncOperation",
    "BadBody",
    "BadParameter",
    "BlockingOperation",
    "BoundOperation",
    "CallerOf",
    "Contract",
    "ContractLike",
    "Document",
    "MissingParameter",
    "OpenAPIHandler",
    "Operation",
    "OperationFailed",
    "Rule",
    "Rules",
    "SpecLike",
    "UnknownOperation",
    "UnknownParameter",
    "allow",
    "bind_contract",
    "caller_of",
    "discover",
    "discover_blocking",
    "load",
]
