"""Celery as far as the protocol sees it: a broker, a backend and workers that die, in lists.

Each fake calls ``World.at`` at the points where another process may come in between, or
where this one may be killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import time
from types import SimpleNamespace
from typing import Any, ClassVar

from kombu.exceptions import OperationalError

from celery_defer.contract import Contract, Deferrable
from celery_defer.ids import RunId
from celery_defer.run import Scope, find
from celery_defer.settings import Settings
from celery_defer.store import MemoryStore

__all__ = ["TARGET", "Killed", "Message", "SharedStore", "Task", "World"]

# Celery's own way to publish is a task's ``apply_async``, which is a fake here.
SETTINGS = Settings(grace=10, relay_interval=1, fast_messages=False)


class Killed(BaseException):
    """SIGKILL: nothing of this process happens any more."""


def _function(attempt: int) -> None: ...


#: What parents defer; the payload tells which attempt did it.
TARGET: Deferrable[..., None] = Deferrable(Contract.of("target", _function))


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a task, as a worker is given it."""

    id: str
    headers: dict[str, Any] = field(default_factory=dict)
    retries: int = 0
    redelivered: bool = False

    @property
    def is_fresh(self) -> bool:
        return not self.redelivered and not self.retries

    @property
    def again(self) -> Message:
        """The message as the broker gives it once more."""
        return replace(self, redelivered=True)

    @property
    def request(self) -> dict[str, Any]:
        delivery = {"redelivered": self.redelivered}
        return {"id": self.id, "retries": self.retries, "delivery_info": delivery, **self.headers}


# -- tasks -----------------------------------------------------------------------------------


@dataclass
class Task:
    """A task of the app; its messages go out through its own ``apply_async``."""

    app: World
    name: str
    ignore_result: bool = False
    trail: bool = False
    expires: None = None
    priority: None = None
    backend: None = None
    #: A scope keeps it; links, for which it is read, are not modelled.
    request: None = None

    def AsyncResult(self, id: str) -> _Result:
        return self.app.AsyncResult(id)

    def apply_async(
        self,
        args: Any,
        kwargs: Any,
        task_id: str,
        producer: _Producer,
        headers: dict[str, Any],
        **_: Any,
    ) -> None:
        message = Message(task_id, headers)
        producer.publish(lambda: self.app.queue.append(message))


# -- broker ----------------------------------------------------------------------------------


class _Transport:
    driver_type = "list"
    connection_errors = (ConnectionError,)
    channel_errors: ClassVar[tuple[type[Exception], ...]] = ()
    recoverable_connection_errors = (ConnectionError,)
    recoverable_channel_errors: ClassVar[tuple[type[Exception], ...]] = ()


class _Connection:
    recoverable_connection_errors = (ConnectionError,)
    recoverable_channel_errors: ClassVar[tuple[type[Exception], ...]] = ()
    channel_errors: ClassVar[tuple[type[Exception], ...]] = ()
    connection_errors = (ConnectionError,)
    connected = True
    connection = None
    transport = _Transport()

    def get_transport_cls(self) -> type[_Transport]:
        return _Transport

    def collect(self) -> None:
        """Nothing is open."""


@dataclass
class _Channel:
    """Does each command at once, or, as kombu's Redis transport, all at the end of a batch."""

    world: World
    pool: Any = field(default_factory=lambda: SimpleNamespace(connection_kwargs={}))
    global_keyprefix: str = ""
    pipeline: Any = None
    commands: list[Callable[[], None]] = field(default_factory=list)

    def create_publish_batch(self, size: int) -> _Channel:
        batch = _Channel(self.world)
        batch.pipeline = batch
        return batch

    def basic_publish(self, command: Callable[[], None]) -> None:
        self.execute_all([command])

    def publish(self, command: Callable[[], None]) -> None:
        self.pipeline.lpush("queue", command)

    def lpush(self, key: str, command: Callable[[], None]) -> None:
        self.commands.append(command)

    def reset(self) -> None:
        self.commands.clear()

    def execute(self, **_: object) -> list[Any]:
        commands, self.commands = self.commands, []
        self.execute_all(commands)
        return [1] * len(commands)

    def execute_all(self, commands: Sequence[Callable[[], None]]) -> None:
        for command in commands:
            if self.world.at("before a command") == "cut":
                raise OperationalError("the connection is cut before the broker has it")
            command()
        if self.world.at("after the commands") == "cut":
            raise OperationalError("the answer is lost")


@dataclass
class _Producer:
    channel: Any
    auto_declare: bool = False
    serializer: str = "json"
    supports_batch_publish: bool = False
    connection: _Connection = field(default_factory=_Connection)

    def revive(self, connection: _Connection) -> None:
        """It is as before."""

    def publish(self, command: Callable[[], None]) -> None:
        self._publish(command)

    def _publish(self, command: Callable[[], None]) -> None:
        """Send a message that is made, as kombu's producer does."""
        self.channel.basic_publish(command)


@dataclass
class _Pool:
    world: World

    @contextmanager
    def acquire(self, block: bool) -> Iterator[_Producer]:
        channel = _Channel(self.world)
        yield _Producer(channel, supports_batch_publish=self.world.is_pipelined)


# -- store and backend -----------------------------------------------------------------------


class SharedStore(MemoryStore):
    """One process's way to the store that all have in common.

    The package reads the real clock where a parent stages: *later* is what the world's own
    is ahead.
    """

    def __init__(self, world: World, like: MemoryStore, later: Callable[[], float]) -> None:
        super().__init__(like._outbox, like._quarantine, like._owners, like._runs, _lock=like._lock)
        self._world = world
        self._later = later

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float, **rest: Any
    ) -> bool:
        self._world.at("before staging")
        is_staged = super().stage(id, token, body, due + self._later(), keep, **rest)
        if is_staged:
            self._world.order += 1
            self._world.acted[find()] = self._world.order
        self._world.at("after staging")
        return is_staged

    def settle(self, id: RunId, token: str | None, **rest: Any) -> None:
        if self._world.is_dead:
            return
        # Without a token it belongs to a body's end, as `stage` does.
        if self._world.at("before settling") == "cut" and token is not None:
            raise ConnectionError("the store is away")
        super().settle(id, token, **rest)
        if token is None:
            self._world.order += 1
            self._world.acted[find()] = self._world.order

    def postpone(
        self, id: RunId, token: str, due: float, body: bytes | None = None, **rest: Any
    ) -> None:
        if self._world.is_dead:
            return
        if self._world.at("before postponing") == "cut":
            raise ConnectionError("the store is away")
        super().postpone(id, token, due + self._later(), body, **rest)


@dataclass(frozen=True, slots=True)
class _Result:
    state: str

    def successful(self) -> bool:
        return self.state == "SUCCESS"

    def ready(self) -> bool:
        return self.state in {"SUCCESS", "FAILURE", "REVOKED"}


@dataclass
class World:
    """The app of all processes, and what is outside of them."""

    is_pipelined: bool
    late: float = 0.0
    queue: list[Message] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    #: Counts what matters for the order of attempts.
    order: int = 0
    #: When a run's end has brought its record into the store, or removed whatever there was.
    acted: dict[Scope | None, int] = field(default_factory=dict)
    is_dead: bool = False
    #: Says what happens at a point, and lets others act there; set by who plays.
    interrupt: Callable[[str], str] = lambda _: ""
    tasks: dict[str, Task] = field(init=False)
    conf: ClassVar[Any] = SimpleNamespace(
        task_inherit_parent_priority=False,
        task_publish_retry=False,
        task_default_queue="queue",
        broker_read_url="redis://",
    )
    #: Only the fast way looks at it.
    amqp: ClassVar[Any] = None
    thread_oid: ClassVar[str] = "replies"
    _celery_defer: ClassVar[Any] = SimpleNamespace(clock=time, settings=SETTINGS)

    def __post_init__(self) -> None:
        self.tasks = {"target": Task(self, "target")}
        self.shared = MemoryStore()
        self.producer_pool = _Pool(self)
        self.parents_store = SharedStore(self, self.shared, lambda: self.late)
        self.relays_store = SharedStore(self, self.shared, lambda: 0.0)

    def at(self, point: str) -> str:
        """Let happen what happens here; raises Killed where that is the end."""
        word = self.interrupt(point)
        if word == "kill":
            self.is_dead = True
            raise Killed(point)
        return word

    @contextmanager
    def process(self) -> Iterator[None]:
        """One process: what a dead one's handlers of exceptions still try has no effect."""
        try:
            yield
        finally:
            self.is_dead = False

    # -- what the package asks of an app --------------------------------------------------

    def send_task(self, *args: Any, **options: Any) -> None:
        raise AssertionError("a task sends itself, by its own apply_async")

    @property
    def backend(self) -> World:
        return self

    def store_result(self, id: str, result: Any, state: str, request: Any = None) -> None:
        # celery.backends.base.KeyValueStoreBackend._store_result leaves a SUCCESS alone.
        if self.states.get(id) != "SUCCESS":
            self.states[id] = state

    @property
    def events(self) -> World:
        return self

    def default_dispatcher(self, hostname: str | None) -> AbstractContextManager[World]:
        return nullcontext(self)

    def send(self, kind: str, **fields: Any) -> None:
        """Nobody looks."""

    def AsyncResult(self, id: str) -> _Result:
        self.at("before reading a state")
        return _Result(self.states.get(id, "PENDING"))

    def redeliver(self, message: Message) -> None:
        self.queue.append(message.again)
