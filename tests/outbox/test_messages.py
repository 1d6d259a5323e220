"""What the message of a deferred run has from its task, its parent and its app."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Defer, defer, deferred
from tests.support.inside import Worker, parent_of


def test_a_tasks_own_priority_comes_before_its_parents(app: Celery, worker: Worker) -> None:
    app.conf.task_inherit_parent_priority = True

    @deferred(app, shared=False)
    def own(n: int) -> None: ...

    own._get_current_object().priority = 8
    worker.run(parent_of(app, lambda: str(defer("own", own, 1).id)), priority=3)

    assert [message.properties["priority"] for message in worker.published()] == [8]


class Tenants(Celery):
    def send_task(self, *args: Any, **options: Any) -> Any:
        headers = {**(options.pop("headers", None) or {}), "tenant": "acme"}
        return super().send_task(*args, headers=headers, **options)


def test_an_apps_own_send_task_is_used() -> None:
    app = Tenants("tenants", broker="memory://", backend="cache+memory://")
    app.conf.task_default_queue = "tenants"
    Defer(app)

    @deferred(app, shared=False)
    def take(n: int) -> None: ...

    worker = Worker(app)
    worker.perform(parent_of(app, lambda: str(defer("take", take, 1).id)))

    assert [message.headers["tenant"] for message in worker.published()] == ["acme"]
