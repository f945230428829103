"""`RedisStreams`: a reader of a Redis stream answers."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

try:
    import redis.asyncio
    import redis.exceptions
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
except ImportError as exc:
    raise ImportError(
        "restsock.gateway.RedisStreams needs redis: pip install 'restsock[redis]'"
    ) from exc

from restsock import tls as _tls
from restsock._addresses import split_url, without_zone
from restsock._options import between
from restsock.gateway._errors import CallFailed

from ._broker import Broker, QueueOptions
from ._template import Template

if TYPE_CHECKING:
    import ssl

    from typing_extensions import Unpack

    from restsock.auth import Basic

    from ._queue import QueueMessage

__all__ = ["RedisStreams"]

_CONNECT = 10.0
# How long the server may keep a read open, and the answers of a gateway that has vanished.
_BLOCK = 5.0
_FORGOTTEN = 60
_AT_ONCE = 100
_CONNECTIONS = 16


class RedisStreams(Broker):
    """Answers with a reader of a Redis (or Valkey) stream.

        RedisStreams("calls:{key}", "redis://127.0.0.1:6379/0")

    Each call is an entry with the fields `id`, `key`, `body`, `content-type`, `headers` (a JSON
    object), `reply-to` and `milliseconds` (for which the client waits). Workers read the stream,
    for example as a consumer group. They write the answer to the stream that `reply-to` names, with
    the fields `id` and `body`, and optionally `content-type` and `status`.

    Each gateway has a stream of its own for answers. Answers are deleted once they are read, and
    the stream at the end, or a minute after the gateway has vanished.

    Redis does not say whether anybody reads a stream: calls without a reader time out.

    Args:
        stream: A template, as in `HTTPMapping`: the key of the stream in Redis.
        url: `redis://` or `rediss://`, host, port, and the number of the database as its path.
        auth: User (`"default"`, or one of an ACL) and password.
        tls: For `rediss`, as of `restsock.connect`; by default the CAs that this system trusts.
        max_length: About how many entries a stream keeps; the oldest are dropped.
        options: Those of `Queue`: `answers`, `timeout`, `max_waiting`, `headers`, `tell`.

    Raises:
        ValueError: An argument is not valid. No message repeats a password.
        ImportError: The extra `redis` is not installed.
    """

    def __init__(
        self,
        stream: str,
        url: str = "redis://127.0.0.1:6379/0",
        *,
        auth: Basic | None = None,
        tls: ssl.SSLContext | _tls.ClientTLS | None = None,
        max_length: int = 10_000,
        **options: Unpack[QueueOptions],
    ) -> None:
        parts = split_url(url, "the URL of Redis", ("redis", "rediss"))
        if parts.userinfo is not None:
            raise ValueError("no user and no password in the URL: they are given beside it")
        number = parts.target.removeprefix("/") or "0"
        if not (number.isascii() and number.isdigit()):
            raise ValueError(f"the path of the URL is the number of a database, not {number!r}")
        self._tls = _tls.check_for_url(tls, secure=parts.scheme == "rediss", scheme="rediss")
        self._auth = auth
        name = Template(stream, _key)
        name.check_own("the key of a stream")
        super().__init__(name, **options)
        self.max_length = max_length
        between(self, "max_length", 1, 2**31)
        self._place: dict[str, Any] = {
            "host": parts.host,
            "port": parts.port or 6379,
            "db": int(number),
            "socket_connect_timeout": _CONNECT,
            "socket_timeout": None,  # a read waits on purpose
            "retry": Retry(NoBackoff(), 0),  # a call is never sent twice
            "max_connections": _CONNECTIONS,
            "timeout": None,  # for one of these
        }
        if self._tls is not None:
            self._place["connection_class"] = _SecureConnection
            self._place["tls"] = self._tls
        self._client: redis.asyncio.Redis | None = None
        self._reply_to = ""

    # --- on asyncio ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        place = dict(self._place)
        if self._auth is not None:
            place["username"], place["password"] = self._auth.user_and_password()
        pool = redis.asyncio.BlockingConnectionPool(**place)
        client = redis.asyncio.Redis.from_pool(pool)
        try:
            self._reply_to = f"restsock:answers:{uuid.uuid4()}"
            await asyncio.wait_for(client.ping(), _CONNECT)
            self._client = client
            self._tell_ready()
            await self._read(client)
        finally:
            was_there, self._client = self._client is not None, None
            await asyncio.wait_for(_close(client, pool, self._reply_to if was_there else ""), 1)

    async def _read(self, client: redis.asyncio.Redis) -> None:
        last: bytes | str = "0"
        while True:
            read = client.xread({self._reply_to: last}, count=_AT_ONCE, block=int(_BLOCK * 1000))
            # Longer than the server takes: a server that is gone says nothing.
            found: Any = await asyncio.wait_for(read, 3 * _BLOCK)
            for _, entries in found or ():
                for number, fields in entries:
                    last = number
                    self._take(fields)
                await client.xdel(self._reply_to, *(number for number, _ in entries))
                await client.expire(self._reply_to, _FORGOTTEN)

    def _take(self, fields: dict[bytes, bytes]) -> None:
        id = fields.get(b"id", b"").decode("ascii", "replace")
        kind = fields.get(b"content-type")
        status = fields.get(b"status")
        self._tell_answer(
            id,
            fields.get(b"body", b""),
            None if kind is None else kind.decode("latin-1"),
            None if status is None else status.decode("latin-1"),
        )

    async def _put(self, made: QueueMessage, where: str) -> None:
        client = self._client
        if client is None:
            raise CallFailed(503, "what this goes to is not connected", retry_after=1)
        entry: dict[Any, Any] = {
            "id": made.id,
            "key": made.key,
            "body": made.body,
            "content-type": made.content_type,
            "headers": json.dumps(dict(made.headers)),
            "reply-to": self._reply_to if made.id else "",
            "milliseconds": str(round(made.seconds * 1000)),
        }
        try:
            await client.xadd(where, entry, maxlen=self.max_length, approximate=True)
        except redis.exceptions.ResponseError as exc:
            # The server has read it, and refused it: memory is full, or the key is no stream.
            raise CallFailed(503, "the queue does not take this", retry_after=1) from exc


class _SecureConnection(redis.asyncio.Connection):
    """One with TLS of ours: that of the client does not renew files, and has no other name."""

    def __init__(self, *, tls: _tls.TLSLike, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def _connection_arguments(self) -> Any:
        name = without_zone(_tls.name_of(self._tls, self.host))
        place = super()._connection_arguments()
        return {**place, "ssl": _tls.context_of(self._tls), "server_hostname": name}


async def _close(
    client: redis.asyncio.Redis, pool: redis.asyncio.ConnectionPool, reply_to: str
) -> None:
    try:
        if reply_to:
            await client.delete(reply_to)
    except redis.exceptions.RedisError:
        pass  # it is gone, and forgets it by itself
    finally:
        await client.aclose()
        await pool.disconnect()


def _key(text: str, wide: bool) -> str:
    if not text or len(text) > 255 or not text.isprintable():
        raise ValueError("is no part of the name of a stream")
    return text
