"""An app whose broker and backend are in this process, and a worker that can be read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, _state
from celery.app import trace

from celery_defer import Defer


class Worker:
    """Does with a message what a pool's process does, but when the test says so."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.apart = f"{app.main}-apart"

    def run(self, task: Any, *args: Any, **options: Any) -> Any:
        """Send *task*, run it and nothing else, and answer its result."""
        result = task.apply_async(args, **{"queue": self.apart, **options})
        (message,) = self._received(self.apart)
        self._trace(message)
        return self.app.AsyncResult(result.id)

    def perform(self, task: Any) -> Any:
        """Run *task* as if a message of it had come, and answer its result."""
        id = str(uuid.uuid4())
        request = {"id": id, "task": task.name, "delivery_info": {}, "is_eager": False}
        trace.build_tracer(task.name, task._get_current_object(), app=self.app)(id, (), {}, request)
        return self.app.AsyncResult(id)

    def published(self) -> list[Any]:
        """Take the waiting messages off the queues, unrun."""
        return [*self._received(), *self._received(self.apart)]

    def drain(self) -> list[Any]:
        """Run what waits, and what that publishes in turn; answer the results in order."""
        results = []
        while messages := self.published():
            for message in messages:
                self._trace(message)
                results.append(self.app.AsyncResult(message.headers["id"]))
        return results

    def _received(self, name: str | None = None) -> Iterator[Any]:
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(name or self.app.conf.task_default_queue)
            while True:
                try:
                    message = queue.get_nowait()
                except queue.Empty:
                    return
                message.ack()
                yield message

    def _trace(self, message: Any) -> None:
        task = self.app.tasks[message.headers["task"]]
        args, kwargs, embed = message.payload
        request = {
            **message.headers,
            "delivery_info": {
                **message.delivery_info,
                "priority": message.properties.get("priority"),
            },
            "hostname": "unit@test",
            "args": args,
            "kwargs": kwargs,
            "is_eager": False,
            **embed,
        }
        tracer = trace.build_tracer(task.name, task, app=self.app)
        tracer(message.headers["id"], args, kwargs, request)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    # Celery makes the tasks of every app in every later one; here each test has its own.
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    name = f"unit-{uuid.uuid4().hex}"
    app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.task_default_queue = name
    Defer(app)
    return app


@pytest.fixture
def worker(app: Celery) -> Worker:
    return Worker(app)
