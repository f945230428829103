"""A wire of packets between two network interfaces, in Python: for kernels without `tc netem`.

    python -m tests.faults.wire forward A B     carries frames from A to B and back
    python -m tests.faults.wire plain NAME      switches off what lets packets leave unfinished

The first reads commands from its stdin, one line of JSON each, and says "ready" when it is:

    {"loss": 0.05, "delay": 0.15, "lost": ["A", "B"]}

`loss` is the share of packets that vanish, at random; `delay` is in seconds, each way; `lost` names
the interfaces from which nothing is carried on. Needs the right to open packet sockets: root, or
root of a user namespace.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from typing import Any

_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, _STSO, _SGSO, _SGRO: a packet shall have its checksum, and its final size, when
# it leaves; otherwise what reads it here gets half-made ones.
_FEATURES = (0x17, 0x1F, 0x24, 0x2C)
_ETH_P_ALL = 3


def make_plain(name: str) -> None:
    """Switches the offloads of an interface off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for feature in _FEATURES:
            value = array.array("B", struct.pack("II", feature, 0))
            request = struct.pack("16sP", name.encode(), value.buffer_info()[0])
            with contextlib.suppress(OSError):  # one that this kernel has not
                fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def _open(name: str) -> socket.socket:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    packets.bind((name, 0))
    packets.setblocking(False)
    return packets


class Wire:
    """The two ends, and what is on the way."""

    def __init__(self, names: tuple[str, str]) -> None:
        self.ends = [_open(name) for name in names]
        self.names = names
        self.loss = 0.0
        self.delay = 0.0
        self.lost: set[str] = set()
        self.dice = random.Random(3)
        self._numbers = 0
        self._on_the_way: list[tuple[float, int, int, bytes]] = []

    def obey(self, command: dict[str, Any]) -> None:
        self.loss = command.get("loss", 0.0)
        self.delay = command.get("delay", 0.0)
        self.lost = {self.names["AB".index(end)] for end in command.get("lost", ())}

    def take(self, end: int) -> None:
        """Takes in all that is there."""
        while True:
            try:
                frame, (_, _, kind, _, _) = self.ends[end].recvfrom(65536)
            except (BlockingIOError, OSError):
                return
            if kind == socket.PACKET_OUTGOING:  # what was put there from here
                continue
            if self.names[end] in self.lost or self.dice.random() < self.loss:
                continue
            self._numbers += 1
            due = time.monotonic() + self.delay
            heapq.heappush(self._on_the_way, (due, self._numbers, 1 - end, frame))

    def deliver(self) -> float:
        """Puts out what is due; returns the seconds until the next is."""
        while self._on_the_way:
            left = self._on_the_way[0][0] - time.monotonic()
            if left > 0:
                return left
            _, _, end, frame = heapq.heappop(self._on_the_way)
            with contextlib.suppress(OSError):  # the link is down, or full: lost, like on any wire
                self.ends[end].send(frame)
        return 1.0


def forward(names: tuple[str, str]) -> None:
    """Until stdin ends."""
    wire = Wire(names)
    print("ready", flush=True)
    buffer = b""
    while True:
        sources = [0, *(end.fileno() for end in wire.ends)]
        readable, _, _ = select.select(sources, [], [], wire.deliver())
        for number, end in enumerate(wire.ends):
            if end.fileno() in readable:
                wire.take(number)
        if 0 in readable:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                wire.obey(json.loads(line))
                print("ready", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "forward":
        forward((sys.argv[2], sys.argv[3]))
    else:
        make_plain(sys.argv[2])
