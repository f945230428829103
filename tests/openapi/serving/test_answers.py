"""What is said in place of an app."""

from __future__ import annotations

import json

from restsock.openapi.document._problems import MAX_ERRORS, problem
from restsock.openapi.serving._answers import answer_problem
from tests.openapi.serving.test_response_check import Outer


def test_a_body_is_a_problem_document() -> None:
    errors = [problem("query", "is required", name="limit")] * 50
    exchange = Outer()
    answer_problem(exchange, 400, "wrong", errors)
    status, data, trailers = exchange.said
    body = json.loads(data)
    assert (status, trailers) == (400, [])
    assert body["type"] == "about:blank"
    assert (body["title"], body["status"], body["detail"]) == ("Bad Request", 400, "wrong")
    assert len(body["errors"]) == MAX_ERRORS
    assert body["errors"][0] == {
        "in": "query",
        "name": "limit",
        "pointer": "#",
        "detail": "is required",
    }
    exchange = Outer()
    answer_problem(exchange, 404, "no such path")
    assert "errors" not in json.loads(exchange.said[1])
