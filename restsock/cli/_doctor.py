"""`restsock doctor`: why a hub cannot be reached, one step after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ._exit_codes import ExitCode
from ._hub_address import HubAddress
from ._options import (
    ADMIN,
    hub_options,
    json_option,
    output_options,
    timeout_option,
    url_option,
)

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["command"]

_MARKS = {"ok": "ok  ", "warning": "warn", "failed": "FAIL", "skipped": "-   "}
_COLORS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": None}


@click.command("doctor", short_help="Find out why a hub cannot be reached.")
@click.option("--ready", is_flag=True, help="Only ask the hub's admin API whether it is ready.")
@url_option("admin", ADMIN, "The admin API, for --ready.")
@timeout_option(5.0, "Seconds for each step.")
@json_option
@hub_options
@output_options
def command(*, hub: HubAddress, output: Output, ready: bool, admin_url: str, timeout: float) -> int:
    """Find out why a hub cannot be reached: DNS, TCP, TLS, upgrade, handshake, heartbeat, clock.

    Each step has a line with its result, and what to do about it. The exit code is 0 if a peer
    could connect. With --ready, for health checks of containers, it is 0 if the hub is ready.
    """
    from ._checks import check_all, check_ready

    if ready:
        return check_ready(admin_url, timeout)
    findings = check_all(hub, timeout)
    if output.as_json:
        output.json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            mark = output.styled(_MARKS[finding.state], _COLORS[finding.state])
            output.data(f"{mark}  {finding.step:<10} {finding.text}")
            if finding.hint:
                output.data(f"{'':<6}{'':<10} {finding.hint}")
    failed = [finding for finding in findings if finding.state == "failed"]
    return failed[0].exit_code if failed else ExitCode.OK
