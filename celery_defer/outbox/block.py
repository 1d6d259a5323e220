"""How the calls of a block leave: as those of a run, but without a worker that ends it."""

from __future__ import annotations

from collections.abc import Iterable

from celery.states import SUCCESS

from celery_defer import guard
from celery_defer.errors import StoreError
from celery_defer.model import Call, CallState, Outcome
from celery_defer.outbox.commit import commit, commit_failure
from celery_defer.outbox.publish import named, publish
from celery_defer.run import Block, Phase, Scope, enter, leave

logger = guard.logger(__name__)


def close_block(block: Block, error: BaseException | None) -> Outcome | None:
    """Take no more calls; return the outcome to publish for, None if there is nothing to do."""
    block.is_over = True
    block.ending.result = error  # an eager deferred run may ask for it
    if error is None:
        block.ending.phase = Phase.RETURNED
        return Outcome.SUCCESS if block.has_deferred else None
    # As in a run: what is no Exception ends the process, or the task of an event loop.
    if not isinstance(error, Exception):
        block.drop()
        return None
    block.ending.phase = Phase.RAISED
    block.buffer.drop_unless(Outcome.FAILURE)
    return Outcome.FAILURE if block.buffer.waiting() or block.buffer.without_run() else None


def end_block(block: Block, outcome: Outcome) -> None:
    """Commit and publish the calls of a block, once.

    They are durable after one round trip: in the transaction that stores the block's result, or
    in a record. Raises StoreError if calls could be neither stored nor published.
    """
    if block.ending.commit is not None:
        return
    token = enter(block)  # the hook into the result backend asks for the scope
    block.is_over = False
    try:
        if block.buffer.waiting():
            _commit(block, outcome)
        lost = publish(block, outcome)
    finally:
        block.is_over = True
        leave(token)
    calls = block.buffer.calls.values()
    lost = (
        *(call for call in calls if call.state is CallState.LOST),
        *lost,
    )  # those of "now" first
    if lost:
        raise StoreError(
            f"the broker is away, and there is no store, or it is away too: what block "
            f"{block.run.id} deferred cannot be published: {named(lost)}"
        )


def add_calls(scope: Scope, calls: Iterable[Call]) -> None:
    """Add calls to a run, after a commit that they have waited for.

    If the run has succeeded in the meantime, they are published, as calls of a block with its id.
    """
    if not scope.ending.is_open and scope.ending.phase is not Phase.RETURNED:
        return
    late = scope if scope.ending.is_open else Block(scope.app, scope.run.id)
    for call in calls:
        late.buffer.add(call)
    if isinstance(late, Block) and late is not scope:
        end_block(late, Outcome.SUCCESS)


def _commit(block: Block, outcome: Outcome) -> None:
    """Commit the calls, and store the result of a block that has not raised, with its links."""
    if outcome is Outcome.FAILURE:
        commit_failure(block)
        return
    commit(block)
    task = block.task
    if not block.keeps_result or (block.is_eager and not task.store_eager_result):
        return
    with guard.logged(logger, "run %s: its links are not stored", block.run.id):
        task.backend.store_result(block.run.id, None, SUCCESS, request=task.request)
