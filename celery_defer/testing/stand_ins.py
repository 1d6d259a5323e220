"""What a test has take the place of a step's function, or of a body: a failure, or an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.app.task import Task

from celery_defer.testing.tracks import Runs


@dataclass(slots=True)
class StandIn:
    """What is done in place of a step's function, how often, and in the runs of which task.

    Where ``step`` is None it is done in place of the body.
    """

    said: str
    step: str | None
    act: Callable[[], Any]
    times: int | None
    task: str | None
    taken: int = 0
    #: Whether a step has come to it, if only to find another one in its place.
    is_met: bool = False

    def __post_init__(self) -> None:
        if self.times is not None and not (isinstance(self.times, int) and self.times > 0):
            raise ValueError(
                f"{self.said}: times={self.times!r} is no number of times: give 1 or more, or None "
                "for always"
            )

    def is_for(self, step: str | None, task: str) -> bool:
        return step == self.step and self.task in (None, task) and self.times != self.taken

    def take(self) -> Any:
        self.taken += 1
        return self.act()


@dataclass(eq=False)
class StandIns:
    """All that a test has said of steps and of runs, in that order."""

    said: list[StandIn] = field(default_factory=list)

    def fail(
        self,
        step: str | None,
        error: BaseException | type[BaseException],
        times: int | None,
        task: Any,
    ) -> None:
        said = _said("fail", step, task)
        if not _is_raisable(error):
            raise TypeError(f"{said}: {error!r} is no exception: give one, or the class of one")

        def act() -> Any:
            # The traceback of the time before would be told with it.
            raise error if isinstance(error, type) else error.with_traceback(None)

        self.said.append(StandIn(said, step, act, times, _name_or_any(task)))

    def answer(self, step: str | None, answer: object, times: int | None, task: Any) -> None:
        said = _said("answer", step, task)
        self.said.append(StandIn(said, step, lambda: answer, times, _name_or_any(task)))

    def find(self, step: str | None, task: str) -> StandIn | None:
        """Answer what takes the place of a step's function, or of a body, this time.

        Those that are to be taken so many times come first, in order; then the last of those
        that hold always, so that a test may say otherwise than its fixtures.
        """
        able = [each for each in self.said if each.is_for(step, task)]
        for each in able:
            each.is_met = True
        counted = [each for each in able if each.times is not None]
        return next(iter(counted or reversed(able)), None)

    def missed(self, runs: Runs) -> list[str]:
        """Answer what no step and no run has come to, and why that may be."""
        return [f"{each.said}: {_why(each, runs)}" for each in self.said if not each.is_met]


def task_name(task: Any) -> str:
    """Answer the name of a task; raise TypeError for what is none."""
    if isinstance(task, Task):
        return str(task.name)
    raise TypeError(
        f"{task!r} is not a task: give the task itself; app.tasks[…] answers it by its name"
    )


def _name_or_any(task: Any) -> str | None:
    return None if task is None else task_name(task)


def _said(verb: str, step: str | None, task: Any) -> str:
    return f"{verb}_run({task_name(task)})" if step is None else f"{verb}_step({step!r})"


def _is_raisable(error: object) -> bool:
    kind = error if isinstance(error, type) else type(error)
    return issubclass(kind, BaseException)


def _why(missed: StandIn, runs: Runs) -> str:
    tracks = runs.tracks.values()
    if missed.step is None:
        begun = sorted({track.task for track in tracks if track.passes})
        return f"no such run has begun since; there were runs of {begun}"
    own = [track for track in tracks if missed.task in (None, track.task)]
    if any(missed.step in runs.functionless(track) for track in own):
        return (
            "this step has no function: it sleeps, waits for an event, or invokes a run, for which "
            "there are answer_run and fail_run"
        )
    ran = sorted({step for track in tracks for step in track.steps})
    return f"no such step has run; there were {ran}"
