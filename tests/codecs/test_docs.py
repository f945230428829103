"""docs/connectors.md has each codec, each framing, and each option; and its program runs."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

from restsock.codecs import AFTER_ENCODING, BEFORE_DECODING, CODECS, codec
from restsock.codecs import _codec as codecs_module
from restsock.codecs import _framing as framings_module
from restsock.codecs._bounds import Bounds
from restsock.codecs._compression import ALGORITHMS, AVRO_ALGORITHMS
from restsock.codecs._registry import Registry
from tests.codecs.values import KINDS

TEXT = (Path(__file__).parents[2] / "docs" / "connectors.md").read_text("utf-8")
ROWS = {row.split("|")[1].strip(): row for row in TEXT.splitlines() if row.startswith("| `")}


def options(registry: Registry, name: str) -> set[str]:
    parameters = inspect.signature(registry.find(name)[1]).parameters
    return set(parameters) - {"self", "bounds", "max_length"}


@pytest.mark.parametrize("name", CODECS)
def test_each_codec_and_its_options(name: str) -> None:
    row = ROWS[f"`{name}`"]
    assert {each for each in options(codecs_module._REGISTRY, name) if f"`{each}`" not in row} == (
        set()
    )


@pytest.mark.parametrize("name", sorted({*BEFORE_DECODING, *AFTER_ENCODING}))
def test_each_framing_and_its_options(name: str) -> None:
    row = ROWS[f"`{name}`"]
    before, after = row.split("|")[2:4]
    assert bool(before.strip()) == (name in BEFORE_DECODING)
    assert bool(after.strip()) == (name in AFTER_ENCODING)
    found: set[str] = set()
    if name in BEFORE_DECODING:
        found |= options(framings_module._BEFORE, name)
    if name in AFTER_ENCODING:
        found |= options(framings_module._AFTER, name)
    assert {each for each in found if f"`{each}`" not in row} == set()


def test_each_bound_kind_and_algorithm() -> None:
    assert {f"`{each.name}`" for each in fields(Bounds)} <= set(ROWS)
    assert {f"`{kind}`" for kind in KINDS} <= set(ROWS)
    named = " ".join(ROWS)
    for name, algorithm in ALGORITHMS.items():
        assert f"`{name}`" in named
        low, high = algorithm.levels
        levels = f"{low} to {high} ({algorithm.default})" if low != high else "none"
        assert levels in next(row for key, row in ROWS.items() if f"`{name}`" in key)
    for name in AVRO_ALGORITHMS:
        assert f'`"{name}"`' in TEXT


def test_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    [program] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(program, {})
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("{'t': 21.5} 1")
    assert second == "None"
    assert third == "[b'{\"t\":22.0}\\n']"


def test_the_examples_of_values() -> None:
    [block] = re.findall(r"### Metrics\n\n```\n(.*?)```", TEXT, re.DOTALL)
    for example in block.strip().split("\n\n"):
        line, _, value = example.partition("\n")
        wire, name = re.split(r" {3,}", line)
        assert codec(name).decode(wire.encode()) == codec("json").decode(value.encode())
    [block] = re.findall(r"### Syslog\n.*?```\n(.*?)```", TEXT, re.DOTALL)
    line, _, value = block.partition("\n")
    assert codec("syslog").decode(line.encode()) == codec("json").decode(value.encode())
