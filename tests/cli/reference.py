"""Writes the reference in docs/cli.md from what the command says of itself.

python -m tests.cli.reference
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from restsock.cli._main import VERBS, command
from tests.covered import root_context

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_START = "<!-- From here on written by tests/cli/reference.py -->\n"
_WIDTH = 96


def _help_of(found: click.Command, parent: click.Context, name: str) -> str:
    context = click.Context(
        found, parent=parent, info_name=name, max_content_width=_WIDTH, terminal_width=_WIDTH
    )
    text = found.get_help(context).rstrip()
    return f"```\n{text}\n```\n"


def _sections() -> Iterator[str]:
    root = root_context()
    for section, verbs in VERBS.items():
        yield f"## {section}\n"
        for verb in verbs:
            found = command.get_command(root, verb)
            assert found is not None
            if not isinstance(found, click.Group):
                yield f"### {verb}\n"
                yield _help_of(found, root, verb)
                continue
            group = click.Context(found, parent=root, info_name=verb)
            for name, inner in found.commands.items():
                yield f"### {verb} {name}\n"
                yield _help_of(inner, group, name)


def page() -> str:
    """The page as it should be: what was written by hand, and the reference."""
    by_hand = PAGE.read_text("utf-8").partition(_START)[0]
    lines = "\n".join(_sections()).split("\n")
    return by_hand + _START + "\n" + "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
