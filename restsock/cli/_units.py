"""Units of systemd: for a verb that runs as a service, and for the port of a hub.

`packaging/systemd` holds what these functions make for a program in `/opt/restsock`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["command_line", "escaped", "service_unit", "socket_unit"]

_UNIT = """\
[Unit]
Description={description}
After=network-online.target
Wants=network-online.target

[Service]
{service}
[Install]
WantedBy=multi-user.target
"""

_HUB = """\
Type=notify-reload
ExecStart={command}
{place}Restart=on-failure
RestartSec=1
WatchdogSec=30
# Longer than `grace` of the file: what is in flight ends before it is killed.
TimeoutStopSec=45
KillMode=mixed
LimitNOFILE=65536

DynamicUser=yes
StateDirectory=restsock
StateDirectoryMode=0700
ConfigurationDirectory=restsock
RuntimeDirectory=restsock
UMask=0077
# Ports below 1024, and nothing else of what root can do.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
"""

_PEER = """\
Type=exec
ExecStart={command}
{place}Environment=PYTHONUNBUFFERED=1
Restart=always
RestartSec=2
# Longer than what is in flight may take (30 s).
TimeoutStopSec=45
KillMode=mixed

DynamicUser=yes
CapabilityBoundingSet=
"""

_CONFINED = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
"""

# What an app may need, and neither a hub nor what forwards does.
_CONFINED_MORE = """\
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""

_SOCKET = """\
[Unit]
Description=The port of the restsock hub

[Socket]
{listen}
BindIPv6Only=ipv6-only
FileDescriptorName=peers
Backlog=4096
NoDelay=yes

[Install]
WantedBy=sockets.target
"""


def service_unit(
    verb: str,
    command: str,
    *,
    description: str,
    folder: Path | None = None,
    environment: str = "-/etc/restsock/environment",
    token: str | None = None,
) -> str:
    """The unit of a service.

    Args:
        verb: That it runs.
        command: The whole line, as systemd reads it: see `command_line`.
        description: For people.
        folder: From which names of files start; `None` is for a command that names whole paths.
        environment: A file of variables, `RESTSOCK_TOKEN` for example; a `-` before its name says
            that it need not be there.
        token: A file with the token, which root alone can read; the command finds it as
            `${CREDENTIALS_DIRECTORY}/token`.
    """
    lines = ["# Variables, such as RESTSOCK_TOKEN=...; readable by root alone."]
    lines += [f"EnvironmentFile={environment}"]
    if token is not None:
        lines.append(f"LoadCredential=token:{token}")
    if folder is not None:
        lines.append(f"WorkingDirectory={escaped(str(folder))}")
    place = "\n".join(lines) + "\n"
    service = (_HUB if verb in ("hub", "gateway") else _PEER).format(
        command=command, place=place
    ) + _CONFINED
    if verb != "serve":
        service += _CONFINED_MORE
    return _UNIT.format(description=description, service=service)


def socket_unit(addresses: Iterable[str]) -> str:
    """The unit of a socket that systemd holds, so that a restart of the hub refuses nobody.

    Args:
        addresses: Each as systemd takes it: `0.0.0.0:8080`, `[::]:8080`.
    """
    return _SOCKET.format(listen="\n".join(f"ListenStream={address}" for address in addresses))


def command_line(words: Sequence[str]) -> str:
    """A command as systemd reads it."""
    return " ".join(map(_quoted, words))


def escaped(text: str) -> str:
    """A text in which `%` is no specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word: % and $ mean something, and spaces need quotes."""
    word = escaped(word.replace("\\", "\\\\").replace('"', '\\"')).replace("$", "$$")
    return f'"{word}"' if not word or any(c in word for c in " \t\"'\\;") else word
