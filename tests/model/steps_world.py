"""One run with steps on a real tracer; its store is where processes die and others come between."""

from __future__ import annotations

import copy
import uuid
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from celery import Celery, _state

from celery_defer import Defer, deferred, send_event, step
from celery_defer.outbox.relay import Relay
from celery_defer.store import MemoryStore
from celery_defer.store.values import DRIFT
from tests.support.inside import Worker

__all__ = ["Killed", "StepsWorld"]


class Killed(BaseException):
    """SIGKILL: nothing of this process happens any more."""


class BrokenStore:
    """Everybody's store; ``interrupt`` is called round each question to it."""

    def __init__(self) -> None:
        self.kept = MemoryStore()
        self.interrupt: Callable[[str, bool], None] = lambda _, __: None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.kept, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.interrupt(name, True)
            answer = method(*args, **kwargs)
            self.interrupt(name, False)
            return answer

        return ask


class StepsWorld:
    """An app, its clock, its messages, and what may happen to each."""

    def __init__(self) -> None:
        self.before = _state.get_current_app()
        name = f"model-{uuid.uuid4().hex}"
        self.app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=True)
        self.app.conf.task_default_queue = name
        self.app.set_current()
        Defer(self.app)
        self.extension: Any = self.app._celery_defer
        self.worker = Worker(self.app)
        self.store = self.extension.store = BrokenStore()
        self.now = 2_000_000_000.0
        self.extension.clock = lambda: self.now
        self.queue: list[Any] = []
        self.old: list[Any] = []
        #: How often each deferred function has run, by its argument.
        self.ran: Counter[str] = Counter()
        self.memos: dict[str, bytes] = {}
        self.run: Any = SimpleNamespace(id="")
        self.is_dead = False
        self.child = self._child()

    def _child(self) -> Any:
        @deferred
        @self.app.task(name="child", shared=False)
        def child(key: str) -> str:
            self.ran[key] += 1
            return f"child {key}"

        return child

    def close(self) -> None:
        self.before.set_current()

    # -- what may happen -------------------------------------------------------------------

    def begin(self, task: Any) -> None:
        self._make_paths_known()
        self.run = task.apply_async()
        self._collect()

    def _make_paths_known(self) -> None:
        """Let somebody wait for such events a while before the run."""

        @self.app.task(name="first", shared=False)
        def first() -> None:
            step.wait_for_event("wait", "event", timeout=1, match={"key": "none"})

        first.apply_async()
        self.finish()
        self.now += 2 * DRIFT

    def deliver(self, position: int = 0) -> None:
        """A worker takes a message; if it dies, the broker gives the message again."""
        self._collect()
        if not self.queue:
            return
        message = self.queue.pop(position % len(self.queue))
        if message.headers["id"] == self.run.id:
            self.old.append(message)
        if not self._alive(lambda: self.worker.trace(message)):
            self.queue.append(_again(message))

    def redeliver(self, position: int) -> None:
        """A broker gives a message again that was acknowledged; or it was published twice."""
        if self.old:
            message = self.old[position % len(self.old)]
            self._alive(lambda: self.worker.trace(_again(message)))

    def tick(self, seconds: float | None = None) -> None:
        """A relay looks, when something is due or some seconds later."""
        due = self.store.kept.next_due()
        self.now = max(self.now, due or 0.0) if seconds is None else self.now + seconds
        relay = Relay(self.app, self.store, self.extension.settings)  # type: ignore[arg-type]
        self._alive(lambda: relay.tick(self.now))

    def tell(self, key: str) -> bool:
        """Somebody sends an event; answer whether he has survived it."""
        data = {"key": key}
        return self._alive(lambda: send_event("event", data, id=f"{self.run.id} {key}"))

    def _alive(self, act: Callable[[], Any]) -> bool:
        was_dead, self.is_dead = self.is_dead, False
        try:
            act()
        except Killed:
            pass
        except Exception:
            if not self.is_dead:
                raise
        finally:
            died, self.is_dead = self.is_dead, was_dead
            self._collect()
            self.check_memos()
        return not died

    def die(self) -> None:
        self.is_dead = True
        raise Killed

    def _collect(self) -> None:
        self.queue += self.worker.published()

    @property
    def is_seen(self) -> bool:
        """Whether a step of the run has begun, so that events count for it."""
        return self.store.kept._runs[self.run.id].since is not None

    # -- what must hold --------------------------------------------------------------------

    def check_memos(self) -> None:
        """A memo never changes."""
        kept = dict(self.store.kept._runs[self.run.id].memos)
        assert {key: kept.get(key) for key in self.memos} == self.memos
        self.memos = kept

    def finish(self) -> None:
        """Let everything happen that still can."""
        self.store.interrupt = lambda _, __: None
        for _ in range(2_000):
            if not self.go_on():
                return
        raise AssertionError("the run does not come to an end")

    def go_on(self) -> bool:
        """Let the next thing happen; return False if there is none."""
        self._collect()
        if self.queue:
            self.deliver()
        elif self.store.kept.next_due() is not None:
            self.tick()
        else:
            return False
        return True

    def forget(self) -> None:
        """The store loses the steps of the run, and keeps its record."""
        self.store.kept._runs.pop(self.run.id, None)
        self.memos = {}


def _again(message: Any) -> Any:
    again = copy.copy(message)
    again.delivery_info = {**message.delivery_info, "redelivered": True}
    return again
