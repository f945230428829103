"""DogStatsD, version 1.3 of its protocol."""

from __future__ import annotations

import re
from typing import Any

from restsock._exceptions import CodecError

from ._bounds import Bounds, lines_of
from ._numbers import number_of, required, text_in, written
from ._shape import malformed
from ._statsd import read_rate, written_rate

__all__ = ["DogStatsD"]

_TYPES = ("c", "ms", "g", "h", "s", "d")
_EVENT = re.compile(r"_e\{([0-9]{1,8}),([0-9]{1,8})\}:")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_NO_NAME = re.compile(r"[:|\r\n]|\A\s+\Z|\A_e\{")
_NO_TEXT = re.compile(r"[|\r\n]")
_NO_TAG = re.compile(r"[,|\r\n]")

# Prefix of a section -> key, for each kind of line. Other sections are ignored, as by the agent,
# since later versions may add some.
_METRIC = {"c:": "container_id"}
_ANY = {"h:": "hostname", "c:": "container_id"}
_EVENTS = {"k:": "aggregation_key", "p:": "priority", "s:": "source", "t:": "type", **_ANY}


class DogStatsD:
    """Each line is a value: a mapping whose only key is `metric`, `event` or `service_check`.

    - `users:7|c|@0.1|#env:dev` is `{"metric": {"type": "c", "metric": "users", "values": [7],
      "sample_rate": 0.1, "tags": ["env:dev"]}}`. The value of a set (`s`) is text. A metric may
      have `container_id` and `timestamp`.
    - An event has `title` and `text`, and may have `timestamp`, `hostname`, `aggregation_key`,
      `priority`, `source`, `type`, `tags`, `container_id`.
    - A service check has `name` and `status` (0 to 3), and may have `timestamp`, `hostname`,
      `tags`, `message`, `container_id`.

    Timestamps are whole seconds since 1970. In titles, texts and messages, a backslash and `n` on
    the wire are a line break.
    """

    def __init__(self, *, bounds: Bounds) -> None:
        self._bounds = bounds

    def decode(self, data: bytes, now: int | None) -> list[Any]:
        found: list[Any] = []
        items = 0
        for line in lines_of(data, self._bounds):
            items += 1 + sum(map(line.count, ":,|"))  # values, tags and sections, or more
            self._bounds.count(items)
            if line.startswith("_e{"):
                found.append({"event": _read_event(line)})
            elif line.startswith("_sc|"):
                found.append({"service_check": _read_check(line)})
            else:
                found.append({"metric": _read_metric(line)})
        return found

    def encode(self, value: Any) -> bytes:
        if isinstance(value, dict) and len(value) == 1:
            for kind, write in _WRITERS.items():
                if kind in value:
                    return write(value[kind]).encode()
        raise CodecError("takes one of metric, event and service_check", kind="value")


def _read_metric(line: str) -> dict[str, Any]:
    metric, colon, rest = line.partition(":")
    text, *sections = rest.split("|")
    if not metric or not colon or not sections or sections[0] not in _TYPES:
        raise malformed("a line that is not a metric")
    kind = sections[0]
    values = [text] if kind == "s" else [number_of(each) for each in text.split(":")]
    if values == [""]:
        raise malformed("a set without a value")
    found: dict[str, Any] = {"type": kind, "metric": metric, "values": values}
    for section in sections[1:]:
        if section.startswith("@"):
            found["sample_rate"] = read_rate(section[1:])
        elif section.startswith("T"):
            found["timestamp"] = _seconds(section[1:])
        else:
            _read_section(section, _METRIC, found)
    return found


def _read_event(line: str) -> dict[str, Any]:
    match = _EVENT.match(line)
    if match is None:
        raise malformed("an event without its lengths")
    # The lengths are of bytes.
    rest = line[match.end() :].encode()
    middle = int(match[1])
    end = middle + 1 + int(match[2])
    if (
        rest[middle : middle + 1] != b"|"
        or rest[end : end + 1] not in (b"", b"|")
        or end > len(rest)
    ):
        raise malformed("an event with wrong lengths")
    try:
        title, text = rest[:middle].decode(), rest[middle + 1 : end].decode()
        sections = rest[end + 1 :].decode().split("|")
    except UnicodeDecodeError:
        raise malformed("an event with wrong lengths") from None
    found: dict[str, Any] = {"title": _unescaped(title), "text": _unescaped(text)}
    for section in sections:
        if section.startswith("d:"):
            found["timestamp"] = _seconds(section[2:])
        else:
            _read_section(section, _EVENTS, found)
    return found


def _read_check(line: str) -> dict[str, Any]:
    head, mark, message = line.partition("|m:")
    _, name, *sections = head.split("|")
    if not name or not sections or sections[0] not in ("0", "1", "2", "3"):
        raise malformed("a service check without a name or a status")
    found: dict[str, Any] = {"name": name, "status": int(sections[0])}
    if mark:
        # The last section; its text may contain the prefix of another one.
        message, container, identity = message.partition("|c:")
        found["message"] = _unescaped(message).replace("m\\:", "m:")
        sections += [f"c:{identity}"] if container else []
    for section in sections[1:]:
        if section.startswith("d:"):
            found["timestamp"] = _seconds(section[2:])
        else:
            _read_section(section, _ANY, found)
    return found


def _read_section(section: str, known: dict[str, str], into: dict[str, Any]) -> None:
    if section.startswith("#"):
        into["tags"] = [tag for tag in section[1:].split(",") if tag]
    elif key := known.get(section[:2]):
        into[key] = section[2:]


def _seconds(text: str) -> int:
    if not _TIMESTAMP.fullmatch(text):
        raise malformed("an invalid timestamp")
    return int(text)


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n")


def _write_metric(value: Any) -> str:
    metric = text_in(value, "metric", _NO_NAME)
    kind, values = required(value, "type"), required(value, "values")
    if kind not in _TYPES or not isinstance(values, (list, tuple)) or not values:
        raise CodecError("an unknown DogStatsD type, or no values", kind="value")
    if kind == "s":
        if len(values) > 1 or not isinstance(values[0], str) or not values[0]:
            raise CodecError("the value of a set is one text", kind="value")
        texts = [_plain(values[0])]
    else:
        texts = [written(each) for each in values]
    timestamp = _written_seconds(value, "|T")
    sections = [written_rate(value), _written_tags(value), *_written_sections(value, _METRIC)]
    return "".join([metric, ":", ":".join(texts), "|", kind, *sections, timestamp])


def _write_event(value: Any) -> str:
    title, text = _escaped(value, "title"), _escaped(value, "text")
    head = f"_e{{{len(title.encode())},{len(text.encode())}}}:{title}|{text}"
    sections = [_written_seconds(value, "|d:"), *_written_sections(value, _EVENTS)]
    return "".join([head, *sections, _written_tags(value)])


def _write_check(value: Any) -> str:
    name, status = text_in(value, "name", _NO_TEXT), required(value, "status")
    if status not in (0, 1, 2, 3) or isinstance(status, bool):
        raise CodecError("the status of a service check is in 0..3", kind="value")
    sections = [_written_seconds(value, "|d:"), *_written_sections(value, _ANY)]
    message = ""
    if value.get("message") is not None:
        message = "|m:" + _plain(_escaped(value, "message").replace("m:", "m\\:"))
    return "".join([f"_sc|{name}|{status:d}", *sections, _written_tags(value), message])


_WRITERS = {"metric": _write_metric, "event": _write_event, "service_check": _write_check}


def _plain(text: Any) -> str:
    if not isinstance(text, str) or _NO_TEXT.search(text):
        raise CodecError("text that cannot be written", kind="value")
    return text


def _escaped(value: Any, key: str) -> str:
    text = required(value, key)
    if not isinstance(text, str) or "\r" in text:
        raise CodecError(f"{key} cannot be written", kind="value")
    return text.replace("\n", "\\n")


def _written_sections(value: Any, known: dict[str, str]) -> list[str]:
    return [
        f"|{prefix}{_plain(value[key])}"
        for prefix, key in known.items()
        if value.get(key) is not None
    ]


def _written_seconds(value: Any, prefix: str) -> str:
    timestamp = value.get("timestamp")
    if timestamp is None:
        return ""
    if type(timestamp) is not int or not _TIMESTAMP.fullmatch(str(timestamp)):
        raise CodecError("a timestamp is in whole seconds since 1970", kind="value")
    return f"{prefix}{timestamp}"


def _written_tags(value: Any) -> str:
    tags = value.get("tags")
    if not tags:
        return ""
    if not all(isinstance(tag, str) and tag and not _NO_TAG.search(tag) for tag in tags):
        raise CodecError("a tag that cannot be written", kind="value")
    return "|#" + ",".join(tags)
