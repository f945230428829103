"""What every record on the `restsock.*` loggers has: whose connection it is about, and one line.

A library sets up no handlers. It puts one filter on each of its loggers, which runs for records
that are logged anyway, and

- sets `connection_id` and `connection_name`, so that a format may name them: from what the call
  gave (`extra=about(connection)`), or from the request that is being served where the call was
  made; `None` where it is about no connection;
- escapes control characters in the arguments, so that no peer's name, path or reason can begin a
  line of its own, turn the direction of writing or clear a terminal.

A client or a server may have a logger of its own. So each module logs through a `PartLog`, which
finds out for each line whose it is, and where that goes: to a `restsock.*` logger, or to an
`OwnLog`, which does for its records what the filter does for the others.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

__all__ = [
    "LOGGERS",
    "ConnectionFields",
    "Known",
    "LogLike",
    "LoggerLike",
    "OwnLog",
    "PartLog",
    "about",
    "about_request",
    "escaped",
    "logging_for",
    "own_log_of",
    "owned_by",
    "serving",
    "set_level",
]

if TYPE_CHECKING:
    LoggerLike: TypeAlias = logging.Logger | logging.LoggerAdapter[Any]
else:  # it takes no type argument before Python 3.11
    LoggerLike = logging.Logger | logging.LoggerAdapter
"""What a program may have the records of one client or server go to."""

LOGGERS = (
    "restsock.adapters",
    "restsock.apps",
    "restsock.asgi",
    "restsock.auth",
    "restsock.client",
    "restsock.connection",
    "restsock.gateway",
    "restsock.gateway.audit",
    "restsock.gateway.management",
    "restsock.hub",
    "restsock.hub.access",
    "restsock.hub.admin",
    "restsock.hub.audit",
    "restsock.hub.messaging",
    "restsock.ingress",
    "restsock.messaging",
    "restsock.openapi",
    "restsock.server",
    "restsock.swaggersocket",
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


class Exchanged(Protocol):
    """A request, as far as its connection is asked for."""

    @property
    def connection(self) -> Known | None: ...


serving: ContextVar[Known | None] = ContextVar("restsock_serving", default=None)
"""The connection whose request is served in this context."""


_FIELDS = ("connection_id", "connection_name")

_owner: ContextVar[OwnLog | None] = ContextVar("restsock_owner", default=None)
"""The log of the client or server that this context belongs to, if that has one of its own."""


class _About(dict[str, Any]):
    """The `extra` of a log call about a connection, and where that line goes."""

    __slots__ = ("own",)

    own: OwnLog | None


def about(connection: Known) -> dict[str, Any]:
    """The `extra` of a log call about a connection."""
    extra = _About(connection_id=connection.id, connection_name=connection.name)
    extra.own = own_log_of(connection)
    return extra


def owned_by(owner: object) -> dict[str, Any]:
    """The `extra` of a log call about a client or server, as it has a `limit_log`."""
    extra = _About()
    extra.own = own_log_of(owner)
    return extra


def about_request(exchange: Exchanged) -> dict[str, Any] | None:
    """The `extra` of a log call about a request; `None` before it has a connection."""
    return None if exchange.connection is None else about(exchange.connection)


def own_log_of(connection: object) -> OwnLog | None:
    """The log of the client or server that it belongs to, if that has one of its own."""
    limit_log = getattr(connection, "limit_log", None)
    return None if limit_log is None else limit_log.own


@contextmanager
def logging_for(log: LogLike) -> Iterator[None]:
    """In this block, and in all tasks that it starts, lines are those of a client or server."""
    served = serving.set(None)  # one that is made while a request is served is no part of that
    owner = _owner.set(log if isinstance(log, OwnLog) else None)
    try:
        yield
    finally:
        _owner.reset(owner)
        serving.reset(served)


class _Methods(ABC):
    """The other ways to log a line."""

    @abstractmethod
    def log(
        self,
        level: int,
        message: str,
        *args: object,
        extra: Mapping[str, object] | None = None,
        exc_info: Any = None,
        stacklevel: int = 1,
    ) -> None: ...

    def debug(self, message: str, *args: object, **options: Any) -> None:
        self.log(logging.DEBUG, message, *args, stacklevel=2, **options)

    def info(self, message: str, *args: object, **options: Any) -> None:
        self.log(logging.INFO, message, *args, stacklevel=2, **options)

    def warning(self, message: str, *args: object, **options: Any) -> None:
        self.log(logging.WARNING, message, *args, stacklevel=2, **options)

    def error(self, message: str, *args: object, **options: Any) -> None:
        self.log(logging.ERROR, message, *args, stacklevel=2, **options)

    def exception(self, message: str, *args: object, **options: Any) -> None:
        self.log(logging.ERROR, message, *args, exc_info=True, stacklevel=2, **options)


class OwnLog(_Methods):
    """The logger that a client or a server was given: all its records go there.

    They have `connection_id` and `connection_name`, as all have, and `part`: the last part of the
    name of the logger that they would have been on.

    Args:
        logger: that was given.
        part: of the package; see `for_part`.

    Raises:
        TypeError: it is no logger.
    """

    def __init__(self, logger: LoggerLike, part: str) -> None:
        if not isinstance(logger, (logging.Logger, logging.LoggerAdapter)):
            raise TypeError(
                f"logger must be a logging.Logger or a LoggerAdapter, not {type(logger).__name__}"
            )
        self._logger = logger
        self._part = part

    def for_part(self, part: str) -> OwnLog:
        """The same for another part of the package."""
        return self if part == self._part else OwnLog(self._logger, part)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # as in logging
        return self._logger.isEnabledFor(level)

    def log(
        self,
        level: int,
        message: str,
        *args: object,
        extra: Mapping[str, object] | None = None,
        exc_info: Any = None,
        stacklevel: int = 1,
    ) -> None:
        """As `logging.Logger.log`. What the program's own code raises there ends nothing."""
        logger: Any = self._logger
        fields = {**(extra or {}), **_fields_of(extra), "part": self._part}
        options = {"exc_info": exc_info, "extra": fields, "stacklevel": stacklevel + 1}
        try:
            if not logger.isEnabledFor(level):
                return
            while isinstance(logger, logging.LoggerAdapter):
                # Before Python 3.13 an adapter drops the `extra` of the call.
                ours = options["extra"]
                message, options = logger.process(message, options)  # type: ignore[assignment]
                options["extra"] = {**ours, **(options.get("extra") or {})}
                logger = logger.logger
            logger.log(level, message, *map(_clean, args), **options)
        except Exception:  # anybody's code, and the traffic goes on
            logging.getLogger("restsock.connection").exception("a logger of the program has failed")


class PartLog(_Methods):
    """What a part of the package logs through: for each line it finds the logger.

    That is the one of the client or server whose connection the line is about (`about`), or whose
    request is served, or whose task this is, if that has one of its own; else the one of the part.

    Args:
        name: of that, one of `LOGGERS`.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self._part = name.rpartition(".")[2]

    def target(self, extra: Mapping[str, object] | None = None) -> logging.Logger | OwnLog:
        """Where a line goes whose call gives this `extra`."""
        if isinstance(extra, _About):
            own = extra.own
        elif (connection := serving.get()) is not None:
            own = own_log_of(connection)
        else:
            own = _owner.get()
        return self._logger if own is None else own.for_part(self._part)

    def here(self) -> LogLike:
        """The log of whom this context belongs to, for use in other contexts."""
        target = self.target()
        return target if isinstance(target, OwnLog) else self

    def with_own(self, logger: LoggerLike | None) -> LogLike:
        """The log of a client or server that was given this logger, or none."""
        return self if logger is None else OwnLog(logger, self._part)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # as in logging
        return self.target().isEnabledFor(level)

    def log(
        self,
        level: int,
        message: str,
        *args: object,
        extra: Mapping[str, object] | None = None,
        exc_info: Any = None,
        stacklevel: int = 1,
    ) -> None:
        """As `logging.Logger.log`."""
        target = self.target(extra)
        target.log(level, message, *args, extra=extra, exc_info=exc_info, stacklevel=stacklevel + 1)


LogLike: TypeAlias = logging.Logger | PartLog | OwnLog
"""Where lines go."""


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
        vars(record).update(_fields_of(vars(record)))
        return True


def _fields_of(given: Mapping[str, object] | None) -> dict[str, object]:
    """The two fields: as the call has given them, or of the request that is served."""
    fields = {} if given is None else {k: given[k] for k in _FIELDS if k in given}
    if "connection_id" not in fields:
        connection = serving.get()
        fields["connection_id"] = None if connection is None else connection.id
        fields["connection_name"] = None if connection is None else connection.name
    if fields.get("connection_name") is not None:
        fields["connection_name"] = escaped(str(fields["connection_name"]))
    return fields


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
