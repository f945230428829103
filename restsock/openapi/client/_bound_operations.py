"""Operations that can be called: with a `requests.Session`, or with a `Requester`.

`_operations.py` makes the request of a call; here it is validated and sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode

import trio

from restsock._exceptions import ResponseValidationError
from restsock.connection import Requester, Response, fields_of
from restsock.openapi.checks import beside_the_loop
from restsock.protocol import scheme_of

from ._call_errors import ArgumentError, BadBody, failure_of
from ._help import docstring_of, signature_of

if TYPE_CHECKING:
    import requests

    from restsock.connection import StreamedResponse
    from restsock.protocol import Headers

    from ._contract import BoundContract
    from ._operations import Arguments, PreparedCall

__all__ = ["AsyncOperation", "BlockingOperation", "BoundOperation", "CallOptions"]

_Self = TypeVar("_Self", bound="BoundOperation")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a call, besides its arguments.

    Attributes:
        contract: The contract; `None` without validation.
        base_url: Scheme and authority; for an async operation only the scheme, or "".
        base_path: The base path, instead of the one from `servers`.
        timeout: Seconds, or a `timeout` of `requests`.
        headers: Additional header fields of each request.
        content_type: The content type of the body; `None` if it follows from the value.
    """

    contract: BoundContract | None
    base_url: str
    base_path: str | None
    timeout: Any
    headers: Mapping[str, str]
    content_type: str | None


class BoundOperation:
    """An operation that can be called. Made by `APIClient`; immutable, threads may share it.

    Its `__doc__` and `__signature__` are those of the contract, for `help()` and for editors.

    Attributes:
        id: Its `operationId`; `None` if the document has none.
        method: Its method, in capitals.
        path: Its path template.
    """

    def __init__(self, arguments: Arguments, options: CallOptions, transport: Any) -> None:
        self._arguments = arguments
        self._options = options
        self._transport = transport
        self.id = arguments.operation.id
        self.method = arguments.operation.method
        self.path = arguments.operation.path
        self.__name__ = self.__qualname__ = self.id or arguments.key
        self.__signature__ = signature_of(arguments)
        self.__doc__ = f"{self.__name__}{self.__signature__}\n\n{docstring_of(arguments)}"

    def using(
        self: _Self,
        *,
        timeout: Any = ...,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> _Self:
        """The same operation with other options; the keywords of a call are only parameters.

            api.uploadPhoto.using(timeout=60, content_type="image/png")(number=7, body=data)

        Args:
            timeout: Replaces the client's timeout; `None` is no timeout.
            headers: Added to the client's headers; they also override header parameters.
            content_type: The media type of the body, one of those in the contract.
        """
        options = self._options
        made = copy(self)
        made._options = replace(
            options,
            timeout=options.timeout if timeout is ... else timeout,
            headers={**options.headers, **(headers or {})},
            content_type=content_type or options.content_type,
        )
        return made

    def prepare(self, /, *args: Any, **arguments: Any) -> PreparedCall:
        """The request that a call with these arguments would send. Nothing is sent.

        Raises:
            ArgumentError: The arguments do not fit the operation.
        """
        key = self._arguments.key
        if args:
            names = ", ".join(f"{name}=" for name in self.__signature__.parameters)
            hint = f": {names}" if names else ""
            message = f"arguments are given by name{hint}"
            raise ArgumentError(message, operation=key, location="call")
        return self._arguments.call(
            arguments,
            headers=self._options.headers,
            content_type=self._options.content_type,
            base_path=self._options.base_path,
            supplied=self._supplied(),
        )

    def _supplied(self) -> frozenset[tuple[str, str]]:
        """The keys of parameters that the transport adds."""
        return frozenset()

    def _check(
        self, call: PreparedCall, fields: list[tuple[str | bytes, str | bytes]]
    ) -> object | None:
        """Validates a request; returns the `checks` for its response.

        Raises:
            RequestValidationError: The request violates the contract.
        """
        contract = self._options.contract
        if contract is None:
            return None
        return contract.check_call(self._arguments.base, call, fields)

    def _check_response(
        self, checks: object, status: int, headers: Headers, response: Any, body: bytes | None
    ) -> None:
        contract = self._options.contract
        assert contract is not None
        try:
            contract.check_response(checks, status, headers, body)
        except ResponseValidationError as exc:
            exc.response = response
            raise

    def __repr__(self) -> str:
        return f"<operation {self.__name__}: {self.method} {self.path}>"


class BlockingOperation(BoundOperation):
    """An operation, called over a `requests.Session`."""

    _transport: requests.Session

    def __call__(self, /, *args: Any, **arguments: Any) -> requests.Response:
        """Calls it and reads the whole response.

        Raises:
            ArgumentError: The call does not fit the operation. Nothing was sent.
            RequestValidationError: A value violates the contract. Nothing was sent.
            ResponseValidationError: The response violates the contract.
            OperationFailed: The status is 400 or more.
            requests.RequestException: As from the session; and what its adapters raise.
        """
        return self._send(self.prepare(*args, **arguments), stream=False)

    @contextmanager
    def stream(self, /, *args: Any, **arguments: Any) -> Iterator[requests.Response]:
        """Calls it; the block runs once the head has arrived, and its end closes the response.

            with api.feed.stream(every=0.1) as response:
                for line in response.iter_lines(): ...

        Raises:
            ArgumentError, OperationFailed, requests.RequestException: As for a call.
        """
        with self._send(self.prepare(*args, **arguments), stream=True) as response:
            yield response

    def _supplied(self) -> frozenset[tuple[str, str]]:
        session = self._transport
        names = {("header", name.lower()) for name in session.headers}
        names |= {("cookie", name) for name in session.cookies.keys()}  # noqa: SIM118  # of a jar
        names |= {("query", name) for name, _ in _params(session)}
        return frozenset(names)

    def _send(self, call: PreparedCall, *, stream: bool) -> requests.Response:
        session = self._transport
        body = call.body
        if isinstance(body, AsyncIterable):
            raise BadBody(
                "a requests.Session cannot send an async iterable", operation=self._arguments.key
            )
        url = self._options.base_url + call.target
        checks = None
        if not getattr(session.get_adapter(url), "has_contract", False):
            checks = self._check(*self._completed(call))
        # Through the jar of the session, so that its own cookies are sent, too. The jar keeps only
        # one cookie of a name, so those of the same name are joined.
        cookies: dict[str, str] = {}
        for name, value in call.cookies:
            cookies[name] = f"{cookies[name]}; {name}={value}" if name in cookies else value
        response = session.request(
            call.method,
            url,
            headers=call.headers,
            cookies=cookies or None,
            data=cast("Any", body),
            timeout=self._options.timeout,
            stream=stream,
        )
        if (status := response.status_code) >= 400:
            with response:
                content_type, content = response.headers.get("Content-Type", ""), response.content
            raise failure_of(self._arguments.key, status, content_type, content, response)
        if checks is not None and not response.history:
            self._check_answer(checks, response, stream=stream)
        return response

    def _completed(
        self, call: PreparedCall
    ) -> tuple[PreparedCall, list[tuple[str | bytes, str | bytes]]]:
        """A call with the parameters that the session adds."""
        session = self._transport
        own = {name.lower() for name in call.headers}
        taken = {name for name, _ in call.cookies}
        jar = [(name, value or "") for name, value in session.cookies.items() if name not in taken]
        fields = call.fields()
        fields += [item for item in session.headers.items() if item[0].lower() not in own]
        fields += [("Cookie", f"{name}={value}") for name, value in jar]
        if params := _params(session):
            more = urlencode(params, doseq=True)
            call = replace(call, path=call.path + ("&" if "?" in call.path else "?") + more)
        return call, fields

    def _check_answer(self, checks: object, response: requests.Response, *, stream: bool) -> None:
        contract = self._options.contract
        assert contract is not None
        fields = fields_of(response.headers.items())
        body = None
        try:
            if not stream and contract.needs_body(checks, response.status_code, fields):
                body = response.content
            self._check_response(checks, response.status_code, fields, response, body)
        except BaseException:
            response.close()
            raise


class AsyncOperation(BoundOperation):
    """An operation, called over a `Requester` on the trio loop."""

    _transport: Requester

    async def __call__(self, /, *args: Any, **arguments: Any) -> Response:
        """Calls it and reads the whole response.

        Raises:
            ArgumentError: The call does not fit the operation. Nothing was sent.
            RequestValidationError: A value violates the contract. Nothing was sent.
            ResponseValidationError: The response violates the contract.
            OperationFailed: The status is 400 or more.
            RestsockError: As from `Requester.request`; a retry is safe if `may_have_run` is false.

        If cancelled, the stream is reset and the peer's app learns of it.
        """
        call = self.prepare(*args, **arguments)
        checks = await self._checks(call)
        response = await self._transport.request(
            call.method,
            call.target,
            headers=call.fields(),
            body=_async_body(call),
            timeout=self._options.timeout,
            scheme=scheme_of(self._options.base_url),
        )
        await self._check_answer(checks, response, response.content)
        return response

    @asynccontextmanager
    async def stream(self, /, *args: Any, **arguments: Any) -> AsyncIterator[StreamedResponse]:
        """Calls it; the block runs once the head has arrived, and its end ends the exchange.

            async with api.feed.stream(every=0.1) as response:
                async for data in response: ...

        The client's timeout does not apply here: use `trio.fail_after`. If the block is left before
        the end of the body, or cancelled, the stream is reset.

        Raises:
            ArgumentError, OperationFailed, RestsockError: As for a call.
        """
        call = self.prepare(*args, **arguments)
        checks = await self._checks(call)
        async with self._transport.stream(
            call.method,
            call.target,
            headers=call.fields(),
            body=_async_body(call),
            scheme=scheme_of(self._options.base_url),
        ) as response:
            await self._check_answer(checks, response, None)
            yield response

    async def _checks(self, call: PreparedCall) -> object | None:
        if self._options.contract is None:
            return None
        return await self._in_thread(self._check, call, call.fields())

    async def _check_answer(
        self, checks: object, response: Response | StreamedResponse, content: bytes | None
    ) -> None:
        status, headers = response.status, response.headers
        if status >= 400:
            if not isinstance(response, Response):
                response = Response(status, headers, await response.read())
            content_type = response.header("content-type") or ""
            raise failure_of(self._arguments.key, status, content_type, response.content, response)
        if checks is not None:
            await self._in_thread(self._check_response, checks, status, headers, response, content)

    async def _in_thread(self, function: Callable[..., _Result], *args: Any) -> _Result:
        """Validates in a thread, since it would block the loop for about a millisecond."""
        assert self._options.contract is not None
        return await beside_the_loop(function, *args, seconds=self._options.contract.max_time)


def _params(session: requests.Session) -> list[tuple[str, Any]]:
    """The parameters that a session adds to each query."""
    params: Any = session.params
    if isinstance(params, Mapping):
        params = params.items()
    elif not isinstance(params, (list, tuple)):
        return []
    return [(str(name), value) for name, value in params]


async def _pieces(body: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Pieces that may block, those of a file for example, read in a thread."""
    while (piece := await trio.to_thread.run_sync(next, body, None)) is not None:
        yield piece


def _async_body(call: PreparedCall) -> bytes | AsyncIterable[bytes]:
    if call.body is None:
        return b""
    return call.body if isinstance(call.body, (bytes, AsyncIterable)) else _pieces(iter(call.body))
