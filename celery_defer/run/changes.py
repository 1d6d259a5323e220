"""What a part of a body does to the calls of its run: the function of a step, say."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar

from celery_defer.model import Call


class Changes:
    """What is made, aborted and skipped in this context until ``leave``.

    A thread belongs to it that was started with this context. Other threads of the run have their
    own.
    """

    def __init__(self, buffer: object, step: str | None = None) -> None:
        self.buffer = buffer
        #: The step whose function is in progress, if it is one.
        self.step = step
        self.made: dict[str, Call] = {}
        #: Calls made before, as they were.
        self.aborted: dict[str, Call] = {}
        self.skipped: list[Call] = []
        #: The tags that it has set; None for one that it has removed.
        self.tags: dict[str, str | None] = {}
        #: When it began, in seconds since 1970, and by a clock that only goes forward.
        self.began = self.opened = 0.0
        self.is_over = False
        #: Whether it has raised, so that its calls were taken back.
        self.has_failed = False
        self._outer = _changes.get()
        self._token = _changes.set(self)

    def leave(self) -> None:
        self.is_over = True
        with suppress(ValueError):  # a generator that another context has closed
            _changes.reset(self._token)

    def hand_on(self) -> None:
        """Leave the changes to what is around this one."""
        outer = self._outer
        if outer is not None and outer.buffer is self.buffer:
            outer.made |= self.made
            outer.aborted |= {id: call for id, call in self.aborted.items() if id not in outer.made}
            outer.skipped += self.skipped
            outer.tags |= self.tags

    @property
    def is_void(self) -> bool:
        """Whether this, or what is around it, has failed."""
        return self.has_failed or (self._outer is not None and self._outer.is_void)

    def note_abort(self, call: Call) -> None:
        if call.id not in self.made:
            self.aborted.setdefault(call.id, call)


_changes: ContextVar[Changes | None] = ContextVar("celery_defer_changes", default=None)


def changes_of(buffer: object) -> Changes | None:
    """Return what notes the changes of *buffer* here; None if nothing does."""
    changes = _changes.get()
    while changes is not None and (changes.is_over or changes.buffer is not buffer):
        changes = changes._outer
    return changes


def step_inside(buffer: object) -> str | None:
    """Return the step of *buffer*'s run whose function is in progress here."""
    changes = changes_of(buffer)
    while changes is not None and (changes.is_over or not changes.step):
        changes = changes._outer
    return changes.step if changes is not None and changes.buffer is buffer else None
