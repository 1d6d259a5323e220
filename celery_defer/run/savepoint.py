"""The calls of a block that has joined a run: if the block raises, they are taken back."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from celery_defer.model import Call, CallState, Run
from celery_defer.run.scope import Scope


class Savepoint:
    """What is deferred in this context from here on; other threads of the run have their own."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._ids: set[str] = set()
        self._outer = _savepoint.get()
        self._token = _savepoint.set(self)

    @property
    def run(self) -> Run:
        return self.scope.run

    def end(self, error: BaseException | None) -> None:
        """Leave the calls to the block around this one, or to the run; or take them back."""
        with suppress(ValueError):  # a generator that another context has closed
            _savepoint.reset(self._token)
        if error is not None:
            self._roll_back()
        elif self._outer is not None:
            self._outer._ids |= self._ids

    def note(self, call: Call) -> None:
        self._ids.add(call.id)

    def _roll_back(self) -> None:
        """Take the calls back, but for those that are the run's whatever the block does.

        They were made in a step that has finished, or wait for a failure of the run too.
        """
        journal, calls = self.scope.journal, self.scope.buffer.calls
        finished = {call.id for call in journal.calls()} if journal else set[str]()
        for id in self._ids - finished:
            if (call := calls.get(id)) is not None and _waits_for_success(call):
                del calls[id]


_savepoint: ContextVar[Savepoint | None] = ContextVar("celery_defer_savepoint", default=None)


def note_call(call: Call) -> None:
    """Let the savepoint of this context, if it has one, know of a call."""
    if (savepoint := _savepoint.get()) is not None:
        savepoint.note(call)


def _waits_for_success(call: Call) -> bool:
    return call.state is CallState.BUFFERED and call.options.when == "success"
