"""What a test has take the place of a step's function: a failure, or an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery_defer.simulated_world import World

__all__ = ["StandIn", "StandIns"]


@dataclass(slots=True)
class StandIn:
    """What is done in place of a step's function, how often, and in the runs of which task."""

    said: str
    step: str
    act: Callable[[], Any]
    times: int | None
    task: str | None
    taken: int = 0
    #: Whether a step has come to it, if only to find another one in its place.
    is_met: bool = False

    def is_for(self, step: str, task: str) -> bool:
        return step == self.step and self.task in (None, task) and self.times != self.taken

    def take(self) -> Any:
        self.taken += 1
        return self.act()


@dataclass(eq=False)
class StandIns:
    """All that a test has said of steps, in that order."""

    said: list[StandIn] = field(default_factory=list)

    def fail(
        self,
        step: str,
        error: BaseException | type[BaseException],
        times: int | None,
        task: str | None,
    ) -> None:
        def act() -> Any:
            # The traceback of the time before would be told with it.
            raise error if isinstance(error, type) else error.with_traceback(None)

        self.said.append(StandIn(f"fail_step({step!r})", step, act, times, task))

    def answer(self, step: str, answer: object, times: int | None, task: str | None) -> None:
        self.said.append(StandIn(f"answer_step({step!r})", step, lambda: answer, times, task))

    def find(self, step: str, task: str) -> StandIn | None:
        """Answer what takes the place of a step's function, this time.

        Those that are to be taken so many times come first, in order; then the last of those
        that hold always, so that a test may say otherwise than its fixtures.
        """
        able = [each for each in self.said if each.is_for(step, task)]
        for each in able:
            each.is_met = True
        counted = [each for each in able if each.times is not None]
        return next(iter(counted or reversed(able)), None)

    def missed(self, world: World) -> list[str]:
        """Answer what no step has come to, and why that may be."""
        return [f"{each.said}: {_why(each, world)}" for each in self.said if not each.is_met]


def _why(missed: StandIn, world: World) -> str:
    tracks = world.tracks.values()
    own = [track for track in tracks if missed.task in (None, track.task)]
    if any(missed.step in world.functionless(track) for track in own):
        return (
            "this step has no function: it sleeps, waits for an event, or invokes a run, whose "
            "own steps may fail or be answered"
        )
    ran = sorted({step for track in tracks for step in track.steps})
    return f"no such step has run; there were {ran}"
