"""Writes packaging/systemd from what the command prints.

python -m tests.cli.units
"""

from __future__ import annotations

from pathlib import Path

from restsock.cli._units import command_line, service_unit, socket_unit

FOLDER = Path(__file__).parents[2] / "packaging" / "systemd"

_PROGRAM = "/opt/restsock/bin/restsock"

_HUB = """\
# The hub. Its file is /etc/restsock/hub.toml; see packaging/hub.toml for all that can stand in it.
#   systemctl enable --now restsock-hub
# It runs as a user of its own, who reads /etc/restsock and writes to /var/lib/restsock alone. So
# the files of tokens are in the latter, and keys that only root can read come by LoadCredential=.
# It is reloaded by `systemctl reload restsock-hub` or `restsock reload`. Before systemd 253 there
# is no notify-reload: take Type=notify and ExecReload=/bin/kill -HUP $MAINPID.
"""
_FORWARD = """\
# A peer in front of a server on this machine:
#   systemctl enable --now restsock-forward@edge-1
# /etc/restsock/edge-1.env says where to:
#   RESTSOCK_HUB=wss://hub.example/
#   UPSTREAM=http://127.0.0.1:5000
# and /etc/restsock/edge-1.token, readable by root alone, holds its token.
"""
_SOCKET = """\
# Optional: systemd holds the port, so that a restart of the hub refuses nobody.
#   systemctl enable --now restsock-hub.socket
"""


def units() -> dict[str, str]:
    """All files of the folder: name -> text."""
    hub = command_line(
        [_PROGRAM, "hub", "--config", "/etc/restsock/hub.toml", "--log-format", "json"]
    )
    # Written as systemd reads it: with the variables, and the name of the instance.
    forward = (
        f"{_PROGRAM} forward ${{UPSTREAM}} --name %i"
        " --token-file ${CREDENTIALS_DIRECTORY}/token --log-format json"
    )
    return {
        "restsock-hub.service": _HUB + service_unit("hub", hub, description="restsock hub"),
        "restsock-hub.socket": _SOCKET + socket_unit(["0.0.0.0:8080", "[::]:8080"]),
        "restsock-forward@.service": _FORWARD
        + service_unit(
            "forward",
            forward,
            description="restsock peer %i",
            environment="/etc/restsock/%i.env",
            token="/etc/restsock/%i.token",
        ),
    }


if __name__ == "__main__":
    for name, text in units().items():
        (FOLDER / name).write_text(text, "utf-8")
