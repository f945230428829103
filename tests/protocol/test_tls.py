from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restsock.protocol import TLS
from tests.tls_pair import contexts, tls_ends

BODY = bytes(range(256)) * 200  # four records


def shake(here: TLS, there: TLS) -> None:
    """Does both handshakes, and leaves nothing under way."""
    done = [False, False]
    for _ in range(10):
        for number, (end, other) in enumerate(((here, there), (there, here))):
            done[number] = done[number] or end.handshake()
            if data := end.data_to_send():
                other.receive_data(data)
    assert all(done)
    assert here.read() == there.read() == b""


def pair(*, close_required: bool = False) -> tuple[TLS, TLS]:
    here, there = tls_ends(close_required=close_required)
    shake(here, there)
    return here, there


def drain(end: TLS) -> bytes:
    return b"".join(iter(end.read, b""))


def test_bytes_cross_both_ways() -> None:
    here, there = pair()
    for end, other in ((here, there), (there, here)):
        end.send_data(BODY)
        assert end.outgoing.pending
        data = end.data_to_send()
        assert not end.outgoing.pending
        assert BODY[:100] not in data
        other.receive_data(data)
        assert drain(other) == BODY
        assert not other.ended


@given(st.lists(st.integers(1, 20_000), max_size=20))
def test_any_cut_of_the_records_gives_the_same_bytes(sizes: list[int]) -> None:
    here, there = pair()
    here.send_data(BODY)
    here.send_data(b"more")
    data = here.data_to_send()
    found = b""
    for size in sizes:
        piece, data = data[:size], data[size:]
        if piece:
            there.receive_data(piece)
            found += drain(there)
    if data:
        there.receive_data(data)
    assert found + drain(there) == BODY + b"more"


def test_half_a_record_gives_nothing_yet() -> None:
    here, there = pair()
    here.send_data(b"x" * 100)
    data = here.data_to_send()
    there.receive_data(data[:-1])
    assert there.read() == b""
    assert not there.ended
    there.receive_data(data[-1:])
    assert there.read() == b"x" * 100


def test_close_notify_ends_the_bytes() -> None:
    here, there = pair(close_required=True)
    here.send_data(b"last")
    here.close()
    here.close()
    there.receive_data(here.data_to_send())
    assert there.read() == b"last"
    assert there.read() == b""
    assert there.ended
    there.receive_data(b"")
    assert there.read() == b""


@pytest.mark.parametrize("close_required", [False, True])
def test_an_end_without_close_notify(close_required: bool) -> None:
    here, there = pair(close_required=close_required)
    here.send_data(b"last")
    there.receive_data(here.data_to_send())
    there.receive_data(b"")
    assert there.read() == b"last"
    if close_required:
        with pytest.raises(ssl.SSLError):
            there.read()
    else:
        assert there.read() == b""
        assert there.ended


def test_a_changed_record_is_an_error_and_what_came_before_is_not_lost() -> None:
    here, there = pair()
    here.send_data(b"whole")
    whole = here.data_to_send()
    here.send_data(b"changed")
    changed = bytearray(here.data_to_send())
    changed[-1] ^= 1
    there.receive_data(whole + changed)
    assert there.read() == b"whole"
    with pytest.raises(ssl.SSLError):
        there.read()
    assert there.outgoing.pending  # an alert
    there.close()  # harmless


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", b"\x00" * 100, b""])
def test_what_is_no_tls_ends_the_handshake(data: bytes) -> None:
    _, there = tls_ends()
    there.receive_data(data)
    with pytest.raises(ssl.SSLError):
        there.handshake()


def test_a_certificate_for_somebody_else_is_not_accepted() -> None:
    here, there = contexts()
    dialer = TLS(here, server_hostname="other")
    listener = TLS(there, server_side=True)
    assert not dialer.handshake()
    listener.receive_data(dialer.data_to_send())
    assert not listener.handshake()
    dialer.receive_data(listener.data_to_send())
    with pytest.raises(ssl.SSLCertVerificationError):
        dialer.handshake()
    # And the listener is told.
    listener.receive_data(dialer.data_to_send())
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        listener.handshake()


def test_what_the_ssl_module_knows() -> None:
    here, there = pair()
    assert here.object.version() in ("TLSv1.2", "TLSv1.3")
    assert here.object.getpeercert()
    assert there.object.getpeercert() is None
    assert here.context is contexts()[0]


@given(st.binary(min_size=1, max_size=300))
def test_arbitrary_bytes_raise_only_ssl_errors(data: bytes) -> None:
    _, there = pair()
    there.receive_data(data)
    try:
        drain(there)
    except ssl.SSLError:
        pass


def test_a_peer_that_takes_no_answer_gets_a_bounded_number() -> None:
    """Key updates that ask for one in return: nothing but what is read makes them due."""
    dialer, _ = tls_ends()

    class Asked:
        def read(self, size: int) -> bytes:
            dialer.outgoing.write(bytes(27))
            raise ssl.SSLWantReadError

    dialer.object = Asked()  # type: ignore[assignment]
    for _ in range(2000):  # they leave
        assert dialer.read() == b""
        assert len(dialer.data_to_send()) == 27
    with pytest.raises(ssl.SSLError, match="takes none"):
        for _ in range(1000):
            dialer.read()
    assert len(dialer.data_to_send()) < 20_000
