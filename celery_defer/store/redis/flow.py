"""The gates of the Redis store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery_defer.commands import Commands
from celery_defer.flow import Ask, Gate
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.redis.client import SOON, RedisClient, seconds
from celery_defer.store.redis.replies import admission, flow_state, standing_in_line
from celery_defer.store.values import (
    FlowState,
    Giving,
    Held,
    Hold,
    Holding,
    InLine,
    Leased,
    in_place_of,
)

# How many runs one that is held back may let through.
_MOST = 10
#: The parts of a script that lets runs through.
LINES = ("now", "note", "record", "write", "keep", "lease", "gates", "lines")
#: Of one in which a run asks.
ASKS = (*LINES, "admit", "start", "commands")


class RedisFlow(RedisClient):
    """Keeps lines and counts in keys of their own, whose names are found as the scripts run."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._hold = self._script(*ASKS, "unwatching", "cancelling", "hold")
        self._give_back = self._script(*LINES, "admit", "start", "giving", "give_back")
        self._renew = self._script("now", "keep", "gates", "renew")
        self._drain = self._script(*LINES, "drain")
        self._set_limit = self._script(*LINES, "set_limit")
        self._pause = self._script(*LINES, "pause")
        self._keep_limits = self._script(*LINES, "keep_limits")
        self._states = self._script("now", "keep", "gates", "flow")
        self._in_line = self._script("now", "keep", "gates", "in_line")
        self._first_due = self._script("now", "next_due")

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
        keys = [self._run(ask.run), self._owner(ask.run), *self._record_keys(ask.run)]
        args = [holding.turn, holding.token, holding.body, self._from_now(holding.due)]
        args += [seconds(keep), SOON, holding.ending]
        args += [self._from_now(now), self._from_now(until), _MOST, in_place_of(ask.run)]
        args += [*self._ask_args(ask), *self._fact_args(facts), *self._report_args(report)]
        keys += [self._channel, self._deadlines]
        verdict, replaced, rows, has_reported, *left = self._hold(keys, args)
        return Held(
            admission(verdict),
            RunId(replaced.decode()) if replaced else None,
            tuple(self._leased(row) for row in rows),
            bool(has_reported),
            left[0] if left and left[0] else b"",
        )

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
        args = [self._prefix, run, task, int(token is not None), token or "", int(ended), idle]
        args += [self._from_now(now), self._from_now(until), limit]
        args += [part for gate in gates for part in (gate.kind.value, gate.name, gate.key)]
        return self._leases(self._give_back([self._due, self._channel], args))

    def giving(self, hold: Hold, *, now: float, until: float, limit: int) -> Giving | None:
        if not self._server:
            return None
        args: list[Any] = [self._due, self._channel]
        args += [self._prefix, hold.run, hold.task, 1, hold.token, 1, 0]
        args += [self._from_now(now), self._from_now(until), limit]
        args += [part for gate in hold.gates for part in (gate.kind.value, gate.name, gate.key)]
        return Giving(self._server, self._database, args, self._leases)

    def renew(self, holds: Sequence[Hold], lease: float) -> list[Hold]:
        args: list[Any] = [self._prefix, lease]
        for hold in holds:
            args += [hold.task, hold.run, hold.token, len(hold.gates)]
            for gate in hold.gates:
                args += [gate.kind.value, gate.name, gate.key, int(gate.cancels)]
        return [holds[place] for place in self._renew([], args)]

    def drain(self, now: float, until: float, limit: int) -> list[Leased]:
        args = [self._prefix, self._from_now(now), self._from_now(until), limit]
        return self._leases(self._drain([self._due], args))

    def flow_due(self) -> float | None:
        wait = self._first_due([self._gates], [])
        return None if wait is None else self._clock() + float(wait)

    def set_limit(self, task: str, name: str, numbers: Mapping[str, float] | None) -> None:
        args: list[Any] = [self._prefix, task, name]
        if numbers is not None:
            args += [numbers.get(each, "") for each in ("limit", "period", "burst")]
        self._set_limit([self._channel], args)

    def pause(self, task: str, *, is_paused: bool) -> None:
        self._pause([self._channel], [self._prefix, task, int(is_paused)])

    def keep_limits(self, names: Mapping[str, Sequence[str]]) -> None:
        args = [part for task, kept in names.items() for part in (task, len(kept), *kept)]
        self._keep_limits([self._channel], [self._prefix, *args])

    def flow(self, tasks: Sequence[str]) -> list[FlowState]:
        rows = self._states([], [self._prefix, *tasks])
        return [flow_state(task, *row) for task, row in zip(tasks, rows, strict=True)]

    def in_line(self, runs: Sequence[RunId]) -> list[InLine | None]:
        return [standing_in_line(row) for row in self._in_line([], [self._prefix, *runs])]

    def _ask_args(self, ask: Ask) -> list[Any]:
        """Return the arguments with which a script lets a run ask."""
        args: list[Any] = [self._prefix, ask.task, ask.run, ask.token, ask.lease]
        args += [
            "" if ask.made is None else ask.made,
            ask.priority,
            int(ask.goes_on),
            len(ask.gates),
        ]
        for gate in ask.gates:
            args += [gate.kind.value, gate.name, gate.key, gate.limit, gate.period, gate.burst]
            args += ["" if gate.timeout is None else gate.timeout, int(gate.cancels)]
        return args
