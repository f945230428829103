"""Operations on the files of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import trio

from restsock.connection import Response
from restsock.gateway.management import Problem, answer_json, answer_nothing
from restsock.hub._tokens import Token, Tokens

from ._call import Call, OperationFunction, page

__all__ = ["OPERATIONS"]


async def _list(call: Call) -> Response:
    wanted = call.query("kind")
    found = [
        (kind, token)
        for kind, tokens in _files(call)
        if wanted in (None, kind)
        for token in await trio.to_thread.run_sync(tokens.ls)
    ]
    return page(found, call, lambda each: each[1].id, lambda each: _shown(*each))


async def _create(call: Call) -> Response:
    body = await call.body()
    kind = body.pop("kind")
    tokens = dict(_files(call)).get(kind)
    if tokens is None:
        key = "peers.tokens" if kind == "peer" else "admin.tokens"
        raise Problem(409, f"There is no file for these tokens: the configuration lacks {key}.")
    if kind == "peer" and "scopes" in body:
        raise Problem(400, "Scopes are for tokens of the admin API.")
    try:
        token, value = await trio.to_thread.run_sync(partial(tokens.new, **body))
    except ValueError as exc:
        raise Problem(400, str(exc)) from None
    return answer_json({**_shown(kind, token), "token": value}, 201)


async def _revoke(call: Call) -> Response:
    for _, tokens in _files(call):
        if await trio.to_thread.run_sync(tokens.revoke, call.variables["id"]):
            return answer_nothing()
    raise Problem(404, "There is no such token.")


def _files(call: Call) -> Iterator[tuple[str, Tokens]]:
    config = call.hub.config
    for kind, file in (("peer", config.peers.tokens), ("admin", config.admin.tokens)):
        if file is not None:
            yield kind, Tokens(file)


def _shown(kind: str, token: Token) -> dict[str, Any]:
    return {"kind": kind, **asdict(token)}


OPERATIONS: dict[str, OperationFunction] = {
    "listTokens": _list,
    "createToken": _create,
    "revokeToken": _revoke,
}
