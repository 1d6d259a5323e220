"""The parent's children, as Celery stores them with its result."""

from __future__ import annotations

from collections.abc import Iterable

from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import SoftTimeLimitExceeded
from celery.states import SUCCESS

from celery_defer.ids import run_id
from celery_defer.model import Call
from celery_defer.run.scope import Scope

__all__ = ["MAX_LINKS", "link", "link_again", "unlink", "will_be_stored"]

#: A result carries its children wherever it goes, 56 bytes each; the rest are linked
#: by the `parent_id` of their own results alone.
MAX_LINKS = 1_000
# No encoder of a backend refuses these.
_PLAIN = (type(None), bool, int, float)


def link(parent: Scope, calls: Iterable[Call]) -> None:
    """List the runs of *calls* as the parent's children; Celery stores them with its result."""
    if parent.task.trail:
        result, id = parent.app.AsyncResult, parent.run.id
        parent.task.request.children.extend(result(run_id(id, call.id)) for call in calls)


def link_again(parent: Scope, calls: Iterable[Call]) -> None:
    """List what was published in earlier turns of the run, whose requests are gone."""
    known = {child.id for child in parent.task.request.children}
    link(parent, [call for call in calls if run_id(parent.run.id, call.id) not in known])


def will_be_stored(parent: Scope, answer: object) -> bool:
    """Whether Celery can store *answer*; where it cannot, the parent fails after its body.

    Asked beforehand, for Celery would store the links with the failure too.
    """
    if type(answer) in _PLAIN:
        return True
    backend = parent.task.backend
    if not isinstance(backend, KeyValueStoreBackend):
        return True
    try:
        backend.encode(backend.encode_result(answer, SUCCESS))
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        return False
    return True


def unlink(parent: Scope, error: BaseException, traceback: str) -> None:
    """Take the children back from a parent whose result turned into a failure after its body."""
    links = {run_id(parent.run.id, call.id) for call in parent.buffered()}
    request = parent.task.request
    request.children[:] = [child for child in request.children if child.id not in links]
    if links and parent.task.AsyncResult(parent.run.id).failed():
        parent.task.backend.store_result(
            parent.run.id, error, "FAILURE", traceback=traceback, request=request
        )
