"""`RabbitMQ`: a worker at a queue of RabbitMQ answers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

try:
    import aio_pika
    import aio_pika.exceptions
except ImportError as exc:
    raise ImportError(
        "restsock.gateway.RabbitMQ needs aio-pika: pip install 'restsock[rabbitmq]'"
    ) from exc

from restsock import tls as _tls
from restsock._addresses import split_url, without_zone
from restsock.auth import Basic
from restsock.gateway._errors import CallFailed

from ._broker import Broker, QueueOptions
from ._template import Template

if TYPE_CHECKING:
    import ssl

    from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage
    from typing_extensions import Unpack

    from ._queue import QueueMessage

__all__ = ["RabbitMQ"]

_CONNECT = 10.0
# Seconds: a broker that says nothing for three of these is gone.
_HEARTBEAT = 10
_MAX_KEY = 255  # bytes, as AMQP has it


class RabbitMQ(Broker):
    """Answers with a worker at a queue of RabbitMQ (AMQP 0-9-1), as RPC over AMQP does.

        RabbitMQ("calls.{key}", "amqp://127.0.0.1/", auth=Basic("gateway", env="AMQP_PASSWORD"))

    Each call has `reply_to`, `correlation_id`, `content_type`, the key as `type`, and an
    `expiration`, after which the broker drops it. The worker publishes the answer to the default
    exchange, with `reply_to` as its routing key and the same `correlation_id`. For a failure, it
    sets a header `status`.

    If the broker has no queue for a call, it is answered with 503, and nothing has run.

    Args:
        routing_key: A template, as in `HTTPMapping`: the name of the queue, or a key for the
            exchange. Each value is one word, without a dot, `*` or `#`. The name of a queue needs a
            fixed part, so that clients cannot name any queue.
        url: `amqp://` or `amqps://`, host, port, and the virtual host as its path.
        exchange: The exchange, which must exist; `""` is the default one.
        auth: User and password; by default `guest`.
        tls: For `amqps`, as of `restsock.connect`; by default the CAs that this system trusts.
        durable: Whether calls survive a restart of the broker, if their queue does.
        options: Those of `Queue`: `answers`, `timeout`, `max_waiting`, `headers`, `tell`.

    Raises:
        ValueError: An argument is not valid. No message repeats a password.
        ImportError: The extra `rabbitmq` is not installed.
    """

    def __init__(
        self,
        routing_key: str,
        url: str = "amqp://127.0.0.1:5672/",
        *,
        exchange: str = "",
        auth: Basic | None = None,
        tls: ssl.SSLContext | _tls.ClientTLS | None = None,
        durable: bool = False,
        **options: Unpack[QueueOptions],
    ) -> None:
        parts = split_url(url, "the URL of RabbitMQ", ("amqp", "amqps"))
        if parts.userinfo is not None:
            raise ValueError("no user and no password in the URL: they are given beside it")
        where = Template(routing_key, _word)
        if not exchange:  # the default one leads to all queues
            where.check_own("the name of a queue")
        super().__init__(where, **options)
        secure = parts.scheme == "amqps"
        self._tls = _tls.check_for_url(tls, secure=secure, scheme="amqps")
        self._auth = auth
        self._exchange_name = exchange
        self._durable = durable
        self._place: dict[str, Any] = {
            "host": parts.host,
            "port": parts.port or (5671 if secure else 5672),
            "virtualhost": unquote(parts.target[1:]) or "/",
            "ssl": secure,
            "heartbeat": _HEARTBEAT,
        }
        self._exchange: AbstractExchange | None = None
        self._reply_to = ""

    # --- on asyncio ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        place = dict(self._place)
        if self._auth is not None:
            place["login"], place["password"] = self._auth.user_and_password()
        if self._tls is not None:
            place["ssl_context"] = _tls.context_of(self._tls)
            name = without_zone(_tls.name_of(self._tls, place["host"]))
            place["connection_class"] = partial(_SecureConnection, server_hostname=name)
        lost = asyncio.Event()
        connection = await aio_pika.connect(timeout=_CONNECT, **place)
        try:
            await asyncio.wait_for(self._open(connection, lost), _CONNECT)
            self._tell_ready()
            await lost.wait()
        finally:
            self._exchange = None
            await asyncio.wait_for(connection.close(), 1)

    async def _open(self, connection: AbstractConnection, lost: asyncio.Event) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for closed in (connection.close_callbacks, channel.close_callbacks):
            closed.add(lambda *_: lost.set())
        if self._exchange_name:
            exchange = await channel.get_exchange(self._exchange_name)
        else:
            exchange = channel.default_exchange
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        self._reply_to = queue.name
        await queue.consume(self._answered, no_ack=True)
        self._exchange = exchange

    async def _answered(self, answer: AbstractIncomingMessage) -> None:
        status = (answer.headers or {}).get("status")
        self._tell_answer(answer.correlation_id or "", answer.body, answer.content_type, status)

    async def _put(self, made: QueueMessage, where: str) -> None:
        exchange = self._exchange
        if exchange is None:
            raise CallFailed(503, "what this goes to is not connected", retry_after=1)
        mode = aio_pika.DeliveryMode.PERSISTENT if self._durable else None
        call = aio_pika.Message(
            made.body,
            headers=dict(made.headers),
            content_type=made.content_type,
            correlation_id=made.id or None,
            reply_to=self._reply_to if made.id else None,
            expiration=made.seconds if made.id else None,
            delivery_mode=mode,
            type=made.key[:_MAX_KEY] or None,
        )
        try:
            await exchange.publish(call, where, mandatory=True)
        except aio_pika.exceptions.PublishError as exc:
            raise CallFailed(503, "nobody is there to answer this", retry_after=1) from exc
        except aio_pika.exceptions.DeliveryError as exc:
            raise CallFailed(503, "the queue takes no more", retry_after=1) from exc


class _SecureConnection(aio_pika.Connection):
    """One whose broker has a certificate for another name than the host's."""

    def __init__(self, *args: Any, server_hostname: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kwargs["server_hostname"] = server_hostname


def _word(text: str, wide: bool) -> str:
    words = text.split(".") if wide else [text]
    if not all(words) or len(text.encode()) > _MAX_KEY or not text.isprintable():
        raise ValueError("is no word of a routing key")
    if any(sign in word for word in words for sign in ".*#"):
        raise ValueError("has a sign that has a meaning in routing keys")
    return text
