"""Loads the httpx transports at their first use: neither package has to be installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restsock.adapters._peers import PeersByHost
    from restsock.connection import Requester

__all__ = ["LAZY", "load", "transport_for"]

# Public name -> its module.
LAZY = {
    "HTTPXTransport": "_httpx",
    "AsyncHTTPXTransport": "_httpx",
    "HTTPX2Transport": "_httpx2",
    "AsyncHTTPX2Transport": "_httpx2",
}


def load(name: str) -> Any:
    """The transport class of this name.

    Raises:
        ImportError: The package for it is not installed.
    """
    module = LAZY[name]
    package = module.lstrip("_")
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as exc:
        if exc.name != package:
            raise
        raise ImportError(
            f"{name} needs {package}, which is not installed: pip install 'restsock[{package}]'",
            name=package,
        ) from exc


def transport_for(requester: Requester | PeersByHost) -> Any:
    """Makes a transport over a requester, for clients of httpx and httpx2, blocking and async.

    It is an instance of the base classes of httpx if that is installed, otherwise of httpx2.

    Raises:
        ImportError: Neither package is installed.
    """
    for package in ("HTTPX", "HTTPX2"):
        try:
            kind = load(f"{package}Transport")
        except ImportError:
            continue
        return kind(requester)
    raise ImportError(
        "a transport for httpx needs httpx or httpx2, and neither is installed:"
        " pip install 'restsock[httpx]'"
    )
