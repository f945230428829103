"""Syslog, against logger(1) of util-linux and the examples of the RFCs."""

from __future__ import annotations

import datetime
import shutil
import socket
import subprocess
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restsock.codecs import codec
from tests.codecs.values import kind_of, outcome, same

SYSLOG = codec("syslog")
SECOND = 10**9
NOTHING: dict[str, Any] = dict.fromkeys(
    ["timestamp", "hostname", "appname", "procid", "msgid", "structured_data", "protocol_version"]
)


def nanoseconds(*moment: int) -> int:
    found = datetime.datetime(*moment, tzinfo=datetime.timezone.utc)  # type: ignore[arg-type,misc]
    return int(found.timestamp()) * SECOND + found.microsecond * 1000


def message(**members: Any) -> dict[str, Any]:
    return {**NOTHING, "severity": "notice", "facility": "user", "msg": "", **members}


def field(longest: int) -> st.SearchStrategy[str | None]:
    return st.none() | st.text(
        st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=min(longest, 60)
    ).filter(lambda text: text != "-")


sd_names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='="]'),
    min_size=1,
    max_size=32,
)
sd_texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\]\n'), max_size=8)
structured = st.none() | st.dictionaries(
    sd_names,
    st.lists(st.builds(lambda name, text: {name: text}, sd_names, sd_texts), max_size=3),
    min_size=1,
    max_size=3,
)
severities = st.sampled_from(
    ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]
)
facilities = st.sampled_from(
    [
        *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
        *("authpriv", "ftp", "ntp", "audit", "alert", "clock"),
        *(f"local{number}" for number in range(8)),
    ]
)
# What is a number is one, so "007" would not come back.
processes = st.integers(0, 2**31) | field(128).filter(lambda text: not (text or "").isdigit())
new_messages = st.fixed_dictionaries(
    {
        "severity": severities,
        "facility": facilities,
        "timestamp": st.none() | st.integers(-(10**15), 4 * 10**15).map(lambda us: us * 1000),
        "hostname": field(255),
        "appname": field(48),
        "procid": processes,
        "msgid": field(32),
        "structured_data": structured,
        "msg": st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
            lambda text: not text.startswith("\ufeff")
        ),
        "protocol": st.just("RFC5424"),
        "protocol_version": st.just(1),
    }
)


@settings(deadline=None)
@given(new_messages)
def test_what_is_written_as_rfc_5424_is_read(value: dict[str, Any]) -> None:
    assert same(SYSLOG.decode(SYSLOG.encode(value)), [value])


LOGGER = shutil.which("logger")


@pytest.mark.skipif(LOGGER is None, reason="there is no logger(1)")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--rfc5424", "--msgid", "M1", "--sd-id", "zoo@123", "--sd-param", 'tiger="hungry"'],
            {"msgid": "M1", "protocol": "RFC5424", "protocol_version": 1},
        ),
        (
            ["--rfc5424=notime,nohost,notq"],
            {"timestamp": None, "hostname": None, "structured_data": None, "protocol": "RFC5424"},
        ),
        (["--rfc3164"], {"protocol": "RFC3164", "structured_data": None}),
    ],
)
def test_what_another_program_writes_is_read(options: list[str], expected: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        port = str(receiver.getsockname()[1])
        command = [str(LOGGER), "-d", "-n", "127.0.0.1", "-P", port, "-p", "local4.err"]
        subprocess.run(
            [*command, "-t", "app", "--id=77", *options, "hello wörld"], check=True, timeout=10
        )
        data = receiver.recv(4096)
    now = time.time_ns()
    found = SYSLOG.decode(data, now)[0]
    assert found == {
        **found,
        "severity": "err",
        "facility": "local4",
        "appname": "app",
        "procid": 77,
        "msg": "hello wörld",
        **expected,
    }
    if found["timestamp"] is not None and "--rfc5424" in options:
        assert abs(found["timestamp"] - now) < 60 * SECOND
        assert found["structured_data"]["zoo@123"] == [{"tiger": "hungry"}]
    # Written again it is the same value.
    assert SYSLOG.decode(SYSLOG.encode(found), now) == [found]


# RFC 5424, section 6.5, and RFC 3164, section 5.4.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            (
                b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - "
                b"\xef\xbb\xbf'su root' failed for lonvick on /dev/pts/8"
            ),
            message(
                severity="crit",
                facility="auth",
                timestamp=nanoseconds(2003, 10, 11, 22, 14, 15, 3000),
                hostname="mymachine.example.com",
                appname="su",
                msgid="ID47",
                msg="'su root' failed for lonvick on /dev/pts/8",
                protocol="RFC5424",
                protocol_version=1,
            ),
        ),
        (
            (
                b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - "
                b"%% It's time to make the do-nuts."
            ),
            message(
                facility="local4",
                timestamp=nanoseconds(2003, 8, 24, 12, 14, 15, 3),
                hostname="192.0.2.1",
                appname="myproc",
                procid=8710,
                msg="%% It's time to make the do-nuts.",
                protocol="RFC5424",
                protocol_version=1,
            ),
        ),
        (
            (
                b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 "
                b'[exampleSDID@32473 iut="3" eventSource="Application"]'
                b'[examplePriority@32473 class="h"]'
            ),
            message(
                facility="local4",
                timestamp=nanoseconds(2003, 10, 11, 22, 14, 15, 3000),
                hostname="mymachine.example.com",
                appname="evntslog",
                msgid="ID47",
                structured_data={
                    "exampleSDID@32473": [{"iut": "3"}, {"eventSource": "Application"}],
                    "examplePriority@32473": [{"class": "h"}],
                },
                protocol="RFC5424",
                protocol_version=1,
            ),
        ),
        (
            b"<0>1 - - - - - -",
            message(severity="emerg", facility="kern", protocol="RFC5424", protocol_version=1),
        ),
        (
            b"<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
            message(
                severity="crit",
                facility="auth",
                timestamp=nanoseconds(2025, 10, 11, 22, 14, 15),
                hostname="mymachine",
                appname="su",
                msg="'su root' failed",
                protocol="RFC3164",
            ),
        ),
        (
            b"<13>Jan  5 15:33:03 74794bfb6795 root[8539]: i am foobar",
            message(
                timestamp=nanoseconds(2026, 1, 5, 15, 33, 3),
                hostname="74794bfb6795",
                appname="root",
                procid=8539,
                msg="i am foobar",
                protocol="RFC3164",
            ),
        ),
        (b"Use the BFG!", message(msg="Use the BFG!", protocol="RFC3164")),
        (b"", message(protocol="RFC3164")),
        (
            b"<0>text that stands alone",
            message(
                severity="emerg",
                facility="kern",
                msg="text that stands alone",
                protocol="RFC3164",
            ),
        ),
        (
            b"<13>Oct 11 22:14:15 host no tag in here",
            message(
                timestamp=nanoseconds(2025, 10, 11, 22, 14, 15),
                hostname="host",
                msg="no tag in here",
                protocol="RFC3164",
            ),
        ),
    ],
)
def test_the_examples(data: bytes, expected: dict[str, Any]) -> None:
    now = nanoseconds(2026, 1, 6, 12, 0, 0)
    assert same(SYSLOG.decode(data, now), [expected])
    without_now = SYSLOG.decode(data)[0]
    if expected["protocol"] == "RFC3164":
        assert without_now == {**expected, "timestamp": None}
    else:
        assert without_now == expected


@pytest.mark.parametrize(
    "text",
    [
        *("<13>1 2003-13-11T22:14:15Z a b c d - x", "<13>1 2003-10-11T22:14:60Z a b c d - x"),
        *("<13>1 2003-10-11T22:14:15 a b c d - x", "<13>1 2003-10-11T22:14:15+24:00 a b c d - x"),
        *(
            "<13>1 - a b c d x",
            "<13>1 - a b c d [x",
            '<13>1 - a b c d [x y="z]',
            "<13>1 - a b c d -x",
        ),
        *(
            "<13>1 - a b c d [x y=z] m",
            "<13>1 - a b c d [] m",
            "<13>01 - a b c d - m",
            "<13>1  - -",
        ),
        *("<13>Feb 30 01:02:03 host tag: x", "<13>Oct 11 25:14:15 host tag: x", "<13>Oct 1 host"),
    ],
)
def test_what_is_not_quite_right_is_a_text_all_the_same(text: str) -> None:
    found = SYSLOG.decode(text.encode(), 0)
    assert found == [message(msg=text.removeprefix("<13>"), protocol="RFC3164")]


@pytest.mark.parametrize("text", ["<192>x", "<1000>x", "<>x", "<a>x", "<1x", " <13>x"])
def test_a_priority_that_is_none_is_text(text: str) -> None:
    assert SYSLOG.decode(text.encode()) == [message(msg=text, protocol="RFC3164")]


@pytest.mark.parametrize(
    ("now", "line", "year"),
    [
        ((2026, 1, 1, 0, 0, 5), "Dec 31 23:59:59", 2025),
        ((2025, 12, 31, 23, 59, 59), "Jan  1 00:00:05", 2026),
        ((2026, 7, 1, 0, 0, 0), "Feb 28 00:00:00", 2026),
        ((2028, 3, 1, 0, 0, 0), "Feb 29 00:00:00", 2028),
        ((2027, 12, 1, 0, 0, 0), "Feb 29 00:00:00", 2028),
    ],
)
def test_a_time_without_a_year_is_in_the_closest(
    now: tuple[int, ...], line: str, year: int
) -> None:
    found = SYSLOG.decode(f"<13>{line} host tag: x".encode(), nanoseconds(*now))[0]
    assert (
        datetime.datetime.fromtimestamp(found["timestamp"] / SECOND, datetime.timezone.utc).year
        == year
    )


old_messages = st.fixed_dictionaries(
    {
        "severity": severities,
        "facility": facilities,
        "timestamp": st.integers(1_750_000_000, 1_760_000_000).map(lambda s: s * SECOND),
        "hostname": st.text(st.sampled_from("abc019.-"), min_size=1, max_size=12),
        "appname": st.text(st.sampled_from("abc019._-/"), min_size=1, max_size=12),
        "procid": st.none() | st.integers(0, 2**31),
        "msg": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        "protocol": st.just("RFC3164"),
    }
)


@settings(deadline=None)
@given(old_messages)
def test_what_is_written_as_rfc_3164_is_read(value: dict[str, Any]) -> None:
    found = SYSLOG.decode(SYSLOG.encode(value), 1_755_000_000 * SECOND)
    assert same(found, [{**found[0], **value}])


def test_what_exceeds_a_bound() -> None:
    data = b"<13>1 - - - - - [a" + b' b="c"' * 60_000 + b"]"
    assert outcome(SYSLOG, data) == "too_many"
    assert outcome(SYSLOG, b"<13>1 - - - - - " + b"[a]" * 110_000) == "too_many"
    assert outcome(SYSLOG, b"\xff") == "malformed"


@pytest.mark.parametrize(
    "wrong",
    [
        {"severity": "loud"},
        {"severity": None},
        {"facility": "nowhere"},
        {"protocol": "RFC1"},
        {"protocol_version": 1000},
        {"protocol_version": True},
        {"timestamp": "now"},
        {"timestamp": 10**30},
        {"hostname": "a b"},
        {"hostname": "-"},
        {"hostname": ""},
        {"hostname": 5},
        {"appname": "a" * 49},
        {"procid": "a b"},
        {"msgid": "é"},
        {"structured_data": {}},
        {"structured_data": {"a b": []}},
        {"structured_data": {"a": [{"b=": "c"}]}},
        {"structured_data": {"a": [{"b": 5}]}},
        {"structured_data": []},
        {"msg": b"x"},
        {"protocol": "RFC3164", "hostname": "h"},
        {"protocol": "RFC3164", "timestamp": 5},
        {"protocol": "RFC3164", "timestamp": 5, "hostname": "a b"},
        {"protocol": "RFC3164", "timestamp": 5, "hostname": "h", "appname": "a b"},
        {"protocol": "RFC3164", "timestamp": 5, "hostname": "h", "appname": 5},
    ],
)
def test_what_it_cannot_write(wrong: dict[str, Any]) -> None:
    value = message(protocol="RFC5424") | wrong
    assert kind_of(lambda: SYSLOG.encode(value)) == "value"
