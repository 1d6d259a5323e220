"""What a test sees of a simulation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from celery_defer.contract import returns
from celery_defer.events import Received, received
from celery_defer.run import Memo
from celery_defer.testing.engine import Engine
from celery_defer.testing.run import SimulatedRun, SimulationError, find
from celery_defer.testing.stand_ins import task_name


class SimulationView:
    """The time, the runs and the events of a simulation."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runs = engine.runs

    @property
    def now(self) -> datetime:
        """The time in the simulation, in UTC."""
        return self._engine.now

    @property
    def runs(self) -> list[SimulatedRun[Any]]:
        """All published runs, in order."""
        return [SimulatedRun(self._runs, track) for track in self._runs.tracks.values()]

    @property
    def events(self) -> list[Received[Any]]:
        """All events sent, in order, also those that woke no run; their data is plain JSON.

        >>> assert [event.name for event in sim.events] == []
        """
        memos = [Memo.unpack(event.memo) for event in self._engine.store.sent]
        events = [received("events", memo, returns.PLAIN) for memo in memos]
        return [event for event in events if event is not None]

    def runs_of(self, task: Any) -> list[SimulatedRun[Any]]:
        """Return the runs of a task, in the order of their publication.

        >>> (order,) = sim.runs_of(process_order)
        """
        name = task_name(task)
        return [run for run in self.runs if run.task == name]

    def find(self, id: str) -> SimulatedRun[Any]:
        """Return the run with this id; raise SimulationError if it was not published.

        >>> order = sim.find(process_order.delay(7).id)
        """
        run = find(self._runs, id)
        if run is None:
            raise SimulationError(f"no run {id} was published; there are: {self.runs}")
        return run
