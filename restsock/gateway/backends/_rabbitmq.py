"""`RabbitMQ`: a worker at a queue of RabbitMQ answers."""

from __future__ import annotations

import asyncio
import ssl
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
from restsock._addresses import split_url
from restsock.auth import Basic
from restsock.gateway._errors import CallFailed

from ._broker import Broker, QueueOptions
from ._template import Template

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage
    from typing_extensions import Unpack

    from ._queue import QueueMessage

__all__ = ["RabbitMQ"]

_CONNECT = 10.0
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
        tls: For `amqps`, as of `restsock.connect`.
        durable: Whether calls survive a restart of the broker, if their queue does.
        options: Those of `Queue`: `answers`, `timeout`, `most`, `headers`, `tell`.

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
            raise ValueError("no user and no password in the URL: see auth=")
        where = Template(routing_key, _word)
        if not exchange:  # the default one leads to all queues
            where.check_own("the name of a queue")
        super().__init__(where, **options)
        secure = parts.scheme == "amqps"
        if tls is not None and not secure:
            raise ValueError("tls= needs an amqps:// URL")
        self._auth = auth
        self._exchange_name = exchange
        self._durable = durable
        self._place: dict[str, Any] = {
            "host": parts.host,
            "port": parts.port or (5671 if secure else 5672),
            "virtualhost": unquote(parts.target[1:]) or "/",
            "ssl": secure,
        }
        if secure:
            context = tls.context() if isinstance(tls, _tls.ClientTLS) else tls
            self._place["ssl_context"] = context or ssl.create_default_context()
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._reply_to = ""

    # --- on asyncio ---------------------------------------------------------------------------

    async def _serve(self) -> None:
        user, password = ("guest", "guest") if self._auth is None else self._secrets(self._auth)
        lost = asyncio.Event()
        connection = await aio_pika.connect(
            login=user, password=password, timeout=_CONNECT, **self._place
        )
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            for closed in (connection.close_callbacks, channel.close_callbacks):
                closed.add(lambda *_: lost.set())
            if self._exchange_name:
                self._exchange = await channel.get_exchange(self._exchange_name)
            else:
                self._exchange = channel.default_exchange
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
            self._reply_to = queue.name
            await queue.consume(self._answered, no_ack=True)
            self._channel = channel
            self._tell_ready()
            await lost.wait()
        finally:
            self._channel = self._exchange = None
            await asyncio.wait_for(connection.close(), 1)

    def _secrets(self, auth: Basic) -> tuple[str, str]:
        return auth.user_and_password()

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


def _word(text: str, wide: bool) -> str:
    words = text.split(".") if wide else [text]
    if not all(words) or len(text.encode()) > _MAX_KEY or not text.isprintable():
        raise ValueError("is no word of a routing key")
    if any(sign in word for word in words for sign in ".*#"):
        raise ValueError("has a sign that has a meaning in routing keys")
    return text
