"""Who comes to the shop of a trial, and what each is going to do: it is all known before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from random import Random

__all__ = [
    "EXPERIMENT", "LARGE", "RATES", "SAMPLE", "SHORT", "SPENT", "VARIANTS", "Visitor", "dies",
    "draw",
]  # fmt: skip

EXPERIMENT = "one-page checkout"
VARIANTS = ("control", "variant")
#: The true part of the visitors that buys; the effect of the variant is 15 points.
RATES = {"control": 0.25, "variant": 0.40}
#: What those who buy spend on the average, in both variants; from here on it is much.
SPENT, LARGE = 50.0, 60.0
#: The part of the visits that the scorer with ``sample=`` takes.
SAMPLE = 0.25
#: Seconds of patience with those who will not buy. The others are waited for longer, so that a slow
#: machine changes no outcome.
SHORT = 1.5

_LONG = 120.0
_PLANS = {"followed": 88, "sampled": 8, "ignored": 2, "failing": 1, "silent": 1}
#: In this part of all runs a process dies at a moment that app.py knows.
_DEATHS = 0.03


@dataclass(frozen=True, slots=True)
class Visitor:
    """One visitor, whose visit is one run. Its *plan* is:

    - followed: a scorer waits for a purchase
    - sampled: a scorer takes a sample
    - ignored: nothing scores it
    - failing: it fails
    - silent: its scorer returns no score
    """

    id: str
    plan: str
    #: What is spent in each variant, 0 if nothing is bought.
    spends: Mapping[str, float]
    #: Seconds between the visit and the purchase.
    after: float

    @property
    def patience(self) -> Mapping[str, float]:
        """For how long a purchase is waited for, in each variant."""
        return {name: _LONG if spent else SHORT for name, spent in self.spends.items()}


def draw(random: Random, count: int) -> Iterator[Visitor]:
    """Draw visitors: the same ones from the same seed."""
    for _ in range(count):
        [plan] = random.choices([*_PLANS], [*_PLANS.values()])
        spent, luck = round(random.gauss(SPENT, 10), 2), random.random()
        buys = plan == "followed"
        spends = {name: spent if buys and luck < rate else 0.0 for name, rate in RATES.items()}
        yield Visitor(f"{random.getrandbits(64):016x}", plan, spends, random.uniform(0, SHORT))


def dies(moment: str, id: str) -> bool:
    """Whether a process is to die at a moment of a run: always the same."""
    return int(sha256(f"{moment}: {id}".encode()).hexdigest()[:8], 16) < _DEATHS * 2**32
