"""What the command writes: data to stdout, and everything else to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from json import dumps, loads
from typing import Any

import click

__all__ = ["LogfmtFormatter", "Output"]


class Output:
    """Where and how to write.

    Args:
        as_json: Whether stdout gets JSON: an object for each event, or one for a listing.
        quiet: Whether only errors are worth a line.
        verbose: How much more than usual is: 0, 1 or 2.
        log_format: `"text"`, `"json"` or `"logfmt"`, for stderr; `None` is the verb's, mostly text.
        color: Whether a terminal may get colours.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        quiet: bool = False,
        verbose: int = 0,
        log_format: str | None = None,
        color: bool = True,
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.log_format = log_format
        self.color = color and not os.environ.get("NO_COLOR")
        self._write_line: Callable[[str], object] = _to_stderr
        self._formatter: logging.Formatter | None = None  # of what is not for people

    @property
    def panel(self) -> bool:
        """Whether a panel is to be shown: stderr is a terminal, and nothing else was asked for."""
        plain = self.as_json or self.quiet or self.verbose or self.log_format
        return not plain and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    # --- stdout ---------------------------------------------------------------------------

    def data(self, text: str) -> None:
        """Writes a line of data; what stdout has no letters for is escaped."""
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")
        sys.stdout.flush()

    def json(self, value: Any) -> None:
        """Writes a value as a line of JSON."""
        text = dumps(value, default=str, ensure_ascii=False)
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = dumps(value, default=str)
        self.data(text)

    def event(self, kind: str, text: str | None = None, **fields: Any) -> None:
        """Tells of an event: as an object on stdout with `--json`, else in words on stderr."""
        if self.as_json:
            self.json({"event": kind, **fields})
        elif text is not None:
            self.say(text)

    def styled(self, text: str, color: str | None) -> str:
        """A text for stdout in a colour, where colours are seen and wanted."""
        if color is None or not self.color or not sys.stdout.isatty():
            return text
        return click.style(text, fg=color)

    def table(self, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
        """Writes a listing: with `--json` all of it, as a list, else the columns as a table.

        Args:
            rows: The entries.
            columns: Key in an entry -> heading.
        """
        if self.as_json:
            self.json(list(rows))
            return
        cells = [[*columns.values()]] if rows else []
        cells += [[_cell(row.get(key)) for key in columns] for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
            self.data("  ".join(padded).rstrip())

    # --- stderr ---------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tells people something, unless they want quiet; in the form that the log has."""
        if self.quiet:
            return
        if self._formatter is not None:
            record = logging.LogRecord("restsock.cli", logging.INFO, "", 0, text, (), None)
            text = self._formatter.format(record)
        self._write_line(text)

    def _write(self, line: str) -> None:
        self._write_line(line)

    def write_lines_by(self, write: Callable[[str], object] | None) -> None:
        """Has lines for stderr written by a function from now on; `None` writes them as before."""
        self._write_line = write or _to_stderr

    def start_logging(self, log_format: str = "text", level: int = logging.WARNING) -> None:
        """Has the logs of this process go to stderr.

        Args:
            log_format: For those who want no other.
            level: Likewise.
        """
        handler = _LineHandler(self._write)
        chosen = self.log_format or log_format
        formatter = _formatter(chosen, bool(self.verbose))
        handler.setFormatter(formatter)
        self._formatter = None if chosen == "text" else formatter
        if self.quiet:
            level = logging.ERROR
        elif self.verbose:
            level = logging.INFO if self.verbose == 1 else logging.DEBUG
        handler.setLevel(level)
        logging.basicConfig(level=level, handlers=[handler], force=True)


class _LineHandler(logging.Handler):
    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record))
        except Exception:  # noqa: BLE001  # as every handler of logging does
            self.handleError(record)


class LogfmtFormatter(logging.Formatter):
    """`key=value` pairs, one line for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record; see `logging.Formatter`."""
        from restsock._json_log import JSONFormatter

        members = loads(JSONFormatter().format(record))
        return " ".join(f"{key}={_logfmt(value)}" for key, value in members.items())


def _formatter(log_format: str, with_names: bool) -> logging.Formatter:
    if log_format == "json":
        from restsock._json_log import JSONFormatter

        return JSONFormatter()
    if log_format == "logfmt":
        return LogfmtFormatter()
    return logging.Formatter(
        "%(asctime)s %(levelname)s %(name)s: %(message)s" if with_names else "%(message)s"
    )


def _logfmt(value: object) -> str:
    text = value if isinstance(value, str) else dumps(value)
    plain = text and not any(c in '"= ' or not c.isprintable() for c in text)
    return text if plain else dumps(text)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_cell, _some(value))) or "-"
    text = dumps(value) if isinstance(value, (dict, bool)) else str(value)
    # Names and versions are the peers' words: none may write over a line, or start one.
    return text if text.isprintable() else ascii(text)[1:-1]


def _some(values: Iterable[object]) -> list[object]:
    return list(values)[:20]


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
