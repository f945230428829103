"""Addresses: who calls from where."""

from __future__ import annotations

import pytest

from restsock import Principal
from restsock.auth import Addresses, Refused, Upgrade


def at(host: str) -> Upgrade:
    return Upgrade("/", [(b"host", b"hub")], host, 4711)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_that_are_let_in(host: str, name: str) -> None:
    auth = Addresses(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "fe80::/10"])
    assert auth(at(host)) == Principal(name)


@pytest.mark.parametrize(
    "host", ["11.0.0.1", "10.9.0.1", "::ffff:10.9.0.1", "2001:db9::1", "", "memory", "10.0.0"]
)
def test_all_others_are_not(host: str) -> None:
    with pytest.raises(Refused) as refused:
        Addresses(["10.0.0.0/8", "2001:db8::/32"], deny="10.9.0.0/16")(at(host))
    assert refused.value.status == 403


def test_they_may_all_be_one() -> None:
    lan = Principal("lan", may_register=["*"])
    assert Addresses("10.0.0.0/8", principal=lan)(at("10.0.0.1")) is lan
    assert Addresses("10.0.0.0/8", principal="lan")(at("10.0.0.1")) == Principal("lan")


@pytest.mark.parametrize("allow", [(), "", "10.0.0.1/8", "ten", ["10.0.0.0/8", "x"]])
def test_what_is_no_network(allow: str | list[str]) -> None:
    with pytest.raises(ValueError, match="network"):
        Addresses(allow)


def test_a_number_is_no_address() -> None:
    with pytest.raises(TypeError, match="allow= must be addresses and networks as text, not int"):
        Addresses([10])  # type: ignore[list-item]  # which would be 0.0.0.10


def test_it_never_waits() -> None:
    assert Addresses("10.0.0.0/8").waits is False
    assert "10.0.0.0/8" in repr(Addresses("10.0.0.0/8"))
