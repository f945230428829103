"""The caller's end: calls by operation, and calls that are held to a contract."""

from __future__ import annotations

from ._bound_operations import AsyncOperation, BlockingOperation, BoundOperation
from ._call_errors import (
    ArgumentError,
    BadBody,
    BadParameter,
    MissingParameter,
    OperationFailed,
    UnknownOperation,
    UnknownParameter,
)
from ._client import APIClient
from ._contract import Contract, ContractLike, bind_contract
from ._discover import WELL_KNOWN, discover, discover_blocking

__all__ = [
    "WELL_KNOWN",
    "APIClient",
    "ArgumentError",
    "AsyncOperation",
    "BadBody",
    "BadParameter",
    "BlockingOperation",
    "BoundOperation",
    "Contract",
    "ContractLike",
    "MissingParameter",
    "OperationFailed",
    "UnknownOperation",
    "UnknownParameter",
    "bind_contract",
    "discover",
    "discover_blocking",
]
