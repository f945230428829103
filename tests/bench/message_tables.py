"""The tables of messages."""

from __future__ import annotations

from tests.bench.figures import Results
from tests.bench.message_figures import beside_rows, fan_rows, load_rows, message_rows
from tests.bench.message_ways import ECHO, FAN_ECHO
from tests.bench.table import Table


def message_tables(results: Results) -> list[Table]:
    """One to one, beside a download, and one to many."""
    found = results["messages"]
    rate = ["", "acked messages/s", f"ratio to {ECHO}"]
    tables = [
        Table(
            "Messages, one to one", [*rate, "p50 ms, one at a time", "p99"], message_rows(results)
        )
    ]
    header = ["", "p50 ms alone", "p99", "p50 beside the other", "p99", "p99 to alone"]
    title = "A message and a download of 100 MiB on one connection"
    tables.append(Table(title, [*header, "MB/s alone", "beside"], beside_rows(results)))
    for number, fan in enumerate(found["fans"]):
        title = f"One to {fan['readers']}, a message of 100 B every {fan['pause'] * 1e3:g} ms"
        header = ["", "p50 ms", "p99", f"p50, {fan['stalled']} stalled", "p99"]
        header += ["p99 to none stalled", f"p99 to {FAN_ECHO}", "KiB of an idle session"]
        tables.append(Table(title, header, fan_rows(results, number)))
    header = ["", "messages/s held", "deliveries/s", "p50 ms", "p99"]
    header += ["CPU µs a delivery: sender", "readers"]
    title = f"One to {found['fans'][0]['readers']}, as many messages of 100 B as arrive in 100 ms"
    return [*tables, Table(title, header, load_rows(results))]
