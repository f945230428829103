"""The management API of a gateway: lists sessions, sends to them and closes them, over HTTP.

- `_api`: the API as a handler. `_operations`: what each operation does.
- `_operation_api`: what it has in common with the admin API of a hub.
- `_guard`: who may. `_answers`: how answers look. The document is `gateway.yaml`.
"""

from __future__ import annotations

from ._answers import (
    MAX_ITEMS,
    Problem,
    answer_json,
    answer_nothing,
    answer_stream,
    answer_text,
    page_of,
)
from ._api import DOCUMENT, Management
from ._guard import Guard
from ._operation_api import OperationAPI, OperationCall
from ._operations import OPERATIONS

__all__ = [
    "DOCUMENT",
    "MAX_ITEMS",
    "OPERATIONS",
    "Guard",
    "Management",
    "OperationAPI",
    "OperationCall",
    "Problem",
    "answer_json",
    "answer_nothing",
    "answer_stream",
    "answer_text",
    "page_of",
]
