"""How a client of plain HTTP is turned away before it has a connection."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from restsock._http_date import http_date
from restsock.connection import linger
from restsock.http1 import last_answer

if TYPE_CHECKING:
    from restsock.auth import Refused

__all__ = ["turn_away"]


async def turn_away(stream: trio.abc.Stream, received: bytes, refused: Refused) -> None:
    """Answers what it has asked, and says that the connection closes. Bound its time.

    No error is raised if the client has gone.

    Args:
        stream: to be closed afterwards, also when this is cancelled.
        received: what has come of the request.
        refused: the answer.
    """
    fields = b"".join(b"%s: %s\r\n" % field for field in refused.headers)
    head_only = received.lstrip(b"\r\n").startswith(b"HEAD ")
    text = f"{refused.text}\n"
    answer = last_answer(refused.status, http_date(), text, fields, head_only=head_only)
    with suppress(OSError, trio.BrokenResourceError):
        await stream.send_all(answer)
        await linger(stream)
