"""The calls that the attempt in progress has made so far, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from celery_defer.model import Call, CallState, Outcome
from celery_defer.run.changes import Changes, changes_of
from celery_defer.run.memo import Memo


@dataclass(eq=False, slots=True)
class Buffer:
    """The calls of one attempt; ``defer`` fills it, and handles withdraw from it."""

    calls: dict[str, Call] = field(default_factory=dict)
    skipped: list[Call] = field(default_factory=list)
    #: Ids that finished steps have aborted; the body may make these calls again.
    aborted: set[str] = field(default_factory=set)
    #: Ids of calls published at once in earlier turns; the body makes them again in this one.
    republished: set[str] = field(default_factory=set)
    #: The ids of calls in the order in which the body came to them.
    order: dict[str, int] = field(default_factory=dict)
    #: How many ids the body had come to before each call that was refused.
    places: dict[tuple[str, float, str], int] = field(default_factory=dict)

    def add(self, call: Call) -> bool:
        """Add a call; return False if its id is in use."""
        if call.id in self.aborted and call.state is CallState.BUFFERED:
            call = call.to(CallState.ABORTED)
        self.come_to(call)
        is_added = self.calls.setdefault(call.id, call) is call
        if is_added and (changes := changes_of(self)):
            changes.made[call.id] = call
        return is_added

    def skip(self, call: Call) -> None:
        """Add a call that was refused."""
        self.come_to(call)
        self.skipped.append(call)
        if changes := changes_of(self):
            changes.skipped.append(call)

    def come_to(self, *calls: Call) -> None:
        """Note that the body has come to these calls, or to the finished step that made them."""
        for call in calls:
            if call.state is CallState.SKIPPED:
                self.places.setdefault(_refusal(call), len(self.order))
            self.order.setdefault(call.id, len(self.order))

    def place(self, refused: Call) -> int:
        """Return how many ids the body had come to before a call that was refused."""
        return self.places.get(_refusal(refused), len(self.order))

    def waiting(self) -> list[Call]:
        """Return the calls to be published when the run ends as they ask."""
        return [call for call in self.calls.values() if call.state is CallState.BUFFERED]

    def without_run(self) -> list[Call]:
        """Return the calls that were aborted or skipped, and so have no run."""
        aborted = [call for call in self.calls.values() if call.state is CallState.ABORTED]
        refused = [call for call in self.skipped if call.id not in self.calls]
        return [*aborted, *refused]

    def recall(self, memos: Iterable[Memo], republished: Iterable[str]) -> None:
        """Add what finished steps have done, and the ids that earlier turns published at once."""
        for memo in memos:
            self.skipped += memo.skipped
            self.aborted.update(memo.aborted)
            for call in memo.calls:
                self.calls.setdefault(call.id, call)
        for id in self.aborted:
            self.abort(id, may_change=True)
        self.republished = set(republished)

    def abort(self, defer_id: str, *, may_change: bool) -> bool:
        """Withdraw a buffered call, if it *may_change*; return whether the call is withdrawn."""
        call = self.calls.get(defer_id)
        if may_change and call is not None and call.state is CallState.BUFFERED:
            if changes := changes_of(self):
                changes.note_abort(call)
            call = self.calls[defer_id] = call.to(CallState.ABORTED)
        return call is not None and call.state is CallState.ABORTED

    def revert(self, changes: Changes) -> None:
        """Remove the calls that were made, and restore the aborted; the refused calls stay."""
        changes.has_failed = True
        for id in changes.made:
            self.calls.pop(id, None)
        self.calls.update(changes.aborted)
        changes.made.clear()
        changes.aborted.clear()

    def drop_unless(self, outcome: Outcome) -> None:
        """Drop the calls that do not wait for *outcome*."""
        for call in self.waiting():
            if not outcome.starts(call.options.when):
                self.calls[call.id] = call.to(CallState.DROPPED)

    def clear(self) -> None:
        """Drop all calls: the attempt has failed, is retried, or is parked."""
        self.calls.clear()
        self.skipped.clear()


def _refusal(call: Call) -> tuple[str, float, str]:
    """Return what tells a refused call from others of its id, also as its step's memo has it."""
    return call.id, call.at, call.refused or ""
