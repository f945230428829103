"""Templates of subjects, such as ``readings.{peer}``.

A subject is made of tokens with dots in between. A placeholder is one whole token, and its value
has to be one token, too: no dot, no wildcard, no space, no control character. So a peer cannot
reach other subjects by choosing a name. The first token is never a placeholder, so that nobody
reaches the subjects of the broker itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from restsock.messaging._errors import InvalidMessage

__all__ = ["SubjectTemplate"]

_TOKEN = re.compile(r"[^\s.*>{}\x00-\x20\x7f]{1,255}")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class SubjectTemplate:
    """A template of subjects, to write them and to read them.

    Args:
        text: tokens with dots in between, of which all but the first may be a placeholder.
        names: the placeholders that there may be.

    Raises:
        ValueError: it is not valid.
    """

    def __init__(self, text: str, names: tuple[str, ...] = ("peer", "channel")) -> None:
        self.text = text
        self._tokens: list[tuple[str, str]] = []  # a placeholder, or else a token as it is
        for at, token in enumerate(text.split(".")):
            found = _PLACEHOLDER.fullmatch(token)
            if found and at and found[1] in names:
                self._tokens.append((found[1], ""))
            elif not found and _TOKEN.fullmatch(token):
                self._tokens.append(("", token))
            elif found and not at:
                raise ValueError(f"a subject does not begin with a placeholder: {text!r}")
            else:
                raise ValueError(f"{token!r} is no token of a subject, in {text!r}")
        used = [name for name, _ in self._tokens if name]
        if len(set(used)) < len(used):
            raise ValueError(f"a placeholder stands twice in {text!r}")
        self.names = frozenset(used)

    def __repr__(self) -> str:
        return f"SubjectTemplate({self.text!r})"

    def fill(self, values: Mapping[str, str | None]) -> str:
        """The subject for some values.

        Raises:
            InvalidMessage: one of them is missing, or is no token.
        """
        return ".".join(
            _checked(name, values.get(name)) if name else token for name, token in self._tokens
        )

    @property
    def filter(self) -> str:
        """The subject to subscribe to: with a wildcard for each placeholder."""
        return ".".join(token or "*" for _, token in self._tokens)

    def read(self, subject: str) -> dict[str, str] | None:
        """What stands for the placeholders in a subject; `None` if it is another one.

        Raises nothing.
        """
        tokens = subject.split(".")
        if len(tokens) != len(self._tokens):
            return None
        values: dict[str, str] = {}
        for found, (name, token) in zip(tokens, self._tokens, strict=True):
            if name:
                values[name] = found
            elif found != token:
                return None
        return values


def _checked(name: str, value: str | None) -> str:
    if value is None or not _TOKEN.fullmatch(value):
        raise InvalidMessage(f"the {name} {value!r} cannot be a token of a subject")
    return value
