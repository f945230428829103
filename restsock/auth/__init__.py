"""Who is at the other end: credentials for dialers, authenticators for listeners.

    connect("wss://hub.example/", auth=Bearer(file="/run/secrets/token"), ...)
    listen("0.0.0.0", 8443, auth=BearerTokens(file="/etc/hub/tokens.json"), ...)

- For `connect(auth=...)`: `Bearer`, `Basic`, or any function, async or not, that gives header
  fields. It is called for each attempt to connect.
- For `listen(auth=...)` and for the ingress: `BearerTokens`, `BasicUsers`, `CertificateSubject`,
  `Addresses`, `JWT`, `ForwardAuth`, several of them with `any_of` and `all_of`, or any function,
  async or not, that gets an `Upgrade` and gives a `Principal`. `None` refuses with 401, raising
  `Refused` with whatever status it has.

A function that is not async runs in a thread of its own, since it may wait. One that never does
may say so with an attribute `waits = False`, and is called on the loop. Functions that take too
long are given up with the deadline of the handshake, and delay no other dialer; one in a thread
cannot be stopped, and goes on there, but whatever it says then counts for nothing.

No secret is shown by any `repr`, log line or error text of restsock.

- `_upgrade`: what an authenticator gets and how it refuses.
- `_authorization`: the Authorization field, read strictly.
- `_credentials`: the dialer's.
- `_credential_store`, `_tokens`: secrets and whose they are, from a mapping, a variable or a file.
- `_certificates`: the subject of a client certificate. `_networks`: the address.
- `_jwt`, `_forward_auth`: what another server says; `_fetch` asks it.
- `_combined`: several authenticators as one.
"""

from __future__ import annotations

from restsock._principal import Principal

from ._authorization import Authorization, parse_authorization
from ._certificates import CertificateSubject
from ._combined import Combined, all_of, any_of, stores_of
from ._credential_store import CredentialStore
from ._credentials import Basic, Bearer, Credentials
from ._forward_auth import ForwardAuth
from ._jwt import JWT
from ._networks import Addresses
from ._scopes import SCOPES, scopes_of
from ._tokens import BasicUsers, BearerTokens
from ._upgrade import Answered, Authenticator, Refused, Upgrade

__all__ = [
    "JWT",
    "SCOPES",
    "Addresses",
    "Answered",
    "Authenticator",
    "Authorization",
    "Basic",
    "BasicUsers",
    "Bearer",
    "BearerTokens",
    "CertificateSubject",
    "Combined",
    "CredentialStore",
    "Credentials",
    "ForwardAuth",
    "Principal",
    "Refused",
    "Upgrade",
    "all_of",
    "any_of",
    "parse_authorization",
    "scopes_of",
    "stores_of",
]
