"""Ports: where the messages of an input go to, and those of an output come from."""

from __future__ import annotations

from restsock.hub import ConfigError

from ._tables import PortsTable

__all__ = ["check_ports"]


def check_ports(ports: PortsTable) -> None:
    """Checks that the ports are ones that this version has: lines on stdin and stdout.

    Raises:
        ConfigError: there is another one; it names its key.
    """
    for side in ("inputs", "outputs"):
        for number, port in enumerate(getattr(ports, side)):
            if port.type != "stdio":
                raise ConfigError(
                    f"ports.{side}[{number}].type",
                    f"this version has no port of type {port.type!r}: leave ports out, and"
                    " messages are lines on stdin and stdout",
                )
