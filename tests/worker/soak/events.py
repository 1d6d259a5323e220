"""What the workers are told to do, and what they tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal

from pydantic import BaseModel
from pydantic_core import from_json, to_json
from typing_extensions import Self

from celery_defer import run_id

__all__ = ["EVENTS", "Deferred", "Event", "Plan", "draw", "kinds"]

#: The Redis list that holds all events.
EVENTS = "soak:events"

Kind = Literal["early", "late", "quiet"]
_KINDS: list[Kind] = ["early", "early", "late", "late", "late", "quiet"]
_MOST_CALLS = 20


class Plan(BaseModel):
    """What one run is to do; parents and deferred runs alike."""

    kind: Kind
    ending: Literal["return", "fail", "retry"] = "return"
    calls: list[Deferred] = []


class Deferred(BaseModel):
    """One call of ``defer`` in a plan."""

    id: str
    when: Literal["success", "failure", "always"]
    plan: Plan

    def run_of(self, parent: str) -> str:
        return run_id(parent, self.id)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one run.

    - published: a message of it has reached the broker, with its token
    - received: a worker's main process has it
    - start, raise, done: its body begins, raises as planned, is about to return
    - success: Celery has sent its ``task_success``
    - killed: a pool's child kills itself at the moment that *id* names

    Of a run with steps, *leg* is the part of its way, or the turn that a message begins:

    - step: the function of a step is about to answer
    - kept: the body has its answer
    - got: a wait has ended, with the event that *token* names
    """

    kind: str
    id: str
    token: str = ""
    again: bool = False
    pid: int = 0
    leg: int = -1

    def pack(self) -> bytes:
        return to_json(asdict(self))

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        return cls(**from_json(body))


def kinds(id: str, plan: Plan) -> Iterator[tuple[str, Kind]]:
    """Return the kind of the run *id*, and of all that may come of it."""
    yield id, plan.kind
    for call in plan.calls:
        yield from kinds(call.run_of(id), call.plan)


def draw(random: Random, depth: int = 0) -> Plan:
    """Draw what a parent does: 0 to 20 calls, few of which defer in turn."""
    ending = random.choices(["return", "fail", "retry"], [8, 1, 1])[0]
    return Plan(
        kind=random.choice(_KINDS),
        ending=ending,
        calls=list(_calls(random, depth)),
    )


def _calls(random: Random, depth: int) -> Iterator[Deferred]:
    # Most parents have a few calls, some have many.
    most = _MOST_CALLS if depth == 0 else 3
    count = int((most + 1) * random.random() ** 3)
    for number in range(count):
        when = random.choices(["success", "failure", "always"], [8, 1, 1])[0]
        nests = depth < 2 and random.random() < 0.1
        plan = draw(random, depth + 1) if nests else _leaf(random)
        yield Deferred(id=f"{number}-{when}", when=when, plan=plan)


def _leaf(random: Random) -> Plan:
    ending = random.choices(["return", "fail", "retry"], [16, 1, 2])[0]
    return Plan(kind=random.choice(_KINDS), ending=ending)


Plan.model_rebuild()
