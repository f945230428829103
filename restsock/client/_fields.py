"""Header fields that a dialer adds to its opening handshake: fixed ones, and credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from restsock._exceptions import HandshakeError
from restsock.auth import Credentials
from restsock.connection import FieldsLike, call_user_function, failure_of, fields_of
from restsock.protocol import TOKEN, VALUE, reserved_in_upgrade

if TYPE_CHECKING:
    import asyncio

__all__ = ["check_fields", "check_headers", "credentials_of"]


async def credentials_of(
    auth: Credentials | None, loop: asyncio.AbstractEventLoop | None
) -> list[tuple[bytes, bytes]]:
    """Gets the credentials of this side, as header fields, for one attempt to dial.

    Args:
        auth: The `auth` argument of `connect`.
        loop: The asyncio loop to call it on, if any.

    Raises:
        HandshakeError: Getting them failed; a later attempt may succeed.
    """
    if auth is None:
        return []
    try:
        return check_headers(await call_user_function(auth, loop=loop))
    except Exception as exc:  # noqa: BLE001  # the user's code, and the next attempt may go better
        # Not chained: its message may contain the secret.
        raise HandshakeError(f"no credentials to dial with: {failure_of(exc)}") from None


def check_headers(headers: FieldsLike) -> list[tuple[bytes, bytes]]:
    """Returns the fields as bytes.

    Raises:
        ValueError: A field cannot be sent. The message does not repeat its value.
        TypeError: These are not header fields.
    """
    try:
        checked = fields_of(headers)
    except UnicodeEncodeError:
        raise ValueError("header fields must be latin-1 text or bytes") from None
    except (AttributeError, TypeError, ValueError):
        raise TypeError("header fields must be pairs of str or bytes") from None
    for field, value in checked:
        name = field.decode("latin-1")
        if not TOKEN.fullmatch(field):
            raise ValueError(f"not a header field name: {name!r}")
        # The value may be a secret, so it is not repeated.
        if not VALUE.fullmatch(value) or value != value.strip(b" \t"):
            raise ValueError(f"the value of the header field {name!r} cannot be sent")
        if reserved_in_upgrade(field):
            raise ValueError(f"the header field {name!r} is set by the upgrade itself")
    return checked


def check_fields(headers: FieldsLike, auth: Credentials | None) -> list[tuple[bytes, bytes]]:
    """The fields as bytes, next to which there is what makes others for each attempt.

    Raises:
        ValueError: As `check_headers`; or an Authorization field comes from both.
        TypeError: As `check_headers`; or `auth` is no function.
    """
    if auth is not None and not callable(auth):
        raise TypeError(f"auth must be a function, a Bearer or a Basic, not {type(auth).__name__}")
    fields = check_headers(headers)
    if auth is not None and any(field.lower() == b"authorization" for field, _ in fields):
        raise ValueError("an Authorization field comes from auth, or from headers, not from both")
    return fields
