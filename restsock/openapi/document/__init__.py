"""An OpenAPI document: parsing, checking, limits on its work, and look-up of operations."""

from __future__ import annotations

from ._document import MAX_PEER_SIZE, PEER_SECONDS, Document, SpecLike, load, parse
from ._keywords import bounded
from ._media_types import Kind, best_of, charset_of, covers, essence_of, kind_of
from ._parameters import LOCATIONS, Parameter
from ._problems import MAX_ERRORS, Problem, did_you_mean, problem, schema_problems, summary
from ._routes import Match, NoSuchMethod, NoSuchPath, Operation
from ._schema import Schema
from ._work import SECONDS, TooMuchWork, spend, within

__all__ = [
    "LOCATIONS",
    "MAX_ERRORS",
    "MAX_PEER_SIZE",
    "PEER_SECONDS",
    "SECONDS",
    "Document",
    "Kind",
    "Match",
    "NoSuchMethod",
    "NoSuchPath",
    "Operation",
    "Parameter",
    "Problem",
    "Schema",
    "SpecLike",
    "TooMuchWork",
    "best_of",
    "bounded",
    "charset_of",
    "covers",
    "did_you_mean",
    "essence_of",
    "kind_of",
    "load",
    "parse",
    "problem",
    "schema_problems",
    "spend",
    "summary",
    "within",
]
