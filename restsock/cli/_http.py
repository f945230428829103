"""Plain HTTP to a hub: what fails on the way there, and what the ingress answers by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests

from restsock._addresses import is_loopback

from ._exit_codes import ExitCode
from ._failures import Failure

if TYPE_CHECKING:
    from ._hub_address import HubAddress

__all__ = ["Request", "explained", "new_session", "open_response"]

_CONNECT = 10.0  # seconds
# The ingress puts it on what it answers by itself, and lets no peer send it.
_BY_INGRESS = "Restsock-May-Have-Run"


@dataclass
class Request:
    """A request to a peer.

    Attributes:
        name: The peer's.
        method: In capitals.
        url: At the ingress.
        headers: Without the token for the hub.
        body: `None` where there is none.
    """

    name: str
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None


def new_session(url: str, value: str | None, ca: Path | None) -> requests.Session:
    """A session that shows a token, and no password of a `.netrc`.

    Args:
        url: Whom it is for: this machine is asked through no proxy.
        value: Of the field Authorization; `None` sends none.
        ca: A file of CAs to trust instead of the system's.
    """
    session = requests.Session()
    session.trust_env = not is_loopback(urlsplit(url).hostname or "")

    def show_token(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if value is not None:
            request.headers["Authorization"] = value
        return request

    session.auth = show_token
    if ca is not None:
        session.verify = str(ca)
    return session


@contextmanager
def explained(what: str, *, hint: str, slow: str = "") -> Iterator[None]:
    """Turns what `requests` raises into a `Failure`.

    Args:
        what: Whom the request is for, in words.
        hint: What to do where that cannot be reached.
        slow: What to do where it takes too long.
    """
    try:
        yield
    except requests.exceptions.SSLError as exc:
        raise Failure(f"TLS with {what} fails: {_root(exc)}", "try: restsock doctor") from None
    except requests.exceptions.Timeout:
        raise Failure(f"{what} does not answer in time", slow, ExitCode.TIMEOUT) from None
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as exc:
        raise Failure(f"cannot reach {what}: {_root(exc)}", hint) from None
    except requests.exceptions.RequestException as exc:
        raise Failure(str(exc)) from None


def _root(error: BaseException) -> str:
    """The innermost reason, without the objects that urllib3 wraps it in."""
    inner: Any = error
    while True:
        below = getattr(inner, "reason", None) or next(
            (arg for arg in getattr(inner, "args", ()) if isinstance(arg, BaseException)), None
        )
        if not isinstance(below, BaseException):
            break
        inner = below
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
    text = text or str(inner).rpartition(": ")[2] or type(inner).__name__
    return re.sub(r"^\[Errno \d+\] ", "", text)


@contextmanager
def open_response(request: Request, hub: HubAddress, timeout: float) -> Iterator[requests.Response]:
    """Sends a request to a peer; gives its response, whose body has not been read.

    Args:
        request: To be sent.
        hub: Through whose ingress.
        timeout: Seconds for the head, and for each part of the body.

    Raises:
        Failure: There is none of the peer; the exit code says why.
    """
    headers: dict[str, bytes] = {}
    for name, text in request.headers:
        value = text.encode()  # str would have to be Latin-1
        headers[name] = b"%s, %s" % (headers[name], value) if name in headers else value
    with explained(
        f"the hub at {hub.http_url}",
        hint="is it running? try: restsock doctor",
        slow="allow more time with --timeout",
    ):
        with new_session(hub.http_url, hub.authorization, hub.ca) as session:
            response = session.request(
                request.method,
                request.url,
                headers=headers,
                data=request.body,
                timeout=(_CONNECT, timeout),
                allow_redirects=False,
                verify=session.verify,  # else a variable of the environment would win
                stream=True,
            )
            with response:
                if _BY_INGRESS in response.headers:
                    raise _refusal(response, request.name)
                yield response


def _refusal(response: requests.Response, name: str) -> Failure:
    """What an answer of the ingress itself means."""
    status = response.status_code
    if status == 404:
        hint = "'restsock ls' shows who is there; may this token call it?"
        return Failure(f"there is no peer {name!r}", hint, ExitCode.NO_PEER)
    if status == 503:
        return Failure(
            f"the peer {name!r} is not available now", "try again later", ExitCode.NO_PEER
        )
    if status in (401, 403):
        hint = "check --token-file or RESTSOCK_TOKEN"
        return Failure(f"the hub refuses this token: {status}", hint, ExitCode.REFUSED)
    if status == 504:
        return Failure(f"the peer {name!r} does not answer in time", "", ExitCode.TIMEOUT)
    detail = _detail(response)
    ran = response.headers[_BY_INGRESS] == "?1"
    hint = "the request may have run" if ran else "the request has not run"
    return Failure(f"the hub answers {status}: {detail}", hint)


def _detail(response: requests.Response) -> str:
    """The words of a problem (RFC 9457)."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason
