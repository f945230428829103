"""Messages with their length before them."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from typing import Any

import pytest

from restsock.codecs import CodecError, Format, before_decoding
from tests.codecs.framings import decoded, encoded, run


def step(name: str, **options: Any) -> list[dict[str, Any]]:
    return [{"name": name, "config": options}]


@pytest.mark.parametrize(("width", "layout"), [(8, ">Q"), (4, ">I")])
def test_a_binary_length(width: int, layout: str) -> None:
    steps = step("length-prefixed", width=width)
    wire = b"".join(struct.pack(layout, len(each)) + each for each in (b"abc", b"", b"d"))
    assert b"".join(each for each in encoded(steps, [b"abc", b"", b"d"]) if each) == wire  # type: ignore[misc]
    assert decoded(steps, [wire]) == [b"abc", b"", b"d"]
    # Also where the last one is empty.
    assert decoded(steps, [bytes(width)]) == [b""]


def test_a_length_in_digits() -> None:
    steps = ["textual-length-prefixed"]
    assert encoded(steps, [b"abc", b"", b"x" * 12]) == [b"3 abc", b"0 ", b"12 " + b"x" * 12]
    assert decoded(steps, [b"3 abc0 12 " + b"x" * 12]) == [b"abc", b"", b"x" * 12]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"x", "malformed"),
        (b" 1 a", "malformed"),
        (b"-1 a", "malformed"),
        (b"+1 a", "malformed"),
        (b"01 a", "malformed"),
        (b"00 ", "malformed"),
        (b"1\na", "malformed"),
        (b"1x", "malformed"),
        (b"101 ", "too_large"),
        (b"9999", "too_large"),
        (b"1", "truncated"),
        (b"2 a", "truncated"),
        (b"2 ", "truncated"),
    ],
)
def test_digits_that_are_no_length(data: bytes, kind: str) -> None:
    steps = step("textual-length-prefixed", max_length=100)
    assert decoded(steps, [b"1 a" + data]) == [b"a", kind]


def test_a_wrong_length_is_the_end_of_the_stream() -> None:
    for steps, data in (
        (step("length-prefixed", max_length=10), struct.pack(">Q", 11)),
        (step("length-prefixed", max_length=10), b"\xff" * 8),
        (step("length-prefixed", max_length=10, width=4), struct.pack(">I", 11)),
        (step("textual-length-prefixed", max_length=10), b"11 "),
    ):
        chain = before_decoding(steps)
        error, *rest = run(chain, [data, b"more", bytes(100)])
        assert isinstance(error, CodecError)
        assert (error.kind, error.fatal, rest) == ("too_large", True, [])


def test_the_end_of_a_stream_within_a_message() -> None:
    for data in (b"\0\0", struct.pack(">Q", 3) + b"ab", struct.pack(">Q", 3)):
        [error] = run(before_decoding(["length-prefixed"]), [data])
        assert isinstance(error, CodecError)
        assert (error.kind, error.fatal) == ("truncated", True)


def test_what_is_too_long_is_not_written() -> None:
    for name in ("length-prefixed", "textual-length-prefixed"):
        found = encoded(step(name, max_length=3), [b"abcd", b"abc"])
        assert found[0] == "too_large"
        assert isinstance(found[1], bytes)


def test_many_messages_in_one_piece_take_linear_time() -> None:
    wire = (struct.pack(">I", 1) + b"a") * 200_000
    assert len(decoded(step("length-prefixed", width=4), [wire])) == 200_000


LOGGER = shutil.which("logger")


@pytest.mark.skipif(LOGGER is None, reason="there is no logger(1)")
def test_what_another_program_counts_in_octets() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(10)
        port = str(listener.getsockname()[1])
        options = ["-T", "-n", "127.0.0.1", "-P", port, "--octet-count", "-t", "app"]
        sender = subprocess.Popen([str(LOGGER), *options], stdin=subprocess.PIPE)
        with listener.accept()[0] as receiver, sender:
            receiver.settimeout(10)
            assert sender.stdin is not None
            sender.stdin.write("one\ntwo, é\n".encode())
            sender.stdin.close()
            decoder = Format("syslog", before=["textual-length-prefixed"]).decoder()
            while data := receiver.recv(7):
                decoder.receive_data(data, 0)
    decoder.receive_end(0)
    first, second, end = (decoder.next_message() for _ in range(3))
    assert first is not None
    assert second is not None
    assert end is None
    assert [first.value["msg"], second.value["msg"]] == ["one", "two, é"]
    assert second.value["appname"] == "app"
