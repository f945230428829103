r"""The regular expressions of a document: those of ECMA-262, run in linear time.

A pattern comes from the author of the document, and the text from the sender of the message. In a
backtracking engine, two lines can block the process for hours, since it holds the interpreter's
lock. RE2 takes time linear in the text, without the lock, and with limited memory. It runs the
patterns of all documents, including your own.

JSON Schema uses ECMA-262 with the flag `u`. Syntax that differs in RE2 is translated:

    ECMA-262                        RE2
    \s  \S  .                       the classes in full; RE2's contain less
    \u0061  \u{61}  \uD83D\uDE00    \x{61}, \x{61}, \x{1F600}
    \cJ  \0                         \x{A}, \x{0}
    (?<name>...)  (...)             (?:...), since groups are not needed
    \p{Letter}  \p{Script=Greek}    \p{L}, \p{Greek}
    x{2,2500}                       in parts, since RE2 repeats at most a thousand times
    ^(?=A)(?!B)C                    three patterns, of which the second must not match

In both, `\d`, `\w`, `\b` are ASCII and `$` is the end of the text. `\A`, `\z`, `\Z`, `(?i)` and
`(?P<name>...)` do not exist in ECMA-262; they work as in Python, where many documents come from.

Backreferences, and lookaround except at the beginning, are errors.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from ._work import afford, spend

__all__ = ["BadPattern", "Pattern", "compiled"]

_MAX_LENGTH = 20_000  # characters of a pattern
_MAX_REPEAT = 10_000
_RE2_REPEAT = 1000
_MAX_DEPTH = 100
_MAX_MEMORY = 4 * 1024 * 1024  # bytes, for the program and for the growing automaton each
_KEPT = 64  # compiled patterns, in a process

# Seconds for one character and one instruction of the program, measured with the slowest patterns.
_COST = 6e-9

_SPACE = (
    r"\t\n\x0b\x0c\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
    r"\x{feff}"
)
_NO_SPACE = (
    r"\x00-\x08\x0e-\x1f!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}"
)
_ANY = r"[^\n\r\x{2028}\x{2029}]"
_CONTROLS = {"f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_ANCHORS = {"A": r"\A", "z": r"\z", "Z": r"\z", "b": r"\b", "B": r"\B"}
# The long names of categories, which RE2 does not know.
_CATEGORIES = dict(
    re.findall(
        r"(\w+)=(\w+)",
        "letter=L uppercaseletter=Lu lowercaseletter=Ll titlecaseletter=Lt modifierletter=Lm"
        " otherletter=Lo mark=M combiningmark=M nonspacingmark=Mn spacingmark=Mc enclosingmark=Me"
        " number=N decimalnumber=Nd digit=Nd letternumber=Nl othernumber=No punctuation=P punct=P"
        " connectorpunctuation=Pc dashpunctuation=Pd openpunctuation=Ps closepunctuation=Pe"
        " initialpunctuation=Pi finalpunctuation=Pf otherpunctuation=Po symbol=S mathsymbol=Sm"
        " currencysymbol=Sc modifiersymbol=Sk othersymbol=So separator=Z spaceseparator=Zs"
        " lineseparator=Zl paragraphseparator=Zp other=C control=Cc format=Cf privateuse=Co",
    )
)
# Characters after a backslash, by their meaning.
_ESCAPE = re.compile(
    r"(?P<set>[dDwW])|(?P<space>[sS])|(?P<anchor>[AzZbB])|(?P<itself>\W)"
    r"|(?P<null>0)(?![0-9])|(?P<control>[fnrtv])|c(?P<letter>[A-Za-z])"
    r"|x(?P<two>[0-9A-Fa-f]{2})|u\{(?P<code>[0-9A-Fa-f]{1,8})\}"
    r"|u(?P<high>[Dd][89ABab][0-9A-Fa-f]{2})\\u(?P<low>[Dd][C-Fc-f][0-9A-Fa-f]{2})"
    r"|u(?P<four>[0-9A-Fa-f]{4})"
    r"|(?P<sign>[pP])\{(?:(?P<key>gc|General_Category|sc|Script)=)?(?P<property>[A-Za-z_]+)\}"
)
_REPEAT = re.compile(r"(?:([*+?])|\{([0-9]+)(,?)([0-9]*)\})\??")  # lazy: it matches the same texts
_GROUP = re.compile(r"\?(?::|P?<[^\W\d]\w*>|i\))?")


class BadPattern(ValueError):
    """It is not a pattern, or RE2 cannot express it; the message says why."""


class Pattern:
    """A compiled pattern; `size` is the size of its programs in instructions. Thread-safe."""

    def __init__(self, parts: list[tuple[bool, Any]]) -> None:
        self._parts = parts
        self.size: int = sum(part.programsize for _, part in parts)

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in a text; raises `TooMuchWork` if that takes too long."""
        try:
            data = text.encode()
        except UnicodeEncodeError:  # halves of surrogate pairs, which JSON can have
            data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        spend()
        cost = _COST * self.size * len(data)
        if cost > 0.01:
            afford(cost)
        return all((part.search(data) is not None) is wanted for wanted, part in self._parts)


@lru_cache(maxsize=_KEPT)
def compiled(pattern: str) -> Pattern:
    """Compiles a pattern; raises `BadPattern` if it cannot be used."""
    if len(pattern) > _MAX_LENGTH:
        raise BadPattern(f"it is longer than {_MAX_LENGTH} characters")
    translation = _Translation(pattern)
    parts = [(True, _compile(translation.whole))]
    parts += [(wanted, _compile(text)) for wanted, text in translation.conditions]
    return Pattern(parts)


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        # Not its own `compile`, which has another cache, of 128 patterns.
        return re2._Regexp(pattern, options)
    except re2.error as exc:
        words = exc.args[0] if exc.args else b""
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        if "too large" in text or "repetition" in text:
            text = "its repetitions multiply to more than is run here"
        raise BadPattern(text) from None


class _Atom(NamedTuple):
    text: str
    repeatable: bool = True


class _Translation:
    """A pattern in the syntax of RE2.

    Attributes:
        whole: The pattern, without the lookaheads at its beginning.
        conditions: Those lookaheads, as patterns, and whether they must match.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self.conditions: list[tuple[bool, str]] = []
        self._split = False
        flags = "(?i)" if pattern.startswith("(?i)") else ""
        self._at = len(flags)
        anchor = next((a for a in ("^", r"\A") if pattern.startswith(a, self._at)), "")
        self._at += len(anchor)
        while pattern.startswith(("(?=", "(?!"), self._at):
            wanted = pattern[self._at + 2] == "="
            self._at += 3
            body = self._alternatives(1)
            self._expect(")")
            if self._at < len(pattern) and pattern[self._at] in "*+?{":
                raise BadPattern("a lookaround is repeated")
            if not anchor:
                raise BadPattern(_LOOKAROUND)
            self.conditions.append((wanted, f"{flags}^(?:{body})"))
        rest = self._alternatives(0)
        if self._at < len(pattern):
            raise BadPattern("a ) without its (")
        if self.conditions and self._split:
            raise BadPattern(_LOOKAROUND)
        self.whole = flags + ("^" if anchor else "") + rest

    def _alternatives(self, depth: int) -> str:
        """Translates up to a closing bracket, or to the end."""
        if depth > _MAX_DEPTH:
            raise BadPattern(f"it is nested more than {_MAX_DEPTH} deep")
        parts: list[str] = []
        split = False
        while self._at < len(self._pattern):
            character = self._pattern[self._at]
            if character == ")":
                break
            if character == "|":
                split = True
                self._at += 1
                parts.append("|")
                continue
            atom = self._atom(depth)
            parts.append(self._repeated(atom))
        self._split = split  # of the outermost one, in the end
        return "".join(parts)

    def _atom(self, depth: int) -> _Atom:
        character = self._pattern[self._at]
        self._at += 1
        if character == "(":
            return self._group(depth)
        if character == "[":
            return _Atom(self._class())
        if character == "\\":
            return self._escape(within=False)
        if character == ".":
            return _Atom(_ANY)
        if character in "^$":
            return _Atom(character, repeatable=False)
        if character in "*+?":
            raise BadPattern(f"nothing to repeat before {character!r}")
        return _Atom(_literal(character))

    def _group(self, depth: int) -> _Atom:
        pattern = self._pattern
        if pattern.startswith("?", self._at):
            found = _GROUP.match(pattern, self._at)
            kind = found.group() if found else "?"
            if kind == "?":
                if pattern.startswith(("?=", "?!", "?<=", "?<!"), self._at):
                    raise BadPattern(_LOOKAROUND)
                raise BadPattern(f"a group that is not known: ({pattern[self._at : self._at + 3]}")
            self._at += len(kind)
            if kind == "?i)":
                raise BadPattern("(?i) is for the beginning of a pattern")
        body = self._alternatives(depth + 1)
        self._expect(")")
        return _Atom(f"(?:{body})")

    def _expect(self, character: str) -> None:
        if not self._pattern.startswith(character, self._at):
            raise BadPattern("a ( without its )")
        self._at += 1

    def _repeated(self, atom: _Atom) -> str:
        found = _REPEAT.match(self._pattern, self._at)
        if found is None:
            return atom.text
        self._at = found.end()
        if not atom.repeatable:
            raise BadPattern("an anchor is repeated")
        if self._pattern.startswith(("*", "+"), self._at):
            raise BadPattern("a repetition is repeated")
        sign, first, comma, last = found.groups()
        if sign:
            return f"{atom.text}{sign}"
        least = _number(first)
        most = least if not comma else _number(last) if last else None
        return _times(atom.text, least, most)

    def _class(self) -> str:
        pattern = self._pattern
        parts: list[str] = []
        inverse = pattern.startswith("^", self._at)
        self._at += inverse
        while True:
            if self._at >= len(pattern):
                raise BadPattern("a [ without its ]")
            character = pattern[self._at]
            self._at += 1
            if character == "]":
                break
            if character == "\\":
                parts.append(self._escape(within=True).text)
            elif character == "-":
                # In RE2 a hyphen without a range must be escaped, as after a class: [\w-.]
                outer = not parts or pattern.startswith("]", self._at)
                if outer or _SINGLE.fullmatch(parts[-1]) is None:
                    parts.append(r"\-")
                else:
                    parts.append(self._range(parts.pop()))
            else:
                parts.append(_literal(character))
        if not parts:  # ECMA-262: [] matches nothing, [^] anything
            parts, inverse = [r"\x00-\x{10ffff}"], not inverse
        return f"[{'^' if inverse else ''}{''.join(parts)}]"

    def _range(self, first: str) -> str:
        character = self._pattern[self._at : self._at + 1]
        self._at += 1
        if not character:
            raise BadPattern("a [ without its ]")
        last = self._escape(within=True).text if character == "\\" else _literal(character)
        if _SINGLE.fullmatch(last) is None:
            return rf"{first}\-{last}"  # [a-\d]: as without the flag `u`
        return f"{first}-{last}"

    def _escape(self, *, within: bool) -> _Atom:
        found = _ESCAPE.match(self._pattern, self._at)
        if found is None:
            raise BadPattern(_what_is_wrong_after_a_backslash(self._pattern[self._at :][:1]))
        self._at = found.end()
        kind = str(found.lastgroup)
        text = found.group(kind)
        if kind == "set":
            return _Atom("\\" + text)
        if kind == "space":
            members = _SPACE if text == "s" else _NO_SPACE
            return _Atom(members if within else f"[{members}]")
        if kind == "property":
            if found["key"] not in ("sc", "Script"):
                text = _CATEGORIES.get(text.replace("_", "").lower(), text)
            return _Atom(rf"\{found['sign']}{{{text}}}")
        if kind == "anchor" and not within:
            return _Atom(_ANCHORS[text], repeatable=False)
        if kind == "anchor":
            if text == "b":
                return _Atom(_code(8))
            raise BadPattern(rf"\{text} means nothing in brackets")
        if kind == "itself":
            return _Atom(_literal(text))
        if kind == "control":
            return _Atom(_code(_CONTROLS[text]))
        if kind == "letter":
            return _Atom(_code(ord(text) % 32))
        if kind == "low":
            high = 0x10000 + ((int(found["high"], 16) - 0xD800) << 10)
            return _Atom(_code(high + int(text, 16) - 0xDC00))
        return _Atom(_code(int(text, 16)))


def _what_is_wrong_after_a_backslash(character: str) -> str:
    if not character:
        return "it ends with a backslash"
    if character.isdecimal() or character == "k":
        return "it has a backreference, which takes an engine that backtracks"
    if character in "pP":
        return rf"\{character} without a property in braces"
    if character in "xuc":
        return rf"\{character} is not followed by what belongs there"
    return rf"\{character} means nothing"


# One character in a class, in the syntax of RE2.
_SINGLE = re.compile(r"\\x\{[0-9a-f]+\}|\w")
_LOOKAROUND = (
    "it looks ahead or behind, which takes an engine that backtracks; only a pattern that begins"
    " with ^(?=...) or ^(?!...) may, if it has no | outside of brackets"
)


def _literal(character: str) -> str:
    if character.isascii() and (character.isalnum() or character == "_"):
        return character
    return _code(ord(character))


def _code(code: int) -> str:
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise BadPattern("it has half of a surrogate pair, or what is no character")
    return rf"\x{{{code:x}}}"


def _number(text: str) -> int:
    number = int(text) if len(text) < 10 else _MAX_REPEAT + 1
    if number > _MAX_REPEAT:
        raise BadPattern(f"it repeats something more than {_MAX_REPEAT} times")
    return number


def _times(text: str, least: int, most: int | None) -> str:
    """A repetition, in parts that RE2 accepts."""
    if most is not None and most < least:
        raise BadPattern("a repetition ends before it begins")
    parts = []
    while least > _RE2_REPEAT:
        parts.append(f"{text}{{{_RE2_REPEAT}}}")
        least -= _RE2_REPEAT
        most = None if most is None else most - _RE2_REPEAT
    if most is None:
        parts.append(f"{text}{{{least},}}")
    else:
        first = min(most, _RE2_REPEAT)
        parts.append(f"{text}{{{least},{first}}}")
        most -= first
        while most > 0:
            parts.append(f"{text}{{0,{min(most, _RE2_REPEAT)}}}")
            most -= _RE2_REPEAT
    return parts[0] if len(parts) == 1 else "(?:" + "".join(parts) + ")"
