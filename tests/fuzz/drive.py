"""One target under atheris: the process that `python -m tests.fuzz` starts for each.

python -m tests.fuzz.drive TARGET [options of libFuzzer] [folders]
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    program, name, *arguments = sys.argv
    # Its own branches guide it, and those of the two that are the authority. The oracles' do not.
    ours = ["restsock.protocol", "restsock.http1", "restsock.codecs", "restsock._strict_json"]
    with atheris.instrument_imports(include=[*ours, "h11", "wsproto"]):
        from tests.fuzz.targets import target  # instrumented as it is imported

        one = target(name).test_one
    atheris.Setup([program, *arguments], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
