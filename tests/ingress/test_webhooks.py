"""Signatures of webhooks: right ones, and everything that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from restsock.auth import Refused
from restsock.ingress import Webhook

NOW = 1_800_000_000
SECRET = "s3cr3t-of-the-sender"
KEY = base64.b64encode(b"k" * 24).decode()
BODY = b'{"event": "push"}'

Fields = dict[str, str]


def digest(key: bytes, data: bytes) -> str:
    return hmac.new(key, data, hashlib.sha256).hexdigest()


def github(body: bytes = BODY, stamp: int = NOW, secret: str = SECRET) -> Fields:
    return {"X-Hub-Signature-256": f"sha256={digest(secret.encode(), body)}"}


def stripe(body: bytes = BODY, stamp: int = NOW, secret: str = SECRET) -> Fields:
    signature = digest(secret.encode(), b"%d." % stamp + body)
    return {"Stripe-Signature": f"t={stamp},v1={'0' * 64}, v1={signature},v0=x"}


def slack(body: bytes = BODY, stamp: int = NOW, secret: str = SECRET) -> Fields:
    signature = digest(secret.encode(), b"v0:%d:" % stamp + body)
    return {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": f"v0={signature}"}


def standard(body: bytes = BODY, stamp: int = NOW, secret: str = KEY) -> Fields:
    key = base64.b64decode(secret)
    signature = hmac.new(key, b"msg_1.%d." % stamp + body, hashlib.sha256).digest()
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(stamp),
        "Webhook-Signature": f"v1,AAAA v1a,x v1,{base64.b64encode(signature).decode()}",
    }


SCHEMES: dict[str, tuple[Callable[..., Fields], str, str]] = {
    "github": (github, SECRET, "another"),
    "stripe": (stripe, SECRET, "another"),
    "slack": (slack, SECRET, "another"),
    "standard": (standard, KEY, base64.b64encode(b"x" * 24).decode()),
}
each_scheme = pytest.mark.parametrize("scheme", SCHEMES)
with_a_time = pytest.mark.parametrize("scheme", ["stripe", "slack", "standard"])


def accepts(webhook: Webhook, fields: Fields, body: bytes = BODY) -> bool:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    try:
        webhook.check(headers, body)
    except Refused as refused:
        assert refused.status == 401  # noqa: PT017  # of one that may come, or not
        return False
    return True


def webhook(scheme: str) -> Webhook:
    return Webhook(scheme, SCHEMES[scheme][1], clock=lambda: NOW)


@each_scheme
def test_a_right_one_is_let_in(scheme: str) -> None:
    sign = SCHEMES[scheme][0]
    assert accepts(webhook(scheme), sign())
    assert accepts(webhook(scheme), sign(b""), b"")
    assert accepts(webhook(scheme), {name.upper(): value for name, value in sign().items()})


@each_scheme
def test_a_wrong_one_is_not(scheme: str) -> None:
    sign, _, another = SCHEMES[scheme]
    checked = webhook(scheme)
    assert not accepts(checked, sign(), BODY + b" ")
    assert not accepts(checked, sign(secret=another))
    assert not accepts(checked, {})
    for missing in sign():
        assert not accepts(checked, {n: v for n, v in sign().items() if n != missing})
        for value in ("", "sha256=", "v0=", "v1,", "\xff", "t=1,v1=", f"t={NOW}", "x" * 5000):
            assert not accepts(checked, {**sign(), missing: value})
    doubled = [(n.encode(), v.encode()) for n, v in sign().items()] * 2
    with pytest.raises(Refused):
        checked.check(doubled, BODY)


@with_a_time
@pytest.mark.parametrize(("away", "good"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_a_time_stamp_has_five_minutes(scheme: str, away: int, good: bool) -> None:
    sign = SCHEMES[scheme][0]
    assert accepts(webhook(scheme), sign(stamp=NOW + away)) is good


@with_a_time
def test_the_time_stamp_is_signed(scheme: str) -> None:
    old = SCHEMES[scheme][0](stamp=NOW - 10_000)
    fresh = {n: v.replace(str(NOW - 10_000), str(NOW)) for n, v in old.items()}
    assert not accepts(webhook(scheme), fresh)


def test_many_signatures_are_not_all_looked_at() -> None:
    right = stripe()["Stripe-Signature"].split("v1=")[2][:64]
    many = f"t={NOW}," + ",".join([f"v1={'0' * 64}"] * 10) + f",v1={right}"
    assert not accepts(webhook("stripe"), {"Stripe-Signature": many})


def test_where_the_secret_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert accepts(Webhook("github", file=file), github())
    monkeypatch.setenv("HOOK", SECRET)
    assert accepts(Webhook("github", env="HOOK"), github())
    assert accepts(Webhook("standard", f"whsec_{KEY}", clock=lambda: NOW), standard())
    monkeypatch.setenv("HOOK", " ")
    wrongs: list[dict[str, Any]] = [{}, {"env": "HOOK"}, {"env": "NO"}, {"secret": "a", "env": "A"}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"secret|variable"):
            Webhook("github", **wrong)
    with pytest.raises(OSError, match="nowhere"):
        Webhook("github", file=tmp_path / "nowhere")


@pytest.mark.parametrize("scheme", ["", "GitHub", "paypal"])
def test_what_is_no_scheme(scheme: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        Webhook(scheme, SECRET)


def test_secrets_of_standard_webhooks_are_base64() -> None:
    with pytest.raises(ValueError, match="base64") as error:
        Webhook("standard", "s3cr3t!")
    assert "s3cr3t" not in str(error.value)
    assert "s3cr3t" not in repr(Webhook("github", SECRET))
