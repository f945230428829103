"""What goes to stdout and to stderr, and in which form; and whom a peer dials."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from restsock.cli._failures import Failure
from restsock.cli._hub_address import HubAddress, label_of, name_of_this_host
from restsock.cli._output import LogfmtFormatter, Output

from .command import Run


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a\x1b[2J", "tags": ["x", "y"]},
        {"name": "bb", "age": 3},
    ]
    columns = {"name": "NAME", "age": "AGE", "tags": "TAGS"}
    Output().table(rows, columns)
    assert capsys.readouterr().out.split("\n") == [
        "NAME      AGE  TAGS",
        "a\\x1b[2J  -    x, y",
        "bb        3    -",
        "",
    ]
    Output(as_json=True).table(rows, columns)
    assert json.loads(capsys.readouterr().out) == rows
    Output().table([], columns)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_letters_that_stdout_does_not_have(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes on Windows; a token that was made must not be lost for the name of its owner."""
    name, raw = "Zoë ☃", io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline="\n"))
    Output().data(name)
    Output(as_json=True).json({"name": name})
    line, told = raw.getvalue().decode(encoding).splitlines()
    assert line == name.encode(encoding, "backslashreplace").decode(encoding)
    assert json.loads(told) == {"name": name}


def test_events_go_to_one_place(capsys: pytest.CaptureFixture[str]) -> None:
    Output().event("x", "in words", a=1)
    assert capsys.readouterr() == ("", "in words\n")
    Output(as_json=True).event("x", "in words", a=1)
    assert capsys.readouterr() == ('{"event": "x", "a": 1}\n', "")
    Output(quiet=True).event("x", "in words", a=1)
    assert capsys.readouterr() == ("", "")


def test_all_lines_have_the_form_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Whether the option says so, or the file of a hub."""
    for output, of_the_file in ((Output(log_format="json"), "text"), (Output(), "json")):
        output.start_logging(of_the_file)
        output.say("50% done")
        told = json.loads(capsys.readouterr().err)
        assert (told["message"], told["level"], told["logger"]) == (
            "50% done",
            "INFO",
            "restsock.cli",
        )
    output = Output(log_format="text")
    output.start_logging("json")
    output.say("50% done")
    assert capsys.readouterr().err == "50% done\n"


def test_a_failure_is_one_line_without_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    Failure("a\n  b \x1b[2J", "do this").show()
    assert capsys.readouterr() == ("", "restsock: a b \\x1b[2J; do this\n")


def test_logfmt() -> None:
    record = logging.LogRecord("restsock.x", logging.INFO, "", 0, 'it is "%s"', ("a b",), None)
    line = LogfmtFormatter().format(record)
    assert ' level=INFO logger=restsock.x message="it is \\"a b\\""' in line


@pytest.mark.parametrize(
    ("args", "level"),
    [
        ((), 30),
        pytest.param(("-q",), 40, marks=pytest.mark.covers("--quiet")),
        pytest.param(("-v",), 20, marks=pytest.mark.covers("--verbose")),
        (("-vv",), 10),
    ],
)
def test_levels(run: Run, args: tuple[str, ...], level: int) -> None:
    run("call", "x", "/", "--curl", *args, "--log-format", "logfmt")
    assert logging.getLogger().level == level


def test_what_is_dialed() -> None:
    assert HubAddress("https://hub.example/x?y=1").websocket_url == "wss://hub.example/x?y=1"
    assert HubAddress("http+unix:///run/x.sock").websocket_url == "ws+unix:///run/x.sock"
    assert HubAddress("wss://hub.example/x").http_url == "https://hub.example"
    with pytest.raises(click.UsageError):
        _ = HubAddress("hub.example").address


def test_credentials(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("from-the-file\n")
    assert HubAddress("ws://x", token_file=path).authorization == "Bearer from-the-file"
    assert HubAddress("ws://x", "given").authorization == "Bearer given"
    assert HubAddress("ws://x").authorization is None


def test_names() -> None:
    assert label_of("My App_1") == "my-app-1"
    assert label_of("---") == "peer"
    assert len(label_of("x" * 100)) == 63
    assert name_of_this_host("5000") == name_of_this_host("5000")
