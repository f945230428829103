"""Options read from tables, as a configuration file has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock import Heartbeat, Limits, Options, SocketOptions, Timeouts


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
        name: {key: "none" if value is None else value for key, value in table.items()}
        for name, table in asdict(Options()).items()
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
        ({"sockets": {"local_address": "here"}}, "SocketOptions.local_address must be an IP"),
    ],
)
def test_what_is_wrong_is_named(tables: Mapping[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(problem)) as caught:
        Options.from_mapping(tables)
    assert len(str(caught.value)) < 200


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
