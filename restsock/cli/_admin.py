"""The admin API of a hub, for the verbs that use it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from restsock._addresses import is_loopback, split_url

from ._exit_codes import ExitCode
from ._failures import Failure
from ._hub_address import HubAddress

__all__ = ["Admin", "names_of_peers"]

_TIMEOUT = 10.0  # seconds
_PATIENCE = 0.3  # seconds of a person who waits for a completion


@dataclass(frozen=True)
class Admin:
    """An admin API, and the token for it.

    Attributes:
        url: Where it is.
        token: The token itself, if it is known.
        token_file: The file that holds it. Without both, on this machine, that of a hub of this
            user counts.
        ca: A file with the CAs to trust.
        timeout: Seconds for an answer.
    """

    url: str
    token: str | None = None
    token_file: Path | None = None
    ca: Path | None = None
    timeout: float = _TIMEOUT

    def get(self, path: str, **query: Any) -> Any:
        """Asks for something; `None` in the query is left out.

        Raises:
            Failure: There is no answer, or it is an error; the exit code says which.
        """
        return self._call("GET", path, query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """Changes something. Raises as `get`."""
        return self._call("POST", path, query, {} if body is None else body)

    def delete(self, path: str, **query: Any) -> None:
        """Ends something. Raises as `get`."""
        self._call("DELETE", path, query)

    def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All items of a list, of all its pages. Raises as `get`."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                return items

    def events(self, path: str, after: str) -> Iterator[dict[str, Any]]:
        """The data of server-sent events, from an id on, until the hub closes. Raises as `get`."""
        fields = {"Accept": "text/event-stream"}
        with self._open("GET", path, {"after": after}, None, fields, stream=True) as response:
            for line in response.iter_lines():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

    def members(self, name: str) -> list[dict[str, Any]]:
        """The connections of a name, or the one connection of an id. Raises as `get`."""
        try:
            found: list[dict[str, Any]] = self.get(f"names/{quote(name, safe='')}")["members"]
        except Failure as exc:
            if exc.code != ExitCode.NO_PEER:
                raise
            found = []
        if not found:
            try:
                found = [self.get(f"peers/{quote(name, safe='')}")]
            except Failure as exc:
                if exc.code != ExitCode.NO_PEER:
                    raise
        if not found:
            raise Failure(f"there is no peer {name!r}", "'restsock ls' shows all", ExitCode.NO_PEER)
        return found

    def _call(self, method: str, path: str, query: dict[str, Any], body: Any = None) -> Any:
        fields: dict[str, str] = {}
        with self._open(method, path, query, body, fields) as response:
            return response.json() if response.content else None

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: Any,
        fields: dict[str, str],
        *,
        stream: bool = False,
    ) -> Iterator[Any]:
        from ._http import explained, new_session

        hint = "is 'restsock hub' running? --admin says where"
        authorization = self._authorization
        with explained(f"the admin API at {self.url}", hint=hint):
            with new_session(self.url, authorization, self.ca) as session:
                response = session.request(
                    method,
                    f"{self.url.rstrip('/')}/api/v1/{path}",
                    params={key: value for key, value in query.items() if value is not None},
                    json=body,
                    headers=fields,
                    timeout=(self.timeout, None if stream else self.timeout),
                    verify=session.verify,
                    stream=stream,
                )
                with response:
                    if response.status_code >= 400:
                        raise _failure(response)
                    yield response

    @property
    def _authorization(self) -> str | None:
        """With the token given, or on this machine that which a hub of this user has written."""
        file = self.token_file
        try:
            host = split_url(self.url, "--admin", ("http", "https")).host
        except ValueError as exc:
            raise click.UsageError(str(exc)) from None
        if file is None and self.token is None and is_loopback(host):
            from restsock.hub import ADMIN_TOKEN, ConfigError, state_folder

            with suppress(ConfigError):  # this user has no folder
                own = state_folder() / ADMIN_TOKEN
                file = own if own.is_file() else None
        return HubAddress("", self.token, file).authorization


def _failure(response: Any) -> Failure:
    """What an error of the API means."""
    status = response.status_code
    try:
        detail = str(response.json()["detail"]).rstrip(".")
    except (ValueError, KeyError, TypeError):
        detail = response.reason
    if status in (401, 403):
        hint = "give the token of an administrator by --token-file or RESTSOCK_TOKEN"
        return Failure(f"the admin API refuses this token: {detail}", hint, ExitCode.REFUSED)
    if status == 404:
        return Failure(detail, "'restsock ls' shows who is there", ExitCode.NO_PEER)
    return Failure(f"the admin API answers {status}: {detail}")


def names_of_peers(default: str) -> list[str]:
    """Those that the hub of the environment has, or else the one at this URL.

    Returns:
        None where it does not answer at once.
    """
    url = os.environ.get("RESTSOCK_ADMIN") or default
    admin = Admin(url, os.environ.get("RESTSOCK_TOKEN"), timeout=_PATIENCE)
    try:
        page = admin.get("peers")
    except click.ClickException:
        return []
    return sorted({peer["name"] for peer in page["items"] if peer["name"] is not None})
