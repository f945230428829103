"""Patterns of names and paths, matched in linear time and without regular expressions.

A pattern is texts with gaps between them: `"ulm-*"` is `"ulm-"`, a gap, and nothing; the segment
`"{year}-{month}.csv"` of a path is nothing, a gap, `"-"`, a gap, and `".csv"`. Each text is looked
for once, from where the one before it ends, and what is passed is never looked at again. That gives
what a regular expression with lazy gaps gives, without its backtracking: where the first text that
fits is taken, whatever else fits later fits as well.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["gaps", "like"]


def gaps(texts: Sequence[str], subject: str, *, least: int = 0) -> list[str] | None:
    """What stands in the gaps, or `None` when the pattern does not match the whole subject.

    Args:
        texts: One more than there are gaps. The first has to begin the subject, the last to end it.
        subject: What is matched.
        least: Characters that each gap has at least. Each is as short as it can be, from the left.
    """
    first, last = texts[0], texts[-1]
    if len(texts) == 1:
        return [] if subject == first else None
    if not subject.startswith(first):
        return None
    found: list[str] = []
    at = len(first)
    for text in texts[1:-1]:
        start = subject.find(text, at + least)
        if start < 0:
            return None
        found.append(subject[at:start])
        at = start + len(text)
    end = len(subject) - len(last)
    if end < at + least or not subject.endswith(last):
        return None
    found.append(subject[at:end])
    return found


def like(pattern: str, name: str) -> bool:
    """Whether a name is like a pattern, in which `*` is any text, an empty one too.

    Nothing else is special, unlike in `fnmatch`, to which "[" and "?" mean something.
    """
    return gaps(pattern.split("*"), name) is not None
