"""Validation of messages against a document: how they are read, checked, and on which thread."""

from __future__ import annotations

from ._contract import MAX_BODY, Contract, ContractLike, Refused
from ._divergence import misleads, misread, takes_matrix
from ._plans import BodyPlan, content_type_of
from ._threads import Job, Threads, beside_the_loop
from ._validator import Validator

__all__ = [
    "MAX_BODY",
    "BodyPlan",
    "Contract",
    "ContractLike",
    "Job",
    "Refused",
    "Threads",
    "Validator",
    "beside_the_loop",
    "content_type_of",
    "misleads",
    "misread",
    "takes_matrix",
]
