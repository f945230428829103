"""Inputs and outputs of messages: plain WebSockets at one end, and lines at the other.

    config = restsock.connectors.load_input(Path("input.json"))
    await restsock.connectors.run_input(Carrier(config), config.channel, write)

An input receives messages from peers, and writes them line by line; an output sends lines to peers.
The files are those of StreamKit's WebSocket input and output, in JSON or TOML. docs/connectors.md
has each key. Needs msgspec: `pip install 'restsock[cli]'`.

- `_tables`, `_config`: the file, key by key, and what is made of it.
- `_ports`: where messages go to, and come from, at the other end.
- `_carrier`: the listener, or the connection that is dialed.
- `_input`, `_output`: the messages.
- `_lines`: messages as lines of JSON.
- `_health`: health and metrics for monitoring.
"""

from __future__ import annotations

from ._carrier import Carrier
from ._config import Dial, InputConfig, Listen, OutputConfig, load_input, load_output
from ._health import health_server
from ._input import run_input
from ._lines import Lines, TooLong, line_of
from ._output import Sent, run_output

__all__ = [
    "Carrier",
    "Dial",
    "InputConfig",
    "Lines",
    "Listen",
    "OutputConfig",
    "Sent",
    "TooLong",
    "health_server",
    "line_of",
    "load_input",
    "load_output",
    "run_input",
    "run_output",
]
