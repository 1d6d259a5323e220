"""A broker and a result backend in this process: each message waits until the test takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery.backends.base import KeyValueStoreBackend
from celery.utils.time import maybe_iso8601
from kombu import Connection
from kombu.pools import ProducerPool
from kombu.serialization import prepare_accept_content
from kombu.transport import memory, virtual

# More than any program uses at once, so that no caller waits for a connection.
_MOST_CONNECTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """The message of a task; ``due`` is its ETA, in seconds since 1970."""

    headers: Mapping[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    embed: Mapping[str, Any]
    delivery: Mapping[str, Any]
    properties: Mapping[str, Any]
    due: float
    expires: float | None

    @property
    def id(self) -> str:
        return str(self.headers["id"])

    @property
    def task(self) -> str:
        return str(self.headers["task"])

    def request(self) -> dict[str, Any]:
        """Return the request that a worker makes of the message for Celery's tracer."""
        return {
            **self.headers,
            "delivery_info": dict(self.delivery),
            "hostname": "celery@simulation",
            "args": self.args,
            "kwargs": self.kwargs,
            "is_eager": False,
            "reply_to": self.properties.get("reply_to"),
            "correlation_id": self.properties.get("correlation_id"),
            **self.embed,
        }


@dataclass(eq=False)
class Queue:
    """The published messages that no worker has taken yet."""

    accept: Any
    clock: Callable[[], float]
    on_publish: Callable[[Message], None]
    on_control: Callable[[Mapping[str, Any]], None]
    waiting: list[Message] = field(default_factory=list)

    def put(self, message: Any) -> None:
        """Queue the message of a task, or execute a remote control command; ignore the rest."""
        message.accept = prepare_accept_content(self.accept)
        payload = message.payload
        if "task" in message.headers:
            message = _message(message, self.clock())
            self.waiting.append(message)
            self.on_publish(message)
        elif isinstance(payload, dict) and "method" in payload:  # kombu.pidbox
            self.on_control(payload)

    def take(self, now: float, id: str | None = None) -> Message | None:
        """Take the message that has been due longest; with an *id*, one of that run."""
        due = [each for each in self.waiting if each.due <= now and id in (None, each.id)]
        if not due:
            return None
        first = min(due, key=lambda each: each.due)  # of equals, the one published first
        self.waiting.remove(first)
        return first


class SimulatedBackend(KeyValueStoreBackend):
    """Keeps results in a dict; waiting for a result first runs all that is due."""

    implements_incr = True
    thread_safe = True

    def __init__(self, app: Any, drain: Callable[[], object]) -> None:
        super().__init__(app, url="simulation://")
        self._drain = drain
        self._results: dict[bytes, Any] = {}

    def get(self, key: Any) -> Any:
        return self._results.get(key)

    def mget(self, keys: Any) -> list[Any]:
        return [self._results.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> None:
        self._results[key] = value

    def delete(self, key: Any) -> None:
        self._results.pop(key, None)

    def incr(self, key: Any) -> int:
        self._results[key] = number = self._results.get(key, 0) + 1
        return int(number)

    def wait_for(self, task_id: str, *_: Any, **__: Any) -> Any:
        """Return the result, after running what is due if there is none yet."""
        if not self._is_ready(task_id):
            self._drain()
        if not self._is_ready(task_id):
            raise self.TimeoutError(
                f"run {task_id} is {self.get_state(task_id)}, and in a simulation no time passes "
                "by itself: call sim.advance(…) or sim.send_event(…) first"
            )
        return self.get_task_meta(task_id)

    def _is_ready(self, task_id: str) -> bool:
        return self.get_state(task_id) in self.READY_STATES


def connect(queue: Queue) -> Any:
    """Return a connection to a broker that puts all messages into *queue*."""
    return Connection("simulation", transport=_Transport, transport_options={"queue": queue})


def producers(connection: Any) -> ProducerPool:
    """Return a pool of producers on a connection, as ``app.producer_pool`` is."""
    return ProducerPool(connection.Pool(_MOST_CONNECTIONS), limit=_MOST_CONNECTIONS)


class _Channel(memory.Channel):
    queues: dict[str, Any] = {}  # noqa: RUF012  # kombu's; not the one of memory://

    def basic_publish(self, message: Any, exchange: str, routing_key: str, **_: Any) -> None:
        self._inplace_augment_message(message, exchange, routing_key)
        connection: Any = self.connection
        connection.client.transport_options["queue"].put(self.Message(message, channel=self))


class _Transport(memory.Transport):
    Channel = _Channel
    global_state = virtual.BrokerState()


def _message(message: Any, now: float) -> Message:
    args, kwargs, embed = message.payload
    headers, properties = message.headers, message.properties
    return Message(
        headers=headers,
        args=list(args),
        kwargs=dict(kwargs),
        embed=embed,
        delivery={
            **message.delivery_info,
            "priority": properties.get("priority"),
            "redelivered": False,
        },
        properties=properties,
        due=_seconds(headers.get("eta")) or now,
        expires=_seconds(headers.get("expires")),
    )


def _seconds(moment: str | None) -> float | None:
    time: Any = maybe_iso8601(moment)
    return float(time.timestamp()) if time else None
