"""A transport adapter for `requests`, for whatever sends requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from restsock.connection import Requester
    from restsock.openapi import ContractLike

__all__ = ["adapter_for"]


def adapter_for(
    requester: Requester, openapi: ContractLike | None, options: dict[str, Any]
) -> BaseAdapter:
    """A `TunnelAdapter` with these options, held to an OpenAPI document if there is one.

    Raises:
        SpecError: The document cannot be read or used.
    """
    # Both bring much along that not everybody needs.
    from restsock.adapters import TunnelAdapter

    if openapi is not None:
        from restsock.openapi import bind_contract

        options["contract"] = bind_contract(requester, openapi)
    return TunnelAdapter(requester, **options)
