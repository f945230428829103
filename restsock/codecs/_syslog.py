"""Syslog messages (RFC 5424 and RFC 3164)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, text_of
from ._numbers import required
from ._shape import malformed

__all__ = ["Syslog"]

_SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECOND = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_PRIORITY = re.compile(r"<([0-9]{1,3})>")
# RFC 5424, section 6: version, time, host, app, process, message id.
_HEADER = re.compile(
    r"([1-9][0-9]{0,2}) (\S+) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_SD_NAME = r"[!#-<>-\\^-~]{1,32}"  # printable, without = ] "
_PARAMETER = re.compile(rf' ({_SD_NAME})="([^"\\\]]*(?:\\.[^"\\\]]*)*)"', re.DOTALL)
_ELEMENT = re.compile(rf"\[({_SD_NAME})")
_ESCAPED = re.compile(r'\\(["\\\]])')
# RFC 3164, section 4.1: time, host, and a tag, which may include the process.
_OLD_TIME = re.compile(
    rf"({'|'.join(_MONTHS)}) ([ 0-9][0-9]) ([0-9]{{2}}):([0-9]{{2}}):([0-9]{{2}}) "
)
_OLD_HOST = re.compile(r"([^\s:\[\]]{1,255}) ")
_OLD_TAG = re.compile(r"([^\s:\[\]]{1,48})(?:\[([^\s\[\]]{1,128})\])?:(?: |\Z)")
_PID = re.compile(r"0|[1-9][0-9]{0,9}")
_FIELD = re.compile(r"[!-~]+")


class Syslog:
    """A message is a value, whose keys are always the same; missing parts are `None`.

    `severity` and `facility` by their names, `hostname`, `appname`, `procid` (`int` where it is a
    number), `msgid`, `msg`, `protocol` (`"RFC5424"` or `"RFC3164"`), `protocol_version`,
    `structured_data` (`{"id": [{"name": "value"}, ...]}`), and `timestamp` in nanoseconds since
    1970.

    A message that is not valid in RFC 5424 is parsed as in RFC 3164, where any text is a message:
    parts that cannot be parsed are in `msg`. The times of RFC 3164 have no year and no time zone.
    They are taken as UTC, in the year that brings them closest to `now`; without `now` the
    timestamp is `None`.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        text = text_of(data)
        match = _PRIORITY.match(text)
        number = int(match[1]) if match else 192
        if match is None or number > 191:
            return [_message(13, "RFC3164", msg=text)]  # RFC 3164, section 4.3.3
        rest = text[match.end() :]
        try:
            return [self._read(number, rest)]
        except (CodecError, ValueError) as exc:
            if isinstance(exc, CodecError) and exc.kind == "too_many":
                raise
        return [_read_old(number, rest, now)]

    def encode(self, value: Any) -> bytes:
        severity, facility = required(value, "severity"), required(value, "facility")
        if severity not in _SEVERITIES or facility not in _FACILITIES:
            raise CodecError("an unknown severity or facility", kind="value")
        priority = 8 * _FACILITIES.index(facility) + _SEVERITIES.index(severity)
        protocol = value.get("protocol", "RFC5424")
        if protocol not in ("RFC5424", "RFC3164"):
            raise CodecError("protocol is neither RFC5424 nor RFC3164", kind="value")
        write = _write if protocol == "RFC5424" else _write_old
        return f"<{priority}>{write(value)}".encode()

    def _read(self, priority: int, text: str) -> dict[str, Any]:
        header = _HEADER.match(text)
        if header is None:
            raise malformed("not a header of RFC 5424")
        data, at = self._read_data(text, header.end())
        if text[at : at + 1] not in ("", " "):
            raise malformed("no space before the message")
        return _message(
            priority,
            "RFC5424",
            protocol_version=int(header[1]),
            timestamp=None if header[2] == "-" else _read_time(header[2]),
            hostname=_nil(header[3]),
            appname=_nil(header[4]),
            procid=_process(header[5]),
            msgid=_nil(header[6]),
            structured_data=data,
            msg=text[at + 1 :].removeprefix("\ufeff"),
        )

    def _read_data(self, text: str, at: int) -> tuple[dict[str, list[Any]] | None, int]:
        if text.startswith("-", at):
            return None, at + 1
        data: dict[str, list[Any]] = {}
        items = 0
        while element := _ELEMENT.match(text, at):
            parameters = data.setdefault(element[1], [])
            at = element.end()
            while parameter := _PARAMETER.match(text, at):
                parameters.append({parameter[1]: _ESCAPED.sub(r"\1", parameter[2])})
                at = parameter.end()
                items += 2
                self._bounds.count(items)
            if not text.startswith("]", at):
                raise malformed("structured data without an end")
            at += 1
            items += 1
            self._bounds.count(items)
        if not data:
            raise malformed("invalid structured data")
        return data, at


def _message(priority: int, protocol: str, **found: Any) -> dict[str, Any]:
    message: dict[str, Any] = {
        "severity": _SEVERITIES[priority % 8],
        "facility": _FACILITIES[priority // 8],
        "timestamp": None,
        "hostname": None,
        "appname": None,
        "procid": None,
        "msgid": None,
        "structured_data": None,
        "msg": "",
        "protocol": protocol,
        "protocol_version": None,
    }
    message.update(found)
    return message


def _nil(text: str) -> str | None:
    return None if text == "-" else text


def _process(text: str | None) -> str | int | None:
    if text is None or text == "-":
        return None
    return int(text) if _PID.fullmatch(text) else text


def _read_time(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise malformed("an invalid time")
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if match[3]:
        hours, minutes = int(match[4]), int(match[5])
        if hours > 23 or minutes > 59:
            raise malformed("an invalid time zone")
        offset = 3600 * hours + 60 * minutes
        seconds -= offset if match[3] == "+" else -offset
    return seconds * _SECOND + int((match[2] or "").ljust(9, "0"))


def _read_old(priority: int, text: str, now: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at = 0
    if (time := _OLD_TIME.match(text)) and (host := _OLD_HOST.match(text, time.end())):
        month = _MONTHS.index(time[1]) + 1
        day, hour, minute, second = (int(time[group]) for group in range(2, 6))
        moments = list(_moments(month, day, hour, minute, second, now))
        if moments:
            at = host.end()
            found["hostname"] = host[1]
            if now is not None:
                found["timestamp"] = min(moments, key=lambda moment: abs(moment - now))
    if at and (tag := _OLD_TAG.match(text, at)):
        at = tag.end()
        found["appname"], found["procid"] = tag[1], _process(tag[2])
    return _message(priority, "RFC3164", msg=text[at:], **found)


def _moments(
    month: int, day: int, hour: int, minute: int, second: int, now: int | None
) -> Iterator[int]:
    """That time of the year, in the years around now; empty if no such day exists in them."""
    year = 2000 if now is None else _moment(now).year  # 2000 has all days
    for each in (year - 1, year, year + 1):
        try:
            moment = datetime(each, month, day, hour, minute, second, tzinfo=timezone.utc)
        except ValueError:
            continue
        yield (moment - _EPOCH) // timedelta(seconds=1) * _SECOND


def _write(value: dict[str, Any]) -> str:
    timestamp = value.get("timestamp")
    version = value.get("protocol_version") or 1
    if type(version) is not int or not 1 <= version <= 999:
        raise CodecError("protocol_version is not in 1..999", kind="value")
    header = [
        str(version),
        "-" if timestamp is None else _written_time(timestamp),
        _field(value, "hostname", 255),
        _field(value, "appname", 48),
        _field(value, "procid", 128),
        _field(value, "msgid", 32),
        _written_data(value.get("structured_data")),
    ]
    message = _text(value)
    return " ".join([*header, message] if message else header)


def _text(value: dict[str, Any]) -> str:
    text = value.get("msg") or ""
    if not isinstance(text, str):
        raise CodecError("msg is not text", kind="value")
    return text


def _field(value: dict[str, Any], key: str, most: int) -> str:
    found = value.get(key)
    if found is None:
        return "-"
    text = str(found) if key == "procid" else found
    if not isinstance(text, str) or not _FIELD.fullmatch(text) or len(text) > most or text == "-":
        raise CodecError(f"{key} cannot be written", kind="value")
    return text


def _moment(timestamp: Any) -> datetime:
    if type(timestamp) is not int:
        raise CodecError("timestamp is not an integer", kind="value")
    return _EPOCH + timedelta(microseconds=timestamp // 1000)


def _written_time(timestamp: Any) -> str:
    moment = _moment(timestamp)
    fraction = f".{moment.microsecond:06}" if moment.microsecond else ""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')[:19]}{fraction}Z"


def _written_data(data: Any) -> str:
    if data is None:
        return "-"
    name = re.compile(_SD_NAME)
    written: list[str] = []
    for identity, parameters in data.items():
        pairs = [pair for parameter in parameters for pair in parameter.items()]
        if not all(name.fullmatch(each) for each in (identity, *(key for key, _ in pairs))):
            raise CodecError("structured data with a name that cannot be written", kind="value")
        written.append(f"[{identity}")
        written += (f' {key}="' + re.sub(r'(["\\\]])', r"\\\1", text) + '"' for key, text in pairs)
        written.append("]")
    if not written:
        raise CodecError("structured data without an element", kind="value")
    return "".join(written)


def _write_old(value: dict[str, Any]) -> str:
    timestamp, host = value.get("timestamp"), value.get("hostname")
    if timestamp is None and host is None:
        return _text(value)
    if timestamp is None or not isinstance(host, str) or not _OLD_HOST.fullmatch(host + " "):
        raise CodecError("RFC 3164 has time and host, or neither", kind="value")
    moment = _moment(timestamp)
    head = f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {host} "
    app, process = value.get("appname"), value.get("procid")
    if app is None:
        return head + _text(value)
    tag = f"{app}[{process}]: " if process is not None else f"{app}: "
    if not isinstance(app, str) or not _OLD_TAG.fullmatch(tag):
        raise CodecError("appname or procid cannot be written", kind="value")
    return head + tag + _text(value)
