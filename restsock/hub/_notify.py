"""Tells systemd how the service is (sd_notify(3)); does nothing where systemd did not start it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import trio

__all__ = ["beat_forever", "notify", "reloading"]


def notify(*lines: str) -> None:
    """Sends assignments such as `READY=1`. Never fails, and never waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        # An "@" stands for the zero byte of an abstract address.
        sock.connect("\0" + address[1:] if address[0] == "@" else address)
        sock.send("\n".join(lines).encode())


def reloading() -> None:
    """Says that a reload has begun; `READY=1` says that it is over (`Type=notify-reload`)."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else 0
    notify("RELOADING=1", f"MONOTONIC_USEC={now // 1000}")


async def beat_forever() -> None:
    """Says again and again that the loop goes on, where the unit has `WatchdogSec=`."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not microseconds.isdecimal() or not int(microseconds) or not mine:
        return
    while True:
        notify("WATCHDOG=1")
        await trio.sleep(int(microseconds) / 2_000_000)
