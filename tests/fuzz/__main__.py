"""Runs the fuzz targets under atheris; exits with 1 when one finds a fault.

    make fuzz                       two minutes, in equal shares
    make fuzz MINUTES=20            longer
    make fuzz TARGET=multiplexer        one target, with all of the time
    make fuzz ARGS=--keep           and add what is worth keeping to tests/fuzz/corpus

The minutes are of fuzzing, all targets together; two run at a time, so about half of that passes.
What was found stays in build/fuzz/<target>/ for the next run. An input that fails is saved in
build/fuzz/faults/; to run it again:

    python -m tests.fuzz --replay build/fuzz/faults/multiplexer-crash-...
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from tests.fuzz.keep import keep
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import CORPUS, TARGETS, target

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "fuzz"
FAULTS = WORK / "faults"

_AT_ONCE = 2
_SECONDS_FOR_ONE_INPUT = 10
_MEGABYTES = 1024

_STATUS = re.compile(rb"^#(\d+)\s+\w+\s.*?cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_STAT = re.compile(rb"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_SAVED = re.compile(rb"Test unit written to (.*)")


@dataclass
class Result:
    """What one run of one target came to."""

    name: str
    seconds: float
    runs: int
    coverage: int
    features: int
    inputs: int
    new: int
    megabytes: int
    status: int
    saved: Path | None
    output: bytes

    @property
    def found_a_fault(self) -> bool:
        return self.status != 0

    def row(self) -> str:
        verdict = "clean"
        if self.found_a_fault:
            verdict = f"FAULT: {self.saved}" if self.saved else f"FAILED with {self.status}"
        rate = self.runs / self.seconds if self.seconds else 0
        return (
            f"{self.name:<13}{self.seconds:>7.0f}{self.runs:>11,}{rate:>9,.0f}{self.coverage:>10,}"
            f"{self.features:>10,}{self.inputs:>8,}{self.new:>7,}{self.megabytes:>7,}   {verdict}"
        )


HEADER = (
    f"{'target':<13}{'s':>7}{'runs':>11}{'runs/s':>9}{'coverage':>10}{'features':>10}"
    f"{'inputs':>8}{'new':>7}{'MB':>7}   outcome"
)


class Runner:
    """Runs targets, `_AT_ONCE` at a time, and ends them all when it is told to."""

    def __init__(self, seconds: float, options: Sequence[str]) -> None:
        self.seconds = seconds
        self.options = options
        self.stopped = Event()
        self.running: set[subprocess.Popen[bytes]] = set()

    def run(self, name: str) -> Result | None:
        if self.stopped.is_set():
            return None
        folders = prepare(name)
        module = target(name)
        command = [
            *(sys.executable, "-m", "tests.fuzz.drive", name),
            f"-max_total_time={max(1, round(self.seconds))}",
            f"-max_len={module.MAX_LEN}",
            f"-timeout={_SECONDS_FOR_ONE_INPUT}",
            f"-rss_limit_mb={_MEGABYTES}",
            f"-dict={folders[0].with_suffix('.dict')}",
            f"-artifact_prefix={FAULTS / name}-",
            "-print_final_stats=1",
            *self.options,
            *map(str, folders),
        ]
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.running.add(process)
        try:
            output, _ = process.communicate()
        finally:
            self.running.discard(process)
        return _result(name, time.monotonic() - started, process.returncode, output)

    def stop(self) -> None:
        self.stopped.set()
        for process in list(self.running):
            process.send_signal(signal.SIGTERM)


def prepare(name: str) -> list[Path]:
    """Writes seeds and dictionary; returns the folders to read, the one for what is new first."""
    found, begun = WORK / name, WORK / f"{name}.seeds"
    for folder in (found, begun, FAULTS):
        folder.mkdir(parents=True, exist_ok=True)
    for old in begun.iterdir():
        old.unlink()
    module = target(name)
    for number, seed in enumerate(seeds(name, module.MAX_LEN)):
        (begun / f"{number:04}").write_bytes(seed)
    words = ("".join(f"\\x{octet:02x}" for octet in word) for word in module.DICTIONARY)
    found.with_suffix(".dict").write_text("".join(f'"{word}"\n' for word in words))
    kept = CORPUS / name
    return [found, begun, *([kept] if kept.is_dir() else [])]


def _result(name: str, seconds: float, status: int, output: bytes) -> Result:
    lines = _STATUS.findall(output)
    runs, coverage, features, inputs = map(int, lines[-1]) if lines else (0, 0, 0, 0)
    stats = {key.decode(): int(value) for key, value in _STAT.findall(output)}
    saved = _SAVED.search(output)
    return Result(
        name=name,
        seconds=seconds,
        runs=stats.get("number_of_executed_units", runs),
        coverage=coverage,
        features=features,
        inputs=inputs,
        new=stats.get("new_units_added", 0),
        megabytes=stats.get("peak_rss_mb", 0),
        status=status,
        saved=Path(saved[1].decode()) if saved else None,
        output=output,
    )


def fuzz(names: Sequence[str], minutes: float, options: Sequence[str]) -> int:
    runner = Runner(minutes * 60 / len(names), options)
    print(f"{minutes:g} min of fuzzing, {runner.seconds:.0f} s for each target", flush=True)
    print(HEADER, flush=True)
    results = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for result in pool.map(runner.run, names):
                if result is not None:
                    results.append(result)
                    print(result.row(), flush=True)
        except BaseException:
            runner.stop()
            raise
    runs = sum(result.runs for result in results)
    failed = [result for result in results if result.found_a_fault]
    print(f"{runs:,} runs, {len(failed)} of {len(results)} targets found a fault")
    for result in failed:
        print(f"\n== {result.name}: the end of its output")
        start = max(result.output.find(b" === Uncaught"), len(result.output) - 6000, 0)
        print(result.output[start:].decode("utf-8", "replace"))
        if result.saved:
            print(f"\nRun it again with: python -m tests.fuzz --replay {result.saved}")
    return 1 if failed else 0


def replay(path: Path) -> int:
    """Runs one saved input, with its traceback."""
    names = [name for name in TARGETS if path.name.startswith(f"{name}-") or name in path.parts]
    if len(names) != 1:
        print(f"{path}: its name or its folder has to name one target: {', '.join(TARGETS)}")
        return 2
    target(names[0]).test_one(path.read_bytes())
    print(f"{path}: {names[0]} finds nothing wrong with it")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="of fuzzing, in all (2)")
    parser.add_argument("--target", choices=TARGETS, help="this one alone")
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input")
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="for libFuzzer, as -seed=1")
    given = parser.parse_args()
    if given.minutes <= 0:
        parser.error("--minutes has to be above 0")
    if given.replay:
        return replay(given.replay)
    if importlib.util.find_spec("atheris") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        print(f"atheris is not installed for this Python {version}; there are wheels for Linux and")
        print("3.11 or later: make fuzz PYTHON=python3.11 VENV=.venv311. The suite needs none.")
        return 2
    names = [given.target] if given.target else list(TARGETS)
    # SIGTERM ends the children as Ctrl-C does: an exception that leaves `fuzz()`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = fuzz(names, given.minutes, given.options)
    except KeyboardInterrupt:
        print("stopped")
        return 130
    if given.keep and status == 0:
        for name in names:
            print(f"{name}: {keep(name, WORK / name)} inputs kept in {CORPUS.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
