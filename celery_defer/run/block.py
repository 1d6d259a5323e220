"""The scope of a block of ``deferring()``, which is a parent without a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from celery.app.task import Context

from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.run.scope import Scope

#: The name that its deferred runs read as the name of their parent's task.
BLOCK = "celery_defer.deferring"


class Block(Scope):
    """One block: like the run of a task, but no worker runs it, and it ends only once."""

    #: A view does not wait twenty seconds for its result to be stored.
    store_policy: Mapping[str, Any] = {"max_retries": 1, "interval_start": 0}

    def __init__(self, app: Any, id: str | None) -> None:
        extension = extension_of(app)
        own = str(uuid4())
        facts = {"id": id or own, "is_eager": bool(app.conf.task_always_eager)}
        task = _BlockTask(app, Context(facts, task=BLOCK, children=[]))
        super().__init__(task, facts, extension.settings, extension.store)
        self._record_id = RunId(f"{id}/{own}" if id else own)

    @property
    def is_judged(self) -> bool:
        """No: what is staged has ended already."""
        return False

    @property
    def record_id(self) -> RunId:
        """Its own, so that blocks with the same id do not replace each other's records."""
        return self._record_id


@dataclass(frozen=True, slots=True)
class _BlockTask:
    """What the package reads of a run's task."""

    app: Any
    request: Context
    name: str = field(default=BLOCK, init=False)
    trail: bool = field(default=True, init=False)

    @property
    def backend(self) -> Any:
        return self.app.backend

    @property
    def ignore_result(self) -> bool:
        return bool(self.app.conf.task_ignore_result)

    @property
    def store_eager_result(self) -> bool:
        return bool(self.app.conf.task_store_eager_result)
