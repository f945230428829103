"""Log records as JSON, one line each."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

__all__ = ["JSONFormatter"]


class JSONFormatter(logging.Formatter):
    """One JSON object (RFC 8259) for each record, on one line, whatever is in it.

        handler.setFormatter(restsock.JSONFormatter())

    Members: `time` (UTC, RFC 3339), `level`, `logger`, `message`; `connection_id` and
    `connection_name` where they are known; `exception` and `stack` as text; and what the call gave
    as `extra`. A value that is not JSON is written as its `str`.
    """

    def __init__(self) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; see `logging.Formatter`."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        members: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in members and value is not None:
                members[name] = value
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            members["stack"] = self.formatStack(record.stack_info)
        return json.dumps(members, default=str)


# What every record has, from any logger.
_STANDARD = frozenset(
    (*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName")
)
