"""`Contract`: a document, and how strictly messages are validated against it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cached_property
from os import PathLike
from typing import Any, TypeAlias

from restsock.openapi.document import (
    SECONDS,
    Document,
    Match,
    NoSuchMethod,
    NoSuchPath,
    Problem,
    load,
    problem,
)

from ._divergence import misread
from ._validator import Validator

__all__ = ["MAX_BODY", "Contract", "ContractLike", "Refused"]

MAX_BODY = 1024 * 1024
"""The default of the largest body that is validated, in bytes."""


class Refused(Exception):  # a result more than an error
    """A request that is not for one of the document's operations.

    Attributes:
        status: The status with which a server answers.
        problem: The reason.
        allowed: With 405, the methods that the path has.
    """

    def __init__(self, status: int, problem: Problem, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(problem["detail"])
        self.status = status
        self.problem = problem
        self.allowed = allowed


class Contract:
    """A document, and how strictly calls are validated against it.

    ::

        contract = Contract("petstore.yaml", responses=0.1)
        session.mount("http://edge-1/", server.adapter("edge-1", openapi=contract))

    A request is validated before anything is sent: path, method, parameters, media type and body. A
    response is validated when its head has arrived: status, media type, header fields; and its
    body, unless the call streams it. Bodies that are sent in pieces or are larger than `max_body`
    are not validated.

    It may be used for any number of peers. A document on the peer is fetched with the first call,
    and kept as long as the adapter. An adapter for all peers (`suffix=`) keeps the documents of the
    1024 peers that were called last.

    Args:
        spec: A file name, a mapping, or a `Document`; or a path on the peer, which begins with `/`
            (pass a file with such a name as a `pathlib.Path`); or `True`, to look for the document
            on the peer where frameworks put it.
        requests: Whether requests are validated.
        responses: Whether responses are validated, or the proportion of them, between 0 and 1.
        unknown_paths: `"refuse"` refuses calls to paths that are not in the document; `"pass"` does
            not validate them.
        max_body: The largest body that is validated, in bytes.
        max_time: Seconds of processor time for the validation of one message. A message that takes
            more violates the contract.
        chance: Returns random numbers in [0, 1), for the proportion.

    Raises:
        SpecError: The document cannot be used.
        ValueError: A number or a choice is out of range.
    """

    def __init__(
        self,
        spec: str | PathLike[str] | Mapping[str, Any] | Document | bool,
        *,
        requests: bool = True,
        responses: bool | float = True,
        unknown_paths: str = "refuse",
        max_body: int = MAX_BODY,
        max_time: float = SECONDS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.requests = requests
        self.share = float(responses)
        self.max_body = max_body
        self.max_time = max_time
        self._unknown_paths = unknown_paths
        self._chance = chance
        if not 0 <= self.share <= 1:
            raise ValueError(f"responses is a truth value or a share from 0 to 1, not {responses}")
        if unknown_paths not in ("refuse", "pass"):
            raise ValueError(f"unknown_paths is 'refuse' or 'pass', not {unknown_paths!r}")
        if max_body < 0:
            raise ValueError(f"max_body must not be negative, not {max_body}")
        if not max_time > 0:
            raise ValueError(f"max_time must be positive, not {max_time}")
        if spec is False:
            raise ValueError("openapi is True, to look for the document on the peer, or None")
        self.where: str | None = None
        self.document: Document | None = None
        if isinstance(spec, str) and spec.startswith("/"):
            self.where = spec
        elif not isinstance(spec, bool):
            self.document = load(spec)

    @cached_property
    def validator(self) -> Validator | None:
        """The validator of the document, for all peers; `None` if each peer has its own."""
        return None if self.document is None else Validator(self.document, seconds=self.max_time)

    def sampled(self) -> bool:
        """Whether to validate the next response."""
        return self.share > 0 and (self.share >= 1 or self._chance() < self.share)

    def find(self, document: Document, method: str, path: str) -> Match | None:
        """The operation of a request; `None` if the request is not validated.

        Raises:
            Refused: The request is not allowed.
        """
        match = None
        try:
            match = document.match(method, path)
        except NoSuchPath:
            if self.requests and path != "*" and self._unknown_paths == "refuse":
                raise Refused(404, problem("path", "the contract has no such path")) from None
        except NoSuchMethod as exc:
            if self.requests and method != "OPTIONS":
                detail = f"the contract has {', '.join(exc.allowed)} for this path, not {method}"
                raise Refused(405, problem("method", detail), exc.allowed) from None
        if self.requests and misread(document, method, match and match.operation, path):
            detail = "servers read this path differently: an encoded / or a ; in it, or dots"
            raise Refused(400, problem("path", detail))
        return match


ContractLike: TypeAlias = "Contract | str | PathLike[str] | Mapping[str, Any] | Document | bool"
"""What `openapi=` takes: an OpenAPI document in any form, or a `Contract` of it."""
