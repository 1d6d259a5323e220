"""The calls of a block that has joined a run: if the block raises, they are taken back."""

from __future__ import annotations

from celery_defer.model import Call, CallState
from celery_defer.run.changes import Changes
from celery_defer.run.parent import Run
from celery_defer.run.scope import Scope


class Savepoint:
    """What is deferred in this context from here on; other threads of the run have their own."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._changes = Changes(scope.buffer)

    @property
    def run(self) -> Run:
        return self.scope.run

    @property
    def is_void(self) -> bool:
        """Whether the block, or one around it, has raised."""
        return self._changes.is_void

    def end(self, error: BaseException | None, *, withholds: bool = False) -> list[Call]:
        """Leave the calls to the block around this one, or to the run; or take them back.

        With *withholds* they are returned, to be added again later.
        """
        self._changes.has_failed = error is not None
        self._changes.leave()
        taken = self._take() if withholds or error is not None else []
        self._changes.hand_on()
        return taken if error is None else []

    def _take(self) -> list[Call]:
        """Take the calls out of the run, but for those that are its own whatever the block does.

        They were made in a step that has finished, or wait for a failure of the run too.
        """
        made, calls = self._changes.made, self.scope.buffer.calls
        current = [call for id in made if (call := calls.get(id)) is not None]
        taken = [call for call in current if _waits_for_success(call)]
        for call in taken:
            del calls[call.id], made[call.id]
        return taken


def _waits_for_success(call: Call) -> bool:
    return call.state is CallState.BUFFERED and call.options.when == "success"
