"""A client of a worker whose runs wait: what it sends, and what it sees of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from celery import Celery
from celery.events.state import State
from celery.states import PENDING
from kombu import Connection

from tests.support import stored
from tests.support.processes import wait_until
from tests.support.rabbitmq import messages_in
from tests.worker.caller import Caller

__all__ = ["Client", "watched"]


@dataclass
class Client(Caller):
    """Sends scripts to a worker of tests.worker.stepping.

    Its store is the results' Redis, with *prefix* before every key: workers on different brokers
    must not wake each other's runs.
    """

    prefix: str = "celery-defer:"

    def play(self, *script: Sequence[Any], kind: str = "plain", **options: Any) -> str:
        return self.send_with(options, f"steps.{kind}", script=script)

    def tell(self, event: str, data: Any = None, id: str | None = None) -> int:
        """Send an event from a task; answer how many runs it woke."""
        return int(self.result(self.send("steps.tell", event, data, id)))

    def cancel(self, run: str) -> bool:
        return bool(self.result(self.send("steps.cancel", run)))

    def waits(self, run: str) -> dict[str, Any]:
        """Wait until *run* is parked and says so; answer what it says."""
        wait_until(
            lambda: self.meta(run)["status"] == "WAITING" and self.is_parked(run),
            f"{run} waits",
        )
        return dict(self.meta(run)["result"])

    def is_parked(self, run: str) -> bool:
        return bool(stored.field_of(self.redis, f"{self.prefix}{{{run}}}:outbox", "step"))

    def becomes(self, run: str, state: str) -> Any:
        wait_until(lambda: self.meta(run)["status"] == state, f"{run} is {state}")
        return self.meta(run)["result"]

    def settle(self) -> None:
        for _ in range(2):
            self.result(self.send("steps.fence"))

    def keys_for_ever(self) -> list[str]:
        """Return the store's keys that never expire, but for the indexes of what does."""
        indexes = {f"{self.prefix}due", f"{self.prefix}waits"}
        found = set(self.redis.scan_iter(f"{self.prefix}*")) - indexes
        return [key for key in found if self.redis.ttl(key) == -1]

    def messages(self) -> int:
        """Return how many messages the broker has for the worker, acknowledged by nobody."""
        queue = self.worker.worker_queue
        if self.app.conf.broker_url.startswith("amqp"):
            return messages_in(queue, self.app.conf.broker_url)
        with Connection(self.app.conf.broker_url) as connection:
            client = connection.default_channel.client
            held = client.hvals("unacked")
            return int(client.llen(queue)) + sum(f'"{queue}"'.encode() in each for each in held)


class Watched:
    """What a reader of events, such as Flower, knows of all runs."""

    def __init__(self) -> None:
        self.state = State()
        self._seen: dict[str, list[str]] = {}

    def on_event(self, event: dict[str, Any]) -> None:
        self.state.event(event)
        run = event.get("uuid")
        if run is None:
            return
        seen, now = self._seen.setdefault(run, []), self.state.tasks[run].state
        if seen[-1:] != [now]:
            seen.append(now)

    def states(self, run: str) -> list[str]:
        """Return the states that *run* was shown in, one after the other."""
        return [state for state in self._seen.get(run, ()) if state != PENDING]


@contextmanager
def watched(app: Celery) -> Iterator[Watched]:
    """Read events as Flower does: celery.events.EventReceiver feeds celery.events.state.State.

    Redis sends only what comes after a subscription, which is made late; so an event of our own
    has to arrive first.
    """
    view, stopping, ready = Watched(), Event(), Event()

    def on_event(event: dict[str, Any]) -> None:
        if event["type"] == "is-anybody-there":
            ready.set()
        else:
            view.on_event(event)

    def has_arrived(dispatcher: Any) -> bool:
        dispatcher.send("is-anybody-there")
        return ready.wait(0.05)

    def read() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": on_event})
            with receiver.consumer_context() as (own, _, _):
                while not stopping.is_set():
                    _drain(own)

    reader = Thread(target=read, name="reads events")
    reader.start()
    try:
        with app.events.default_dispatcher() as dispatcher:
            wait_until(lambda: has_arrived(dispatcher), "events arrive")
        yield view
    finally:
        stopping.set()
        reader.join()


def _drain(connection: Any) -> None:
    try:
        connection.drain_events(timeout=0.2)
    except TimeoutError:
        return
