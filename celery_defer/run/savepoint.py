"""The calls of a block that has joined a run: if the block raises, they are taken back."""

from __future__ import annotations

from celery_defer.model import Call, CallState, Run
from celery_defer.run.changes import Changes
from celery_defer.run.scope import Scope


class Savepoint:
    """What is deferred in this context from here on; other threads of the run have their own."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._changes = Changes(scope.buffer)

    @property
    def run(self) -> Run:
        return self.scope.run

    def end(self, error: BaseException | None) -> None:
        """Leave the calls to the block around this one, or to the run; or take them back."""
        self._changes.leave()
        if error is not None:
            self._roll_back()
        self._changes.hand_on()

    def _roll_back(self) -> None:
        """Take the calls back, but for those that are the run's whatever the block does.

        They were made in a step that has finished, or wait for a failure of the run too.
        """
        made, calls = self._changes.made, self.scope.buffer.calls
        for id in list(made):
            if (call := calls.get(id)) is not None and _waits_for_success(call):
                del calls[id], made[id]


def _waits_for_success(call: Call) -> bool:
    return call.state is CallState.BUFFERED and call.options.when == "success"
