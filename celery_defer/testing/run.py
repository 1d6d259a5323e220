"""What a test sees of a run: its end, its steps, what it waits for, what it deferred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from celery.states import FAILURE, PENDING, RETRY, SUCCESS

from celery_defer import encoding
from celery_defer.contract import SchemaLayout, deferrable
from celery_defer.ids import RunId, run_id
from celery_defer.model import HELD, Call, CallState, Options
from celery_defer.run import DeferHeader
from celery_defer.store import ScoreRow
from celery_defer.testing.tracks import DROPPED, Runs, Track
from celery_defer.testing.waiting import Waiting, describe, waiting

R = TypeVar("R")

_UNSTARTED = {
    PENDING: "it has not run: call drain(), or advance(…) if it has a countdown",
    RETRY: "it is tried again later: call advance(…)",
    HELD: "a limit holds it back: let the runs before it end, or call advance(…)",
}


class SimulationError(AssertionError):
    """The simulation is not as the test expects; the message says how, and often why."""


class SimulatedRun(Generic[R]):
    """One run of a task in a simulation, always as it is now."""

    __slots__ = ("_runs", "_track")

    def __init__(self, runs: Runs, track: Track) -> None:
        self._runs = runs
        self._track = track

    def __repr__(self) -> str:
        return f"<run of {self.task}: {self._runs.state(self._track)}, {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SimulatedRun) and other._track is self._track

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> RunId:
        """The run's Celery task id."""
        return self._track.id

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._track.task

    @property
    def state(self) -> str:
        """What the app's result backend would show, or IGNORED or REJECTED.

        PENDING, WAITING, HELD, RETRY, SUCCESS, FAILURE, REVOKED, ABORTED, SKIPPED or REPLACED.
        """
        self._track.is_seen = True
        return self._runs.state(self._track)

    @property
    def result(self) -> R:
        """What the body returned.

        Raises the exception of a run that failed, and SimulationError if the run has not ended;
        that error says what the run waits for.
        """
        self._track.is_seen = True
        if self._track.state == FAILURE and self._track.exception is not None:
            raise self._track.exception
        if self._runs.state(self._track) != SUCCESS:
            wait = self.waits_for
            state = self._runs.state(self._track)
            reason = describe(wait) if wait else self._track.reason or _UNSTARTED.get(state)
            raise SimulationError(f"{self!r} has no result{_because(reason)}")
        result: R = self._track.result
        return result

    @property
    def exception(self) -> BaseException | None:
        """The exception that the run failed with or, while its state is RETRY, is retried for."""
        self._track.is_seen = True
        return self._track.exception

    @property
    def traceback(self) -> str | None:
        """The traceback of the failure, as Celery stores it."""
        self._track.is_seen = True
        return self._track.traceback

    @property
    def passes(self) -> int:
        """How often the body has begun: once, and again for each wake-up and each retry."""
        return self._track.passes

    @property
    def steps(self) -> Mapping[str, int]:
        """How often the function of each step, or what replaces it, was called."""
        return dict(self._track.steps)

    @property
    def waits_for(self) -> Waiting | None:
        """What the run waits for; None unless its state is WAITING."""
        return waiting(self._runs, self._track)

    @property
    def deferred(self) -> Mapping[str, DeferredCall]:
        """The calls that the run deferred, by defer id, once its body has ended."""
        calls = self._runs.store.calls.get(self.id, {})
        return _Calls(
            {id: DeferredCall(self._runs, self._track, call) for id, call in calls.items()}
        )

    @property
    def skipped(self) -> list[DeferredCall]:
        """The calls that were refused, including those whose id was already used."""
        return [DeferredCall(self._runs, self._track, call) for call in self._track.skipped]

    @property
    def variants(self) -> Mapping[str, str]:
        """The variant of each experiment that the run, or one above it, has taken."""
        header = DeferHeader.of(self._track.headers)
        carried = header.experiments.items() if header else ()
        return {**{name: taken[0] for name, taken in carried}, **self._track.variants}

    @property
    def scores(self) -> list[ScoreRow]:
        """The scores of the run and of its steps: the last one of each name, in order."""
        (rows,) = self._runs.store.scores_of([self.id])
        last = {(row.step, row.name): row for row in rows}
        return sorted(last.values(), key=rows.index)

    @property
    def parent(self) -> SimulatedRun[Any] | None:
        """The run that deferred or sent this one."""
        return find(self._runs, self._track.headers.get("parent_id") or "")

    @property
    def children(self) -> list[SimulatedRun[Any]]:
        """The runs that this one deferred or sent, in the order of their publication."""
        return [
            SimulatedRun(self._runs, track)
            for track in self._runs.tracks.values()
            if track.headers.get("parent_id") == self.id
        ]


class DeferredCall:
    """One call of ``defer``, and the run that it started."""

    __slots__ = ("_call", "_parent", "_runs")

    def __init__(self, runs: Runs, parent: Track, call: Call) -> None:
        self._runs = runs
        self._parent = parent
        self._call = call

    def __repr__(self) -> str:
        return f"<defer {self.id!r} of {self.task}: {self.state}>"

    @property
    def id(self) -> str:
        """The defer id."""
        return self._call.id

    @property
    def task(self) -> str:
        """The name of the deferred function."""
        return self._call.task

    @property
    def options(self) -> Options:
        """Its options: ``countdown``, ``queue``, ``when`` and so on."""
        return self._call.options

    @property
    def reason(self) -> str | None:
        """Why the call was skipped, or its run dropped by a limit."""
        track = self._runs.tracks.get(self._run_id)
        return self._call.reason or (track.reason if track else None)

    @property
    def state(self) -> str:
        """BUFFERED, PUBLISHED, SKIPPED, REPLACED, ABORTED or DROPPED."""
        if self._call.state in (CallState.SKIPPED, CallState.ABORTED):
            return str(self._call.state.value)
        if self._runs.is_aborted(self._run_id):
            return CallState.ABORTED.value
        if track := self._runs.tracks.get(self._run_id):
            return track.state if track.state in DROPPED else CallState.PUBLISHED.value
        if self._runs.batch_of(self._run_id):
            return CallState.PUBLISHED.value
        if self._runs.is_gathered(self._run_id):
            return CallState.BUFFERED.value
        is_over = self._runs.is_over(self._parent)
        return CallState.DROPPED.value if is_over else CallState.BUFFERED.value

    @property
    def payload(self) -> Any:
        """The payload: an object of the schema, or the arguments by name.

        None for a call that was skipped.
        """
        if not self._call.payload:
            return None
        contract = deferrable(self._runs.app.tasks[self.task]).contract
        args, kwargs = contract.unpack(*encoding.read(self._call.payload))
        if isinstance(contract.layout, SchemaLayout):
            return next(iter([*args, *kwargs.values()]))
        return dict(contract.layout.sent(args, kwargs))

    @property
    def run(self) -> SimulatedRun[Any]:
        """The deferred run; that of its batch, if it is in one.

        Raises SimulationError if the call was not published.
        """
        run = find(self._runs, self._runs.batch_of(self._run_id) or self._run_id)
        if run is None:
            raise SimulationError(f"{self!r} has no run{_because(self.reason)}")
        return run

    @property
    def _run_id(self) -> RunId:
        return run_id(self._parent.id, self._call.id)


class _Calls(dict[str, DeferredCall]):
    def __missing__(self, id: str) -> DeferredCall:
        names = ", ".join(map(repr, self)) or "none"
        raise SimulationError(f"the run has deferred nothing as {id!r}; there are: {names}")


def find(runs: Runs, id: str) -> SimulatedRun[Any] | None:
    """Return the run with this id; None if no such run was published."""
    return SimulatedRun(runs, runs.tracks[id]) if id in runs.tracks else None


def _because(reason: object) -> str:
    return f": {reason}" if reason else ""
