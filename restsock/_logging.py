"""What every record on the `restsock.*` loggers has: whose connection it is about, and one line.

A library sets up no handlers. It puts one filter on each of its loggers, which runs for records
that are logged anyway, and

- sets `connection_id` and `connection_name`, so that a format may name them: from what the call
  gave (`extra=about(connection)`), or from the request that is being served where the call was
  made; `None` where it is about no connection;
- escapes control characters in the arguments, so that no peer's name, path or reason can begin a
  line of its own, turn the direction of writing or clear a terminal.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Protocol

__all__ = ["LOGGERS", "ConnectionFields", "Known", "about", "escaped", "serving", "set_level"]

LOGGERS = (
    "restsock.adapters",
    "restsock.apps",
    "restsock.asgi",
    "restsock.auth",
    "restsock.client",
    "restsock.connection",
    "restsock.hub",
    "restsock.hub.access",
    "restsock.hub.admin",
    "restsock.hub.audit",
    "restsock.ingress",
    "restsock.messaging",
    "restsock.openapi",
    "restsock.server",
    "restsock.sync",
    "restsock.testing",
    "restsock.tls",
    "restsock.websockets",
)
"""Who logs. Listed because a filter on a logger does not see the records of those below it."""


class Known(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str | None: ...


serving: ContextVar[Known | None] = ContextVar("restsock_serving", default=None)
"""The connection whose request is served in this context."""


def about(connection: Known) -> dict[str, Any]:
    """The `extra` of a log call about a connection."""
    return {"connection_id": connection.id, "connection_name": connection.name}


def escaped(text: str) -> str:
    """Text without control characters: each is written as in a string of Python."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


class ConnectionFields(logging.Filter):
    """Gives records `connection_id` and `connection_name`; lets all of them pass.

    The loggers of restsock have it. On a handler of yours it does the same for the app's own
    records: those that are logged while a request is served name the connection it came over.

        handler.addFilter(restsock.ConnectionFields())
        handler.setFormatter(logging.Formatter("%(connection_name)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Sets the two fields, where they are missing; see `logging.Filter`."""
        fields = vars(record)
        if "connection_id" not in fields:
            connection = serving.get()
            record.connection_id = None if connection is None else connection.id
            record.connection_name = None if connection is None else connection.name
        if fields.get("connection_name") is not None:
            record.connection_name = escaped(str(fields["connection_name"]))
        return True


class _OneLine(ConnectionFields):
    """The same, and the arguments of the message without control characters."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        if isinstance(args, tuple):
            record.args = tuple(map(_clean, args))
        elif isinstance(args, dict):
            record.args = {key: _clean(value) for key, value in args.items()}
        return super().filter(record)


def _clean(value: object) -> object:
    if value is None or isinstance(value, (int, float)):
        return value
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  # of any class; logging itself reports it
        return value
    return value if text.isprintable() else escaped(text)


def _install() -> None:
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(found, _OneLine) for found in logger.filters):
            logger.addFilter(_OneLine())


_install()


def set_level(level: str) -> None:
    """Sets the level of the whole package: `"DEBUG"`, `"INFO"`, `"WARNING"` or `"ERROR"`."""
    logging.getLogger(__name__.partition(".")[0]).setLevel(level)
