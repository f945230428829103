"""What breaks its schema is not called. The schemas themselves: tests/openapi/document."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from restsock import SpecError
from restsock.gateway import Validate, reply_to_failure
from tests.gateway.middleware.calls import Backend, failure, message

ORDER = {
    "type": "object",
    "required": ["pet"],
    "properties": {
        "pet": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 20},
        "number": {"$ref": "#/$defs/number"},
    },
    "additionalProperties": False,
    "$defs": {"number": {"type": "integer", "minimum": 1}},
}


async def test_what_keeps_to_it_passes() -> None:
    backend = Backend()
    await Validate({"orders.create": ORDER})(message("orders.create", {"pet": "cat"}), backend)
    assert len(backend.calls) == 1


async def test_the_client_is_told_what_is_wrong_and_where() -> None:
    backend = Backend()
    asked = message("orders.create", {"pet": "CAT", "number": 0, "a/b": 1})
    failed = await failure(Validate({"orders.create": ORDER})(asked, backend))
    assert (failed.status, failed.may_have_run, backend.calls) == (422, False, [])
    problem = reply_to_failure(asked, failed).body
    assert {each["pointer"] for each in problem["errors"]} == {"#/pet", "#/number", "#/a~1b"}
    assert "CAT" not in str(problem)


@pytest.mark.parametrize(
    ("key", "status"),
    [("orders.create", 200), ("orders.list", 422), ("orders", 422), ("pets.list", 200), ("x", 422)],
)
async def test_the_key_goes_before_patterns_and_long_patterns_before_short(
    key: str, status: int
) -> None:
    schemas: Any = {
        "*": False,
        "orders.*": {"type": "null"},
        "pets.*": True,
        "orders.create": ORDER,
    }
    validate = Validate(schemas)
    if status == 200:
        await validate(message(key, {"pet": "cat"}), Backend())
    else:
        assert (await failure(validate(message(key, {"pet": "cat"}), Backend()))).status == status


async def test_without_a_schema_it_passes() -> None:
    await Validate({"orders.*": False})(message("pets.list"), Backend())


async def test_a_large_body_is_checked_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    real = trio.to_thread.run_sync

    async def counted(*args: Any, **options: Any) -> Any:
        threads.append("one")
        return await real(*args, **options)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    validate = Validate({"*": {"type": "array", "items": {"type": "integer"}}})
    await validate(message(body=list(range(5))), Backend())
    assert threads == []
    await validate(message(body=list(range(5000))), Backend())
    assert threads == ["one"]
    failed = await failure(validate(message(body=[*range(5000), "x"]), Backend()))
    assert failed.members["errors"][0]["pointer"] == "#/5000"


async def test_what_takes_too_long_to_check_is_refused() -> None:
    deep: Any = {"$defs": {}}
    for level in range(40):  # each looks at the next one twice
        both = [{"$ref": f"#/$defs/{level + 1}"}] * 2
        deep["$defs"][str(level)] = {"allOf": both}
    deep["$defs"]["40"] = True
    validate = Validate({"*": {**deep, "$ref": "#/$defs/0"}}, seconds=0.2)
    with trio.fail_after(20):
        failed = await failure(validate(message(body=1), Backend()))
    assert failed.status == 422
    assert "processor time" in failed.members["errors"][0]["detail"]


async def test_no_pattern_backtracks() -> None:
    validate = Validate({"*": {"type": "string", "pattern": "^(a+)+$"}})
    with trio.fail_after(20):
        assert (await failure(validate(message(body="a" * 30_000 + "!"), Backend()))).status == 422


@pytest.mark.parametrize(
    ("schemas", "error", "words"),
    [
        ({}, ValueError, "needs a schema"),
        ([], TypeError, "mapping of keys"),
        ({"a": "x"}, TypeError, r"schemas\['a'\]: a schema is"),
        ({"a": {"type": "x"}}, SpecError, r"schemas\['a'\]: not valid at #/type"),
        ({"a": {"$ref": "https://elsewhere.example/x"}}, SpecError, "leads nowhere"),
        ({"a": {"pattern": "("}}, SpecError, "cannot be used"),
    ],
)
def test_what_is_no_schema(schemas: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        Validate(schemas)


def test_the_time_has_to_be_one() -> None:
    with pytest.raises(ValueError, match=r"Validate\.seconds must be"):
        Validate({"*": True}, seconds=0)
