"""The authenticator for client certificates: their subject is the principal."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from restsock._principal import Principal

from ._credential_store import principal_from
from ._upgrade import Refused, Upgrade

__all__ = ["CertificateSubject"]

# What the ssl module calls the kinds of alternative names.
_ALTERNATIVES = frozenset(("DNS", "URI", "email", "IP Address"))


class CertificateSubject:
    """Recognizes dialers by their client certificates.

        tls = restsock.tls.server(certificate="hub.pem", key="hub.key", client_ca="clients.pem")
        listen("0.0.0.0", 8443, tls=tls, auth=CertificateSubject())

    TLS has already verified them. Dialers without a certificate, or with an unknown one, are
    refused with 403. The principal has a claim `certificate_sha256`, the fingerprint in hexadecimal
    digits.

    Args:
        principals: principals, or their names, by subject; all others are refused. Without it each
            subject is the principal of that name, which may dial in under it and no other.
        field: the part of the certificate to use: a part of its subject, as the ssl module names it
            (`"commonName"`), or a kind of alternative name (`"DNS"`, `"URI"`, `"email"`).

    Raises:
        ValueError: a principal is not a right one.
    """

    waits = False

    def __init__(
        self,
        principals: Mapping[str, Principal | str | Mapping[str, Any]] | None = None,
        *,
        field: str = "commonName",
    ) -> None:
        self._field = field
        self._principals = (
            None
            if principals is None
            else {
                subject: principal_from(value, f"subject {subject!r}", subject)
                for subject, value in principals.items()
            }
        )

    def __call__(self, upgrade: Upgrade) -> Principal:
        """The principal of the certificate."""
        if upgrade.certificate is None:
            raise Refused(403, "A client certificate is needed.")
        names = set(_names(upgrade.certificate, self._field))
        if self._principals is not None:
            found = [self._principals[name] for name in names if name in self._principals]
        else:
            # Of several names none is the right one more than another.
            usable = all(name and name.isprintable() for name in names)
            found = [Principal(name) for name in names] if usable else []
        if len(found) != 1:
            raise Refused(403, f"The {self._field} of this certificate is not known here.")
        (principal,) = found
        digest = hashlib.sha256(upgrade.certificate_der or b"").hexdigest()
        return Principal(
            principal.name,
            may_register=principal.may_register,
            may_call=principal.may_call,
            claims={**principal.claims, "certificate_sha256": digest},
        )

    def __repr__(self) -> str:
        return f"CertificateSubject(field={self._field!r})"


def _names(certificate: Mapping[str, Any], field: str) -> Iterable[str]:
    if field in _ALTERNATIVES:
        for kind, value in certificate.get("subjectAltName", ()):
            if kind == field:
                yield value
        return
    for relative in certificate.get("subject", ()):
        for kind, value in relative:
            if kind == field:
                yield value
