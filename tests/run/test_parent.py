"""What a deferred run knows of its parent."""

from __future__ import annotations

from celery import Celery

from celery_defer import current_run, defer, deferred
from tests.support.inside import WatchedStore, Worker


def test_the_result_of_a_parent_with_a_backend_of_its_own_is_read_there(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    other = Celery("other", backend="cache+memory://", set_as_current=False).backend
    other.key_prefix = other.task_keyprefix = b"elsewhere-"
    read = []

    @deferred
    @app.task(shared=False)
    def child() -> None:
        parent = current_run().parent
        assert parent is not None
        read.append(parent.result())

    @app.task(shared=False, backend=other)
    def parent() -> int:
        defer("child", child)
        return 7

    worker.run(parent)
    worker.drain()

    assert read == [7]
