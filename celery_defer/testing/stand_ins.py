"""What a test puts in place of a step's function or of a body: an exception or a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.app.task import Task

from celery_defer.testing.tracks import Runs


@dataclass(slots=True)
class StandIn:
    """What is called in place of a step's function, how often, and in the runs of which task.

    Without ``step`` it replaces the body. ``source`` is the test's call, for messages.
    """

    source: str
    step: str | None
    act: Callable[[], Any]
    times: int | None
    task: str | None
    uses: int = 0
    #: Whether it has fitted a step or a run, even if another stand-in came first.
    is_matched: bool = False

    def __post_init__(self) -> None:
        if self.times is not None and not (isinstance(self.times, int) and self.times > 0):
            raise ValueError(
                f"{self.source}: times={self.times!r} is not a number of times: give 1 or more, or "
                "None for always"
            )

    def is_for(self, step: str | None, task: str) -> bool:
        return step == self.step and self.task in (None, task) and self.times != self.uses

    def use(self) -> Any:
        self.uses += 1
        return self.act()


@dataclass(eq=False)
class StandIns:
    """The stand-ins of a simulation, in the order in which the test set them."""

    items: list[StandIn] = field(default_factory=list)

    def fail(
        self,
        step: str | None,
        error: BaseException | type[BaseException],
        times: int | None,
        task: Any,
    ) -> None:
        source = _source("fail", step, task)
        if not issubclass(error if isinstance(error, type) else type(error), BaseException):
            raise TypeError(f"{source}: {error!r} is not an exception, nor the class of one")

        def act() -> Any:
            # It would still have the traceback of the last time.
            raise error if isinstance(error, type) else error.with_traceback(None)

        self.items.append(StandIn(source, step, act, times, _name_or_any(task)))

    def answer(self, step: str | None, answer: object, times: int | None, task: Any) -> None:
        source = _source("answer", step, task)
        self.items.append(StandIn(source, step, lambda: answer, times, _name_or_any(task)))

    def find(self, step: str | None, task: str) -> StandIn | None:
        """Return what replaces a step's function, or a body, this time.

        Those with a number of times come first, in order; then the last of those that hold
        always, so that a test can override its fixtures.
        """
        matches = [each for each in self.items if each.is_for(step, task)]
        for each in matches:
            each.is_matched = True
        counted = [each for each in matches if each.times is not None]
        return next(iter(counted or reversed(matches)), None)

    def unmatched(self, runs: Runs) -> list[str]:
        """Return the calls that fitted no step and no run, each with a likely reason."""
        return [f"{each.source}: {_why(each, runs)}" for each in self.items if not each.is_matched]


def task_name(task: Any) -> str:
    """Return the name of a task; raise TypeError for anything else."""
    if isinstance(task, Task):
        return str(task.name)
    raise TypeError(f"{task!r} is not a task: give the task itself, or app.tasks[…]")


def _name_or_any(task: Any) -> str | None:
    return None if task is None else task_name(task)


def _source(verb: str, step: str | None, task: Any) -> str:
    return f"{verb}_run({task_name(task)})" if step is None else f"{verb}_step({step!r})"


def _why(stand_in: StandIn, runs: Runs) -> str:
    tracks = runs.tracks.values()
    if stand_in.step is None:
        begun = sorted({track.task for track in tracks if track.passes})
        return f"no such run has begun since; there were runs of {begun}"
    own = [track for track in tracks if stand_in.task in (None, track.task)]
    if any(stand_in.step in runs.steps_without_function(track) for track in own):
        return (
            "this step has no function: it sleeps, waits for an event, or invokes a run; for that "
            "use answer_run or fail_run"
        )
    ran = sorted({step for track in tracks for step in track.steps})
    return f"no such step has run; there were {ran}"
