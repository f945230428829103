"""Makes the request of `restsock call`, sends it, and writes its response."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from restsock._exceptions import RequestValidationError, SpecError
from restsock.protocol import TOKEN

from ._exit_codes import ExitCode
from ._failures import Failure
from ._http import Request, open_response
from ._items import Items, read_body
from ._pretty import Style, is_json, prettied
from ._traffic import percentiles

if TYPE_CHECKING:
    import requests

    from ._hub_address import HubAddress
    from ._output import Output

__all__ = ["as_curl", "make_request", "send", "send_repeatedly"]

_PART = 64 * 1024


def make_request(
    hub: HubAddress,
    name: str,
    path: str,
    items: Items,
    method: str | None,
    data: str | None,
    openapi: Path | None,
) -> Request:
    """Makes a request of what was written on the command line.

    Raises:
        UsageError: That contradicts itself, or does not fit the operation.
        Failure: There is no such operation.
    """
    headers = [("Restsock-Peer", quote(name, safe="!$&'()*+,;=:@-._~"))]
    body = items.body if data is None else read_body(data)
    if openapi is not None and not path.startswith("/"):
        if method is not None:
            raise click.UsageError("-X: an operation has its method from the document")
        method, path, more, body = _operation(hub, openapi, path, items, body)
        headers += more
    elif items.data:
        if body is not None:
            raise click.UsageError("a body of -d or @file, and one of key=value: give one of them")
        body = json.dumps(items.data).encode()
        headers += [("Content-Type", "application/json"), ("Accept", "application/json, */*")]
    if items.query:
        path += ("&" if "?" in path else "?") + urlencode(items.query)
    given = {key.lower() for key, _ in items.headers}
    headers = [one for one in headers if one[0].lower() not in given] + items.headers
    method = (method or ("GET" if body is None else "POST")).upper()
    for what, token in (
        ("a method", method),
        *(("the name of a field", key) for key, _ in headers),
    ):
        if not token.isascii() or not TOKEN.fullmatch(token.encode()):
            raise click.UsageError(f"{token!r} is not {what} of HTTP")
    return Request(name, method, f"{hub.http_url}/{path.removeprefix('/')}", headers, body)


def _operation(
    hub: HubAddress, openapi: Path, name: str, items: Items, body: bytes | None
) -> tuple[str, str, list[tuple[str, str]], bytes | None]:
    """Method, path, header fields and body of a call of an operation."""
    import requests

    from restsock.openapi import APIClient, Contract, UnknownOperation, load

    arguments: dict[str, Any] = dict(items.data)
    try:
        contract = Contract(load(openapi), requests=False, responses=False)
        api = APIClient(requests.Session(), contract, base_url=f"{hub.http_url}/")
        operation = api.operation(name)
        if "body" in operation.__signature__.parameters and "body" not in arguments:
            names = set(operation.__signature__.parameters)
            members = {key: arguments.pop(key) for key in [*arguments] if key not in names}
            if body is not None or members:
                arguments["body"] = members if body is None else json.loads(body)
        call = operation.prepare(**arguments)
    except UnknownOperation as exc:
        raise click.UsageError(str(exc)) from None
    except RequestValidationError as exc:
        raise click.UsageError(str(exc)) from None
    except SpecError as exc:
        raise Failure(f"--openapi: {exc}") from None
    content = call.body
    if not (content is None or isinstance(content, bytes)):
        raise click.UsageError("an operation whose body is sent in pieces cannot be called here")
    fields = [(_text(key), _text(value)) for key, value in call.fields()]
    return call.method, call.target, fields, content


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def as_curl(request: Request, hub: HubAddress) -> str:
    """The same request for curl, which reads the token from where it is: it is not shown."""
    words = ["curl", "-X", request.method, request.url]
    for name, value in request.headers:
        words += ["-H", f"{name}: {value}"]
    if request.body is not None:
        words += ["--data-binary", request.body.decode("utf-8", "replace")]
    if hub.ca is not None:
        words += ["--cacert", str(hub.ca)]
    line = shlex.join(words)
    if hub.token_file is not None:
        line += f' -H "Authorization: Bearer $(cat {shlex.quote(str(hub.token_file))})"'
    elif hub.token is not None:
        line += ' -H "Authorization: Bearer $RESTSOCK_TOKEN"'
    return line


def send(
    request: Request,
    hub: HubAddress,
    output: Output,
    *,
    timeout: float,
    target: Path | None,
    include: bool,
    stream: bool,
    download: bool,
    style: Style,
) -> int:
    """Sends a request, and writes its response; returns the exit code.

    Raises:
        Failure: There was no response of the peer.
    """
    begun = time.monotonic()
    with open_response(request, hub, timeout) as response:
        kind = response.headers.get("Content-Type", "")
        if output.as_json:
            output.json(
                {
                    "status": response.status_code,
                    "reason": response.reason,
                    "headers": list(response.headers.items()),
                    "body": response.text,
                    "seconds": round(time.monotonic() - begun, 6),
                }
            )
            return _exit_code(response)
        if include:
            _write_head(response, output, style)
        if download and target is None:
            target = _file_name(response, request.url)
        if target is not None:
            _write_file(response, target, output, progress=download)
        else:
            as_it_comes = stream or kind.startswith("text/event-stream")
            _write_body(response, stream=as_it_comes, style=style if is_json(kind) else Style())
        return _exit_code(response)


def _exit_code(response: requests.Response) -> int:
    return ExitCode.OK if response.status_code < 400 else ExitCode.FAILURE


def _write_head(response: requests.Response, output: Output, style: Style) -> None:
    def painted(text: str, color: str) -> str:
        return click.style(text, fg=color) if style.colors else text

    line = f"HTTP/1.1 {response.status_code} {response.reason}"
    output.data(painted(line, "green" if response.status_code < 400 else "red"))
    for name, value in response.headers.items():
        output.data(f"{painted(name, 'cyan')}: {value}")
    output.data("")


def _write_body(response: requests.Response, *, stream: bool, style: Style) -> None:
    out = sys.stdout.buffer
    parts = _arriving(response) if stream else response.iter_content(_PART)
    if style != Style() and not stream:
        parts = prettied(parts, response.encoding or "utf-8", style)
    newline = True
    for part in parts:
        if sys.stdout.isatty() and b"\0" in part:
            raise Failure("the body is binary", "write it to a file with -o FILE, or --download")
        out.write(part)
        if stream:
            out.flush()
        newline = part.endswith(b"\n")
    if sys.stdout.isatty() and not newline:
        out.write(b"\n")
    out.flush()


def _arriving(response: requests.Response) -> Iterator[bytes]:
    """The parts of a body as they come, however small."""
    while part := response.raw.read1(_PART, decode_content=True):
        yield part


def _write_file(
    response: requests.Response, target: Path, output: Output, *, progress: bool
) -> None:
    size = response.headers.get("Content-Length")
    total = int(size) if size is not None and "Content-Encoding" not in response.headers else None
    try:
        with target.open("wb") as file, _bar(total, output, progress) as advance:
            for part in response.iter_content(_PART):
                file.write(part)
                advance(len(part))
            written = file.tell()
    except OSError as exc:
        if exc.filename is None:
            raise
        raise Failure(f"cannot write {target}: {exc.strerror}") from None
    output.say(f"{written} bytes in {target}")


@contextmanager
def _bar(total: int | None, output: Output, progress: bool) -> Iterator[Any]:
    """A progress bar on stderr, if that is a terminal; gives what moves it on."""
    if not progress or output.quiet or not sys.stderr.isatty():
        yield lambda nbytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True, no_color=not output.color)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda nbytes: bar.advance(task, nbytes)


def _file_name(response: requests.Response, url: str) -> Path:
    """A name for a file in this folder that is not there yet: the response's, or the URL's."""
    told = re.search(r'filename="?([^";]+)', response.headers.get("Content-Disposition", ""))
    name = told[1] if told else url.partition("?")[0].rpartition("/")[2]
    # Only the last part: a peer must not choose the drive, the folder, or a file that is hidden.
    name = re.split(r"[/\\:]", "".join(c for c in name if c.isprintable()))[-1]
    name = name.lstrip(". ").rstrip()[:200] or "download"
    path, number = Path(name), 1
    while path.exists():
        path = Path(f"{name}-{number}")
        number += 1
    return path


def send_repeatedly(
    request: Request, hub: HubAddress, output: Output, *, timeout: float, times: int
) -> int:
    """Sends a request several times over, one after the other, and writes how long they took.

    Raises:
        Failure: As for one request.
    """
    seconds: list[float] = []
    failed = 0
    for _ in range(times):
        begun = time.monotonic()
        with open_response(request, hub, timeout) as response:
            for _ in response.iter_content(_PART):
                pass
            failed += _exit_code(response)
        seconds.append(time.monotonic() - begun)
    p50, p95 = percentiles(seconds, 0.5, 0.95)
    values: Sequence[tuple[str, float]] = (
        ("min", min(seconds)),
        ("p50", p50),
        ("p95", p95),
        ("max", max(seconds)),
    )
    if output.as_json:
        output.json({"requests": times, "failed": failed, "seconds": dict(values)})
    else:
        words = "  ".join(f"{what} {value * 1000:.1f} ms" for what, value in values)
        output.data(f"{times} requests, {failed} failed  {words}")
    return ExitCode.FAILURE if failed else ExitCode.OK
