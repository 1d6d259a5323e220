"""The scores and experiments of the Redis store."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json, to_json

from celery_defer.ids import RunId
from celery_defer.store.history import Place
from celery_defer.store.redis.client import RedisClient, seconds
from celery_defer.store.scores import Carried, ScoreRow

_NOTHING: Carried = MappingProxyType({})
# As score.lua writes it.
_HEAD = struct.Struct("<dI")
# Members of a list that are read at once, and fields of a hash.
_MANY = 2_500
# Scores that one script writes; a thousand would take a server 20 ms.
_MOST = 250


class RedisScores(RedisClient):
    """Keeps the scores of a run in one hash, and lists of each experiment's runs and values."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._score = self._script("now", "note", "score")
        self._assign = self._script("now", "note", "assign")
        self._list_members = self._script("members")

    def score(
        self,
        rows: Sequence[ScoreRow],
        keys: Sequence[str],
        task: str,
        keep: float,
        *,
        carried: Carried = _NOTHING,
        is_known: bool = False,
    ) -> list[bool]:
        if not rows:
            return []
        run = rows[0].run
        about: list[Any] = [self._prefix, run, task, seconds(keep), int(is_known), len(carried)]
        about += [part for name, (_, assigned) in carried.items() for part in (name, assigned)]
        parts = [(key, *_written(row)) for row, key in zip(rows, keys, strict=True)]
        new: list[bool] = []
        for start in range(0, len(parts), _MOST):
            args = [*about, *chain.from_iterable(parts[start : start + _MOST])]
            new += map(bool, self._score([self._scores(run), *self._known_by(run)], args))
        return new

    def assign(
        self, run: RunId, experiment: str, variant: str, keep: float, open_for: float
    ) -> str:
        args = [self._prefix, run, experiment, variant, seconds(keep), open_for]
        earlier: bytes | None = self._assign([self._carried(run), self._scores(run)], args)
        return variant if earlier is None else earlier.decode()

    def scores_of(self, runs: Sequence[RunId]) -> list[list[ScoreRow]]:
        with self._client.pipeline(transaction=False) as pipeline:
            for run in runs:
                pipeline.hscan(self._scores(run), 0, count=_MANY)
            replies: list[Any] = pipeline.execute() if runs else []
        pairs = zip(runs, replies, strict=True)
        return [_rows(run, self._whole(run, *reply)) for run, reply in pairs]

    def scored(
        self, task: str | None, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        key = f"{self._prefix}scored" if task is None else f"{self._prefix}scored:{task}"
        return self._places(key, since, before, limit)

    def orphans(self, *, before: Place | None = None, limit: int) -> list[Place]:
        return self._places(f"{self._prefix}orphans", 0.0, before, limit)

    def experiments(self) -> list[str]:
        names: list[Any] = self._client.zrevrange(f"{self._prefix}experiments", 0, -1)
        return [name.decode() for name in names]

    def assigned(self, experiment: str, *, since: float = 0.0) -> Iterator[tuple[RunId, str]]:
        for member in self._members(f"{self._prefix}assigned:{experiment}", since):
            variant, _, run = member.partition("\0")
            yield RunId(run), variant

    def values(self, experiment: str) -> Iterator[tuple[str, RunId, bool | int | float]]:
        for name, latest in self._latest(experiment):
            values = from_json(f"[{','.join(latest.values())}]")
            yield from zip(repeat(name), map(_assigned, latest), values)

    def scored_in(self, experiment: str) -> Iterator[tuple[RunId, RunId]]:
        for _, latest in self._latest(experiment):
            yield from ((_assigned(target), _scored(target)) for target in latest)

    def open_runs(self, experiment: str) -> set[RunId]:
        seconds, microseconds = self._client.time()
        now = int(seconds) + int(microseconds) / 1e6
        key = f"{self._prefix}open:{experiment}"
        pairs = list(self._members(key, now))
        # A run may move down while the list is read, from the rest to what is read already.
        again = self._members(key, now) if len(pairs) >= _MANY else ()
        return set(map(_assigned, chain(pairs, again)))

    def unsampled(self, experiment: str) -> set[RunId]:
        members = self._members(f"{self._prefix}unsampled:{experiment}")
        return set(map(RunId, members))

    def _scores(self, run: RunId) -> str:
        return f"{self._prefix}{{{run}}}:scores"

    def _carried(self, run: RunId) -> str:
        return f"{self._prefix}{{{run}}}:experiments"

    def _known_by(self, run: RunId) -> list[str]:
        return [self._carried(run), self._history(run), self._owner(run), self._run(run)]

    def _whole(self, run: RunId, cursor: int, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Return all fields of a run's scores, of which the first are read."""
        while cursor:
            cursor, more = self._client.hscan(self._scores(run), cursor, count=_MANY)
            fields |= more
        return fields

    def _places(self, key: str, since: float, before: Place | None, limit: int) -> list[Place]:
        highest, lowest = before.at if before else "+inf", since or "-inf"
        # Runs may have the same place, so that one is asked for again.
        rows: list[Any] = self._client.zrevrangebyscore(
            key, highest, lowest, 0, limit + 1, withscores=True
        )
        places = [Place(at, 0, RunId(run.decode())) for run, at in rows]
        return [each for each in places if before is None or each < before][:limit]

    def _latest(self, experiment: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Return the last value of each target, for each name of a score."""
        for name in self._members(f"{self._prefix}score-names:{experiment}"):
            latest: dict[str, str] = {}
            for member in self._members(f"{self._prefix}values:{experiment}'{name}"):
                value, _, target = member.partition("\n")
                latest[target] = value
            yield name, latest

    def _members(self, key: str, since: float = 0.0) -> Iterator[str]:
        """Return the members of a list, read in parts; one that moves up meanwhile comes again."""
        lowest: Any = since or "-inf"
        seen: set[str] = set()
        while True:
            rows: Any = from_json(self._list_members([key], [lowest, _MANY])) or []
            members, scores = rows[::2], rows[1::2]
            yield from members if seen.isdisjoint(members) else set(members) - seen
            if len(members) < _MANY:
                return
            # No script writes so many members that one time stands for all of them.
            lowest = scores[-1] if scores[-1] != scores[0] else f"({scores[-1]}"
            seen = set(members[scores.index(scores[-1]) :])


def _written(row: ScoreRow) -> Iterable[str | bytes]:
    """Return a score as score.lua takes it."""
    text = to_json([row.name, row.step, row.comment, row.source])
    step = "" if row.step is None else f"s{row.step}"
    return row.name, step, to_json(row.value), text, row.by or ""


def _rows(run: RunId, fields: dict[bytes, bytes]) -> list[ScoreRow]:
    rows = sorted(
        (_HEAD.unpack_from(body)[::-1], body[_HEAD.size :].split(b"\n"))
        for field, body in fields.items()
        if field[:1] in b"kr"
    )
    return [_row(run, at, *map(bytes.decode, parts)) for (_, at), parts in rows]


def _row(run: RunId, at: float, value: str, text: str, by: str) -> ScoreRow:
    name, step, comment, source = from_json(text)
    return ScoreRow(
        run, name, from_json(value), step, comment, source, at, RunId(by) if by else None
    )


def _assigned(member: str) -> RunId:
    """Return the assigned run of a pair, as note.lua writes it."""
    return RunId(_parts(member)[0])


def _scored(member: str) -> RunId:
    """Return the run of such a pair that was scored; a step of it stands behind a byte 0."""
    assigned, rest = _parts(member)
    run, _, _ = rest.partition("\0")
    return RunId(run or assigned)


def _parts(member: str) -> tuple[str, str]:
    length, _, rest = member.partition(":")
    if not rest.isascii():  # the length is in bytes
        raw, size = rest.encode(), int(length)
        return raw[:size].decode(), raw[size:].decode()
    return rest[: int(length)], rest[int(length) :]
