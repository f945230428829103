"""OpenAPI at either end: requests and responses are validated against a document.

The document is also called the *contract* of an API.
"""

from __future__ import annotations

from .checks import Contract, ContractLike, beside_the_loop
from .client._bound_operations import AsyncOperation, BlockingOperation, BoundOperation
from .client._call_errors import (
    ArgumentError,
    BadBody,
    BadParameter,
    MissingParameter,
    OperationFailed,
    UnknownOperation,
    UnknownParameter,
)
from .client._catalog import Catalog
from .client._client import APIClient
from .client._contract import bind_contract
from .client._discover import WELL_KNOWN, discover, discover_blocking
from .client._operations import Arguments, PreparedCall
from .document import Document, Operation, SpecLike, load
from .serving._access import AccessHandler, CallerOf, Rule, Rules, allow, caller_of
from .serving._handler import OpenAPIHandler

__all__ = [
    "WELL_KNOWN",
    "APIClient",
    "AccessHandler",
    "ArgumentError",
    "Arguments",
    "AsyncOperation",
    "BadBody",
    "BadParameter",
    "BlockingOperation",
    "BoundOperation",
    "CallerOf",
    "Catalog",
    "Contract",
    "ContractLike",
    "Document",
    "MissingParameter",
    "OpenAPIHandler",
    "Operation",
    "OperationFailed",
    "PreparedCall",
    "Rule",
    "Rules",
    "SpecLike",
    "UnknownOperation",
    "UnknownParameter",
    "allow",
    "beside_the_loop",
    "bind_contract",
    "caller_of",
    "discover",
    "discover_blocking",
    "load",
]
