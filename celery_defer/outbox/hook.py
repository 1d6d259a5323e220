"""How the end of a run is stored: its SUCCESS with its calls, and any other end never over one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.states import FAILURE, RETRY, SUCCESS

from celery_defer import store
from celery_defer.commands import Commands
from celery_defer.outbox import history
from celery_defer.run import Scope, commands_of, find, hook_results, server_of_results

#: Stores a result by the backend that it is given.
StoreBy = Callable[[Any], Any]


def hook_ends(run: Scope) -> bool:
    """Have the run's backend store ends by this module; return False if it cannot."""
    backend = run.task.backend
    if run.is_eager or not hasattr(backend, "_store_result"):
        return False
    hook_results(backend, _store_result)
    return True


def is_json(backend: Any) -> bool:
    """Whether a script can read what *backend* stores."""
    return backend.serializer == "json" and not getattr(backend, "compression", None)


def _store_result(
    backend: Any,
    store_result: Callable[..., Any],
    task_id: str,
    result: Any,
    state: str,
    *args: Any,
    **kwargs: Any,
) -> Any:
    def store_by(to: Any) -> Any:
        own = store_result if to is backend else to._store_result
        return own(task_id, result, state, *args, **kwargs)

    scope = find()
    if scope is None or scope.run.id != task_id:
        return store_by(backend)
    if state == SUCCESS and scope.ending.commit is not None:
        return scope.ending.commit.store_result(backend, store_by)
    if state in (RETRY, FAILURE) and not scope.ending.is_open:
        return _store_unless_success(
            backend, task_id, store_by, scope if state == FAILURE else None
        )
    return store_by(backend)


def _store_unless_success(
    backend: Any, id: str, store_by: StoreBy, failed: Scope | None = None
) -> Any:
    """Store an end in one step with the look for a SUCCESS, which stays.

    Celery looks first and stores then. A retry may have succeeded in between, and the RETRY of the
    attempt before it would replace its SUCCESS.
    """
    if server_of_results(backend) is None or not is_json(backend):
        return store_by(backend)
    result = commands_of(backend, store_by)
    if result is None:
        return None
    key, facts = backend.get_key_for_task(id), _facts(failed, result) if failed else None
    try:
        # celery.backends.redis.RedisBackend.set: with Celery's own retries.
        committed = backend.ensure(
            lambda: store.commit(backend.client, key, result, None, facts, keeps_success=True), ()
        )
    except (SoftTimeLimitExceeded, *backend.connection_errors):
        raise
    except Exception:  # Redis refuses the script, or cannot read what is stored
        return store_by(backend)
    if failed is not None:
        failed.ending.is_told = facts is not None
    return committed.stored


def _facts(run: Scope, result: Commands) -> Commands | None:
    """Return what the run's history says of its failure, if the store is where the result goes."""
    facts = run.store.facts(history.failed(run)) if run.store else None
    return facts if facts and facts.server == result.server else None
