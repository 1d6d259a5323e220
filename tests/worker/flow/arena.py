"""Workers under attack, a client that sends them calls, and a witness of what they execute."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from celery import Celery

from celery_defer import Defer, defer, deferring, record, run_id
from celery_defer.errors import NoRecordError
from tests.support.connections import close
from tests.support.processes import CeleryWorker, wait_until
from tests.support.redis import Server
from tests.worker.flow import points
from tests.worker.flow.app import declare, settings, transport
from tests.worker.flow.verdict import ends, most_at_once
from tests.worker.flow.witness import PORT, Witness

__all__ = ["Arena", "stopped"]

#: Longer than what any attack delays.
PATIENCE = 60.0


class Arena:
    """One Redis for all; each worker may have settings, a version and a clock of its own."""

    def __init__(self, server: Server, witness: Witness, *, at_once: int = 1) -> None:
        self.server, self.witness = server, witness
        self.url = f"{server.url}/0"
        self.redis: Any = server.client(decode_responses=True)
        self.runs: dict[str, str] = {}
        self.workers: list[CeleryWorker] = []
        self._at_once = at_once
        self._app = Celery("client", broker=self.url, backend=self.url, set_as_current=False)
        self._app.conf.update(settings(self.url))
        Defer(self._app)
        self.functions: SimpleNamespace = declare(self._app, at_once)

    def close(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.close()
        close(self._app)
        self.redis.close()

    def start(
        self, pool: str = "prefork", children: int = 2, *, lease: float = 1.0,
        visibility: float = 3600.0, queues: str = "flow", **more: Any,
    ) -> CeleryWorker:  # fmt: skip
        """Start a worker; *more* are further settings, or what app.py reads of the environment."""
        env = {name: str(more.pop(name)) for name in list(more) if name.isupper()}
        own = {
            "defer_lease": lease,
            "broker_transport_options": transport(self.url, visibility),
            **more,
        }
        worker = CeleryWorker(
            "tests.worker.flow.app",
            f"attacked-{len(self.workers)}@localhost",
            *("--pool", pool, "--concurrency", str(children), "--queues", queues),
            env={
                "CELERY_BROKER_URL": self.url,
                "CELERY_RESULT_BACKEND": self.url,
                "FLOW_SETTINGS": json.dumps(own),
                "FLOW_AT_ONCE": str(self._at_once),
                PORT: str(self.witness.port),
                **env,
            },
        )
        self.workers.append(worker)
        worker.start()
        worker.await_ready()
        return worker

    # -- calls -----------------------------------------------------------------------------

    def send(
        self, *calls: str, to: str = "gated", customer: str = "a", queue: str = "", **more: Any
    ) -> None:
        """Defer calls of a function, for one customer; the first of them names their parent."""
        function = getattr(self.functions, to)
        if queue:
            function = function.with_options(queue=queue)
        with deferring(self._app, id=f"parent-{calls[0]}") as parent:
            for call in calls:
                defer(call, function, customer=customer, call=call, **more)
                self.runs[call] = str(run_id(parent.id, call))

    def let_go(self, *calls: str) -> None:
        """Let bodies of ``gated`` end."""
        for call in calls:
            self.redis.set(f"go:{call}", 1)

    def arm(self, point: str, call: str, who: str) -> None:
        """Let somebody die at a point of the run of a call, which will be sent alone."""
        run = str(run_id(f"parent-{call}", call))
        self.redis.hset("kill", points.field_of(point, run), who)

    def wait_killed(self) -> None:
        """Wait until all have died who were to die."""
        self.wait(lambda arena: not arena.redis.exists("kill"), "all have died")

    # -- what is seen ------------------------------------------------------------------------

    @property
    def words(self) -> list[tuple[str, str]]:
        """What the witness has seen: what happened, and to which call."""
        return [(event.what, event.call) for event in self.witness.events()]

    @property
    def executing(self) -> set[str]:
        now: list[str] = []
        for what, call in self.words:
            now.append(call) if what == "enter" else now.remove(call)
        return set(now)

    @property
    def ended(self) -> dict[str, int]:
        return dict(ends(self.witness.events()))

    @property
    def most(self) -> int:
        """How many bodies were executing at once with one key, at most."""
        return max(most_at_once(self.witness.events()).values(), default=0)

    def state(self, call: str) -> str:
        try:
            return record(self.runs[call], app=self._app).run.state.value
        except NoRecordError:
            return "unknown"

    def states(self, *calls: str) -> list[str]:
        return [self.state(call) for call in calls or self.runs]

    def error(self, call: str) -> str:
        """Return the name of the error with which a run has failed."""
        return type(self._app.AsyncResult(self.runs[call]).result).__name__

    def wait(self, condition: Callable[[Arena], Any], what: str) -> None:
        wait_until(lambda: condition(self), what, PATIENCE)

    def wait_executing(self, *calls: str) -> None:
        self.wait(lambda arena: set(calls) <= arena.executing, f"{calls} execute")

    def wait_held(self, *calls: str) -> None:
        self.wait(lambda arena: set(arena.states(*calls)) == {"held"}, f"{calls} are held")

    def wait_done(self, *calls: str) -> None:
        """Wait until calls have ended in success: all, if none is named."""
        done = {"succeeded"}
        self.wait(lambda arena: set(arena.states(*calls)) == done, f"{calls or 'all'} are done")

    @property
    def left(self) -> list[str]:
        """Which runs have a record in the outbox."""
        return list(self.redis.scan_iter("flow-defer:*:outbox"))


@contextmanager
def stopped(worker: CeleryWorker) -> Iterator[None]:
    """Stop a worker with all its children, as a machine that is suspended would."""
    os.killpg(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGCONT)
