"""``with deferring():``, which makes a block of code a parent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any

from celery_defer import guard, ids, subject
from celery_defer.current import extension_of, in_use
from celery_defer.errors import OptionError, StoreError
from celery_defer.model import Call, Outcome
from celery_defer.outbox import add_calls, close_block, end_block
from celery_defer.run import Block, Phase, Run, Savepoint, Scope, enter, find, leave
from celery_defer.text import safe_repr

logger = guard.logger(__name__)

#: Calls a function once a database transaction has committed, as Django's ``on_commit`` does.
OnCommit = Callable[[Callable[[], None]], object]

_UNPUBLISHED = "run %s (%s): its calls are not published"

# The phases in which a run defers no more, and does not go on later.
_OVER = frozenset({Phase.RETURNED, Phase.RAISED, Phase.DROPPED})


def deferring(
    app: Any = None, *, id: str | None = None, on_commit: OnCommit | None = None
) -> Deferring:
    """Make a block a parent, outside any task: in a view, a script, a management command, a test.

    Use it with ``with`` or ``async with``. When the block ends, its calls of ``defer`` are made
    durable and published; when it raises, they are dropped. With *on_commit*, a function such as
    Django's ``transaction.on_commit``, they are published if and when the transaction commits.

    In the body of a task, and in another block, it joins that run: the calls are the run's, and
    with *on_commit* only if the transaction commits too. *id* has no effect then.

    *id* is the parent's id, random by default. If two blocks have the same id, calls of theirs with
    the same defer id run once. Name the *app* where a process has several.

    Raises IdError for a bad *id*, StoreError for an app without a Defer, and OptionError for an
    *on_commit* that is no function. At its end it raises StoreError if a call could be neither
    stored nor published; with *on_commit* that is logged.

    >>> with deferring() as parent:
    ...     handle = defer("receipt", send_receipt, order_id=order.id)
    """
    if app is not None and extension_of(app) is None:
        raise StoreError(f"{safe_repr(app)} has no Defer(app): call Defer(app) where it is made")
    if on_commit is not None and not callable(on_commit):
        raise OptionError(f"on_commit {safe_repr(on_commit)} is no function: transaction.on_commit")
    return Deferring(app, None if id is None else ids.check(id), on_commit)


class Deferring:
    """One block of code: a parent, or a part of the run in progress."""

    def __init__(self, app: Any, id: str | None, on_commit: OnCommit | None) -> None:
        self._app = app
        self._id = id
        self._on_commit = on_commit
        self._part: _Parent | _Part | None = None
        self._has_ended = False

    def __enter__(self) -> Run:
        if self._part is not None:
            raise RuntimeError("this block was entered before: call deferring() for each block")
        run = _run_in_progress(self._app)
        if run is None:
            self._part = _Parent(Block(self._app or in_use(), self._id), self._on_commit)
        else:
            self._part = _Part(Savepoint(run), self._on_commit)
        return self._part.run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if publish := self._end(error):
            publish()

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if publish := self._end(error):
            await asyncio.to_thread(publish)

    def _end(self, error: BaseException | None) -> Callable[[], None] | None:
        if self._part is None or self._has_ended:
            raise RuntimeError("this block was not entered, or has ended: use it in `with`")
        self._has_ended = True
        return self._part.end(error)


class _Part:
    """A block that has joined a run."""

    def __init__(self, savepoint: Savepoint, on_commit: OnCommit | None) -> None:
        self._savepoint = savepoint
        self._on_commit = on_commit

    @property
    def run(self) -> Run:
        return self._savepoint.run

    def end(self, error: BaseException | None) -> None:
        """Leave the calls to the run: now, or when the transaction commits."""
        calls = self._savepoint.end(error, withholds=self._on_commit is not None)
        if calls and self._on_commit is not None:
            self._on_commit(partial(self._add, calls))

    def _add(self, calls: list[Call]) -> None:
        if self._savepoint.is_void:
            return
        about = subject.of_run(self.run)
        with guard.logged(logger, _UNPUBLISHED, self.run.id, self.run.task, about=about):
            add_calls(self._savepoint.scope, calls)


class _Parent:
    """A block that has joined no run."""

    def __init__(self, block: Block, on_commit: OnCommit | None) -> None:
        self._block = block
        self._on_commit = on_commit
        self._token = enter(block)
        block.ending.phase = Phase.IN_BODY

    @property
    def run(self) -> Run:
        return self._block.run

    def end(self, error: BaseException | None) -> Callable[[], None] | None:
        """End the block; return a function that publishes its calls, if that is to be now."""
        with suppress(ValueError):  # a generator that another context has closed
            leave(self._token)
        outcome = close_block(self._block, error)
        self._watch()
        if outcome is None:
            return None
        publish = partial(self._publish, outcome)
        if self._on_commit is None or outcome is Outcome.FAILURE:
            return publish
        self._on_commit(publish)
        return None

    def _publish(self, outcome: Outcome) -> None:
        with self._errors(outcome):
            end_block(self._block, outcome)
        self._watch()

    def _errors(self, outcome: Outcome) -> AbstractContextManager[object]:
        """Log errors where raising them would hide another one, or disturb what has committed."""
        if self._on_commit is None and outcome is Outcome.SUCCESS:
            return nullcontext()
        about = subject.of_run(self.run)
        return guard.logged(logger, _UNPUBLISHED, self.run.id, self.run.task, about=about)

    def _watch(self) -> None:
        extension_of(self._block.app).watch_block(self._block)


def _run_in_progress(app: Any) -> Scope | None:
    """Return the run that a block joins: one of this app that has not left its body."""
    run = find()
    if run is None or run.ending.phase in _OVER or app not in (None, run.app):
        return None
    return run
