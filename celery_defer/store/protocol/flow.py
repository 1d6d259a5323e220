"""What a store promises about the gates of functions, and the runs that wait for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.flow import Ask, Gate
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.values import FlowState, Giving, Held, Hold, Holding, InLine, Leased


class Flow(Protocol):
    """Places, lines, and what else the gates of a function count.

    A run asks as it is claimed or resumed. If it may start, it has its places from then on, each
    named by its run and the token of its delivery. If not, the caller holds it.
    """

    def hold(
        self,
        ask: Ask,
        holding: Holding,
        *,
        now: float,
        until: float,
        keep: float,
        report: Commands | None = None,
        facts: Sequence[Fact] = (),
    ) -> Held:
        """Let a run that asks wait in line: end its turn, as ``park`` does, and keep its record.

        It asks once more first. A run that was in line before gets its old place there. The records
        of runs that are let through, this one among them, are leased until *until*, and returned;
        places are reserved for them.
        """
        ...

    def give_back(
        self,
        run: RunId,
        task: str,
        gates: Sequence[Gate],
        token: str | None,
        *,
        ended: bool,
        idle: float = 0.0,
        now: float,
        until: float,
        limit: int,
    ) -> list[Leased]:
        """Free the places of a delivery, and let through who is next.

        The records of up to *limit* runs that are let through are leased until *until*, and
        returned. Gates that a run was held back for need not be named.

        - *token* names the delivery; None stands for all deliveries of the run.
        - *ended*: the run is over. It leaves all lines, with its record if another delivery was
          held back, and its singleton is free.
        - *idle*: if the run is not over, in how many seconds it comes back.
        """
        ...

    def giving(self, hold: Hold, *, now: float, until: float, limit: int) -> Giving | None:
        """Return how ``commit`` gives back the places of a run that ends, as ``give_back`` does.

        None if the store is not one Redis server.
        """
        ...

    def renew(self, holds: Sequence[Hold], lease: float) -> list[Hold]:
        """Keep places for *lease* seconds more; return those that are lost.

        A place that has run out is taken again if nobody else has it.
        """
        ...

    def drain(self, now: float, until: float, limit: int) -> list[Leased]:
        """Let through whoever may start by now, as ``give_back`` does; a relay calls this."""
        ...

    def flow_due(self) -> float | None:
        """Return when ``drain`` may have something to do next."""
        ...

    def set_limit(self, task: str, name: str, numbers: Mapping[str, float] | None) -> None:
        """Override *limit*, *period* or *burst* of a limit; with None, end that.

        A number that is not given stays as it is.
        """
        ...

    def pause(self, task: str, *, is_paused: bool) -> None:
        """Hold back all runs of a function that ask from now on, or let them go on."""
        ...

    def keep_limits(self, names: Mapping[str, Sequence[str]]) -> None:
        """Forget the limits of these functions but those named, and let go on who waits for them.

        A function that has none is not paused either.
        """
        ...

    def flow(self, tasks: Sequence[str]) -> list[FlowState]:
        """Return the limits of functions and their use.

        A limit that no run has met yet is left out.
        """
        ...

    def in_line(self, runs: Sequence[RunId]) -> list[InLine | None]:
        """Return where runs stand in line; None for a run that is not held back."""
        ...
