"""One worker that dies and comes back, and a client that sees what is left of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import uuid4

import redis
from celery import Celery
from kombu import Connection

from celery_defer import Defer, record, run_id
from celery_defer.errors import NoRecordError
from celery_defer.model import When
from tests.support import stored
from tests.support.connections import close
from tests.support.processes import CeleryWorker, wait_until
from tests.worker.kills.cells import Cell, Column, Seen
from tests.worker.kills.step_cells import StepCell, StepSeen

__all__ = ["Stage"]

SUCCESS: Sequence[When] = ("success", "success", "success")
FAST = {"defer_grace": 0.3, "defer_relay_interval": 0.1}


def _other_name_of(redis_url: str) -> str:
    """The package cannot know that it is the same server."""
    names = ("127.0.0.1", "localhost")
    here, there = names if names[0] in redis_url else reversed(names)
    return redis_url.replace(here, there)


class Stage:
    """A worker with one process or thread, and the settings of *column*."""

    def __init__(self, column: Column, broker: str, backend: str) -> None:
        queue = f"kills-{uuid4().hex[:8]}"
        settings = {
            "task_default_queue": queue,
            "defer_commit": column.commit,
            **FAST,
            **column.settings,
        }
        if "defer_store_url" in settings:
            settings["defer_store_url"] = _other_name_of(backend)
        self._broker = broker
        self._app = Celery("client", broker=broker, backend=backend, set_as_current=False)
        self._app.conf.task_default_queue = queue
        self._reader = Celery("reader", broker=broker, backend=backend, set_as_current=False)
        self._reader.conf.update(settings)
        Defer(self._reader)
        self._redis = redis.Redis.from_url(backend, decode_responses=True)
        self._worker = CeleryWorker(
            "tests.worker.kills.app",
            f"{queue}@localhost",
            *("--pool", column.pool, "--concurrency", "1"),
            env={
                "CELERY_BROKER_URL": broker,
                "CELERY_RESULT_BACKEND": backend,
                "KILLS_SETTINGS": json.dumps(settings),
                "KILLS_RIDES": str(int(column.rides)),
            },
        )

    def __enter__(self) -> Stage:
        self._worker.start()
        self._worker.await_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()
        close(self._app)
        close(self._reader)
        self._redis.close()

    def play(self, cell: Cell, want: Seen, whens: Sequence[When] = SUCCESS) -> Seen:
        """Let a parent run and somebody die; answer what is seen when all is quiet again.

        *want* is waited for, and not more; *whens* are what its three calls wait for.
        """
        if not self._worker.is_running:  # an earlier cell went wrong
            self._worker.restart()
        parent = str(uuid4())
        deaths = self._arm(cell, parent)
        self._app.send_task("kills.parent", [whens], task_id=parent)
        if cell.point.startswith("relay"):
            self._app.send_task("kills.blocker", [parent])
        for _ in range(deaths):
            self._worker.await_crash()
            self._give_back()
            self._worker.start()  # it may die again before it is ready
        self._worker.await_ready()
        self._redis.set(f"go:{parent}", 1)
        self._wait_until_seen(cell, parent, want)
        self._settle()
        return self._seen(cell, parent)

    def play_steps(self, cell: StepCell, want: StepSeen) -> StepSeen:
        """Let a run with steps, or who sends it an event, die; answer what is seen in the end."""
        if not self._worker.is_running:  # an earlier cell went wrong
            self._worker.restart()
        run, sender = str(uuid4()), str(uuid4())
        victim = sender if cell.awaits_event else run
        event = f"news/{run}" if cell.awaits_event else None
        self._redis.hset(f"kill:{victim}", cell.point, cell.who)
        self._app.send_task("kills.stepping", [event], task_id=run)
        if cell.awaits_event:
            wait_until(lambda: self._redis.exists(self._record(run)), "the run is parked")
            self._app.send_task("kills.sender", [event], task_id=sender)
        if cell.point.startswith("relay"):
            self._app.send_task("kills.blocker", [run])
        if cell.who == "worker":
            self._worker.await_crash()
            self._give_back()
            self._worker.start()
        self._worker.await_ready()
        self._redis.set(f"go:{run}", 1)
        self._wait_until_steps(victim, run, want)
        self._settle()
        return self._seen_of_steps(run)

    def _wait_until_steps(self, victim: str, run: str, want: StepSeen) -> None:
        def is_so() -> bool:
            return not self._redis.exists(f"kill:{victim}") and self._seen_of_steps(run) == want

        try:
            wait_until(is_so)
        except AssertionError:
            return  # the test compares, and tells what was seen instead

    def _seen_of_steps(self, run: str) -> StepSeen:
        return StepSeen(
            state=str(self._app.AsyncResult(run).state),
            first=self._count("first", run),
            second=self._count("second", run),
            completed=self._count("completed", run),
            is_parked=bool(self._redis.exists(self._record(run))),
            record="".join(self._states(run)),
        )

    def _arm(self, cell: Cell, parent: str) -> int:
        """Say who dies where; answer how often the whole worker will."""
        victim = run_id(parent, "b") if cell.in_deferred else parent
        plan = {cell.point: cell.who}
        if cell.point.startswith("relay"):  # it has work only if the parent did not publish
            plan["stored"] = "worker" if cell.column.pool == "threads" else "child"
        self._redis.hset(f"kill:{victim}", mapping=plan)
        return sum(who == "worker" for who in plan.values())

    def _give_back(self) -> None:
        """Do at once what Redis as a broker would do after its `visibility_timeout`."""
        if self._broker.startswith("amqp"):
            return
        with Connection(self._broker) as connection:
            channel = connection.default_channel
            wait_until(lambda: not _waits_for_messages(channel.client), "the dead are gone")
            for tag in channel.client.zrange(channel.unacked_index_key, 0, -1):
                channel.qos.restore_by_tag(tag)

    def _wait_until_seen(self, cell: Cell, parent: str, want: Seen) -> None:
        try:
            wait_until(lambda: self._is_over(cell, parent) and self._seen(cell, parent) == want)
        except AssertionError:
            return  # the test compares, and tells what was seen instead

    def _is_over(self, cell: Cell, parent: str) -> bool:
        """Whether who had to die has died, and the relay has looked at what is left."""
        victim = run_id(parent, "b") if cell.in_deferred else parent
        unseen = stored.field_of(self._redis, self._record(parent), "tries") == 0
        return not self._redis.exists(f"kill:{victim}") and not unseen

    def _settle(self) -> None:
        """Wait until the worker has done all that it was given, and what that gave it."""
        for _ in range(2):
            name = str(uuid4())
            self._app.send_task("kills.fence", [name])
            assert self._redis.blpop([f"fence:{name}"], timeout=20)

    def _seen(self, cell: Cell, parent: str) -> Seen:
        children = [run_id(parent, id) for id in "abc"]
        run = children[1] if cell.in_deferred else parent
        a, b, c = (self._count("completed", child) for child in children)
        return Seen(
            state=str(self._app.AsyncResult(run).state),
            runs=self._count("began", run),
            completed=(a, b, c),
            waits=bool(self._redis.exists(self._record(parent))),
            record=self._states(parent),
        )

    def _states(self, run: str) -> tuple[str, ...]:
        try:
            found = record(run, app=self._reader)
        except NoRecordError:
            return ()
        return tuple(row.state.value for row in (found.run, *found.defers))

    def _record(self, parent: str) -> str:
        return f"celery-defer:{{{parent}}}:outbox"

    def _count(self, name: str, run: str) -> int:
        return int(self._redis.get(f"{name}:{run}") or 0)


def _waits_for_messages(client: redis.Redis) -> bool:
    """Whether a client of this database would take what is put into a queue."""
    number = str(client.connection_pool.connection_kwargs["db"])
    clients = client.client_list()
    return any(each["db"] == number and each["cmd"] == "brpop" for each in clients)
