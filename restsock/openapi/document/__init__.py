"""An OpenAPI document: read, checked, bounded in the work it makes, and searched for operations."""

from __future__ import annotations

from ._document import MAX_PEER_SIZE, PEER_SECONDS, Document, SpecLike, load, parse
from ._json import NotJSON, read_json
from ._keywords import as_bounded
from ._problems import MAX_ERRORS, Problem, problem, schema_problems, summary
from ._routes import Match, NoSuchMethod, NoSuchPath, Operation
from ._work import SECONDS, TooMuchWork, spend, within

__all__ = [
    "MAX_ERRORS",
    "MAX_PEER_SIZE",
    "PEER_SECONDS",
    "SECONDS",
    "Document",
    "Match",
    "NoSuchMethod",
    "NoSuchPath",
    "NotJSON",
    "Operation",
    "Problem",
    "SpecLike",
    "TooMuchWork",
    "as_bounded",
    "load",
    "parse",
    "problem",
    "read_json",
    "schema_problems",
    "spend",
    "summary",
    "within",
]
