"""Options read from tables, as a configuration file has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Heartbeat, Limits, Options, SocketOptions, Timeouts
from restsock._options import file_options


def test_tables_become_options() -> None:
    options = Options.from_mapping(
        {
            "limits": {"max_streams": 64, "max_body": 1000},
            "timeouts": {"request": 2.5},
            "heartbeat": {"interval": "none"},
            "sockets": {"keep_alive": False},
        }
    )
    assert options == Options(
        limits=Limits(max_streams=64, max_body=1000),
        timeouts=Timeouts(request=2.5),
        heartbeat=Heartbeat(interval=None),
        sockets=SocketOptions(keep_alive=False),
    )
    assert Options.from_mapping({}) == Options()


def test_all_options_can_be_written_and_read_again() -> None:
    tables = {
        one.name: {
            key: "none" if (value := getattr(table, key)) is None else value
            for key in file_options(type(table))
        }
        for one in fields(Options)
        for table in [getattr(Options(), one.name)]
    }
    assert Options.from_mapping(tables) == Options()


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"limit": {}}, "there are no options 'limit'; did you mean 'limits'?"),
        ({"xyz": {}}, "there are no options 'xyz'"),
        ({"limits": 5}, "the options 'limits' must be a table, not 5"),
        (
            {"limits": {"max_stream": 5}},
            "Limits has no option 'max_stream'; did you mean 'max_streams'?",
        ),
        ({"limits": {"max_streams": "many"}}, "Limits.max_streams must be a whole number"),
        ({"limits": {"max_streams": "none"}}, "Limits.max_streams must be a whole number"),
        ({"timeouts": {"connect": -1}}, "Timeouts.connect must be a number of seconds above 0"),
        ({"heartbeat": {"interval": "soon"}}, "Heartbeat.interval must be a number of seconds"),
        ({"heartbeat": {"on_ping": "x"}}, "Heartbeat has no option 'on_ping'"),
        ({"sockets": {"local_address": "here"}}, "SocketOptions.local_address must be an IP"),
    ],
)
def test_what_is_wrong_is_named(tables: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(problem)) as caught:
        Options.from_mapping(tables)
    assert len(str(caught.value)) < 200


async def _async_data() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"data": "text"}, "Heartbeat.data must be bytes or a plain function, not 'text'"),
        ({"data": bytearray(b"x")}, "Heartbeat.data must be bytes"),
        ({"data": None}, "Heartbeat.data must be bytes"),
        ({"data": _async_data}, "Heartbeat.data must be bytes or a plain function"),
        ({"data": b"x" * 118}, "Heartbeat.data may have 117 bytes, not 118"),
        ({"on_ping": "print"}, "Heartbeat.on_ping must be a function, not 'print'"),
        ({"on_pong": 5}, "Heartbeat.on_pong must be a function, not 5"),
    ],
)
def test_functions_of_the_heartbeat_are_checked(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        Heartbeat(**options)
    assert Heartbeat(data=b"x" * 117, on_ping=print, on_pong=print).data == b"x" * 117


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.dictionaries(
        st.sampled_from(["limits", "timeouts", "heartbeat", "sockets", "other"]),
        _VALUES
        | st.dictionaries(
            st.sampled_from(["max_streams", "connect", "interval", "backlog", "local_address"]),
            _VALUES | st.lists(st.integers(), max_size=2),
        ),
    )
)
def test_any_table_is_read_or_refused_in_words(tables: dict[str, Any]) -> None:
    try:
        options = Options.from_mapping(tables)
    except ValueError:
        return
    assert isinstance(options, Options)
