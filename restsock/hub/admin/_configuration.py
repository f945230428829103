"""Operations on the configuration, and on the routes that it has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import trio

from restsock.connection import Response
from restsock.gateway.management import Problem, answer_json
from restsock.hub._config import load, parse
from restsock.hub._errors import ConfigError
from restsock.hub._parts import check

from ._call import Call, OperationFunction

__all__ = ["OPERATIONS"]


async def _get(call: Call) -> Response:
    config = call.hub.config
    path = None if config.path is None else str(config.path)
    return answer_json({"path": path, "config": config.shown()})


async def _check(call: Call) -> Response:
    text = (await call.body()).get("text")
    present = call.hub.config

    def checked() -> list[str]:
        if text is None:
            config = load(present.path, present.overrides)
        else:
            config = parse(text, path=present.path, overrides=present.overrides)
        check(config)
        return call.hub.restart_needed(config)

    answer: dict[str, Any] = {"ok": True, "key": None, "problem": None, "restart_needed": []}
    try:
        answer["restart_needed"] = await trio.to_thread.run_sync(checked)
    except (ConfigError, OSError) as exc:
        key = exc.key if isinstance(exc, ConfigError) else None
        answer.update(ok=False, key=key or None, problem=str(exc))
    return answer_json(answer)


async def _reload(call: Call) -> Response:
    try:
        needed = await call.hub.reload()
    except (ConfigError, OSError) as exc:
        raise Problem(409, f"The configuration stays as it is: {exc}") from None
    return answer_json({"restart_needed": needed})


async def _routes(call: Call) -> Response:
    config, loopback = call.hub.config, call.hub.loopback
    domains, prefix = config.hub.domain, config.ingress.path_prefix
    return answer_json(
        {
            "domains": list(("localhost",) if domains is None and loopback else domains or ()),
            "header": config.ingress.header,
            "path_prefix": loopback if prefix is None else prefix,
            "routes": [
                {
                    "host": route.host,
                    "path": route.path,
                    "peer": route.peer,
                    "strip": route.strip,
                    # A signature is the only rule of a webhook, unless it has another one.
                    "access": route.access
                    or (config.ingress.access if route.webhook is None else None),
                    "rate": route.rate or config.ingress.rate,
                }
                for route in config.route
            ],
        }
    )


async def _explain(call: Call) -> Response:
    body = await call.body()
    headers = [(name, str(value)) for name, value in body.get("headers", {}).items()]
    method = body.get("method", "GET").upper()
    try:
        found = call.hub.ingress.explain(method, body["url"], headers)
    except (ValueError, UnicodeError) as exc:
        raise Problem(400, f"The URL, or a field, cannot be sent: {exc}") from None
    return answer_json(asdict(found))


OPERATIONS: dict[str, OperationFunction] = {
    "getConfig": _get,
    "checkConfig": _check,
    "reloadConfig": _reload,
    "listRoutes": _routes,
    "explainRoute": _explain,
}
