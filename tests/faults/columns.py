"""Lines of cells, lined up for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["lined_up"]


def lined_up(lines: Sequence[Sequence[str]], words: int, *, markdown: bool = False) -> list[str]:
    """The lines of a table, and an empty one behind it in Markdown.

    Args:
        lines: the first is the head.
        words: how many columns have words; all others have numbers.
        markdown: whether it is for a page.
    """
    head, *rows = lines
    if markdown:
        rule = ["---"] * words + ["--:"] * (len(head) - words)
        return [*("| " + " | ".join(line) + " |" for line in (head, rule, *rows)), ""]
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    return [
        "".join(
            f"{cell:<{width}}" if at < words else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
