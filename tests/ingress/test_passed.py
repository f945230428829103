"""Who counts or logs requests is told of each, of those that the ingress refuses as well."""

from __future__ import annotations

import requests

import restsock.sync
from restsock.auth import BearerTokens
from restsock.ingress import Ingress, Passed


def test_requests_that_were_refused_are_told_of() -> None:
    told: list[Passed] = []
    access = BearerTokens({"t" * 32: "caller"})
    ingress = Ingress(access=access, on_passed=told.append)
    with restsock.sync.listen("127.0.0.1", 0, ingress=ingress) as server:
        url = server.url.replace("ws", "http")
        answers = [
            _mark_of(requests.get(url)),
            _mark_of(requests.get(url, headers={"Host": "edge-1.localhost"})),
        ]
    assert answers == [(404, "?0"), (401, "?0")]
    assert [(passed.name, passed.status) for passed in told] == [("", 404), ("edge-1", 401)]


def _mark_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers["Restsock-May-Have-Run"]
