"""How an experiment selects the variant of a run.

A selector is any callable that takes a `Choice` and returns the name of a variant. It is called
once for a run; ``fixed``, ``weighted`` and ``bucket`` make selectors without chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, SupportsFloat

from celery_defer import guard
from celery_defer.errors import ExperimentError
from celery_defer.scoring import names
from celery_defer.scoring.assignment import variant_of
from celery_defer.text import safe_repr

__all__ = ["Choice", "Selector", "bucket", "chosen", "fixed", "weighted"]

logger = guard.logger(__name__)

# In the text of an object, or of a list with it, that has none of its own.
_ADDRESS = " at 0x"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a selector chooses from, and for which run.

    Raises ExperimentError for a bad name, and without variants.
    """

    experiment: str  #: The experiment's id.
    run_id: str  #: The run that takes the variant.
    variants: tuple[str, ...]  #: The names of the variants, sorted.

    def __post_init__(self) -> None:
        if problem := names.problem_of(self.experiment):
            raise ExperimentError(f"the id of an experiment: {problem}")
        if not self.variants:
            raise ExperimentError(f"experiment '{self.experiment}' has no variants: give one")
        for name in self.variants:
            if problem := names.problem_of(name):
                raise ExperimentError(f"a variant of experiment '{self.experiment}': {problem}")
        object.__setattr__(self, "variants", tuple(sorted(map(names.plain, self.variants))))


Selector = Callable[[Choice], str]


def chosen(select: Selector, choice: Choice) -> str:
    """Return the variant that *select* returns for *choice*.

    Raises ExperimentError if it is none of the variants, and what *select* raises.
    """
    if not callable(select):
        raise ExperimentError(
            f"experiment '{choice.experiment}': select={safe_repr(select)} cannot be called: give "
            "fixed(…), weighted(…), bucket(…), or a function that takes a Choice"
        )
    name: Any = select(choice)
    if isinstance(name, str) and name in choice.variants:
        return names.plain(name)
    raise _unknown(choice, name)


def fixed(name: str) -> Selector:
    """Return a selector that selects the variant *name* for every run.

    >>> select = fixed("control")
    """
    return _Fixed(_variant("fixed", name))


def weighted(weights: Mapping[str, SupportsFloat]) -> Selector:
    """Return a selector that gives each variant its share of the runs.

    Nothing is drawn at random: the experiment's id and the run's id are hashed, so a run takes the
    same variant in any process, and what it takes in one experiment says nothing about another.

    *weights* has a number above 0 for each variant; their sum is of no matter. To give no more new
    runs to a variant, select by a function of your own. Raises ExperimentError.

    >>> select = weighted({"control": 80, "variant": 20})
    """
    return _Weighted(_checked_weights("weighted", weights))


def bucket(key: object, weights: Mapping[str, SupportsFloat] | None = None) -> Selector:
    """Return a selector that selects by *key*: one key takes one variant, whatever the run.

    The key is that of a customer, say. Text is taken as it is, and a number, a UUID and the like by
    its ``str()``: ``7`` and ``"7"`` are one key. None and text that is empty are the key ``""``,
    and are logged as a warning: all such runs take one variant.

    The point of a key is ``int(sha256(key).hexdigest()[:8], 16) / 2**32``; the variants, sorted by
    name, share the numbers from 0 to 1 by their *weights*, or equally without them. Only the key is
    hashed: a customer who takes the first half of one experiment takes the first half of each.
    Where experiments meet, put the experiment into the key.

    Raises ExperimentError for weights as ``weighted`` does, for bytes, a function or a class, and
    for an object without a text of its own.

    >>> select = bucket("checkout-flow:customer-7", {"control": 80, "variant": 20})
    """
    checked = None if weights is None else _checked_weights("bucket", weights)
    return _Bucket(_text_of(key), checked)


@dataclass(frozen=True, slots=True)
class _Fixed:
    name: str

    def __call__(self, choice: Choice) -> str:
        if self.name in choice.variants:
            return self.name
        raise _unknown(choice, self.name)


@dataclass(frozen=True, slots=True)
class _Weighted:
    weights: Mapping[str, float]

    def __call__(self, choice: Choice) -> str:
        _match(choice, self.weights)
        return variant_of(f"{choice.experiment}:{choice.run_id}", self.weights)


@dataclass(frozen=True, slots=True)
class _Bucket:
    key: str
    weights: Mapping[str, float] | None

    def __call__(self, choice: Choice) -> str:
        if self.weights is not None:
            _match(choice, self.weights)
        if not self.key:
            logger.warning(
                "experiment %r buckets by an empty key: all such runs take one variant",
                choice.experiment,
            )
        return variant_of(self.key, self.weights or dict.fromkeys(choice.variants, 1.0))


def _unknown(choice: Choice, name: object) -> ExperimentError:
    return ExperimentError(
        f"experiment '{choice.experiment}' has no variant {safe_repr(name)[:150]}: "
        f"select one of {_listed(choice.variants)}"
    )


def _match(choice: Choice, weights: Mapping[str, float]) -> None:
    """Raise ExperimentError if the weights are not those of the variants."""
    unknown = [name for name in weights if name not in choice.variants]
    without = [name for name in choice.variants if name not in weights]
    if unknown:
        raise ExperimentError(
            f"experiment '{choice.experiment}' has weights for {_listed(unknown)}; its variants "
            f"are {_listed(choice.variants)}: make the two agree"
        )
    if without:
        raise ExperimentError(
            f"experiment '{choice.experiment}' has no weight for {_listed(without)}: "
            "give one above 0"
        )


def _checked_weights(what: str, weights: object) -> dict[str, float]:
    if not isinstance(weights, Mapping) or not weights:
        raise ExperimentError(
            f"{what}(…): {safe_repr(weights)[:80]} has no weights: give a dict with a number above "
            "0 for each variant"
        )
    checked = {_variant(what, name): _weight(what, name, weights[name]) for name in weights}
    if not math.isfinite(sum(checked.values())):
        raise ExperimentError(f"{what}(…): the sum of the weights is too large: give smaller ones")
    return checked


def _variant(what: str, name: Any) -> str:
    if problem := names.problem_of(name):
        raise ExperimentError(f"{what}(…), the name of a variant: {problem}")
    return names.plain(name)


def _weight(what: str, name: str, weight: Any) -> float:
    number = None if isinstance(weight, bool | str) else guard.attempt(lambda: float(weight))
    if number is not None and math.isfinite(number) and number > 0:
        return number
    raise ExperimentError(
        f"{what}(…): the weight of variant '{name}' is {safe_repr(weight)[:80]}: give a number "
        "above 0"
    )


def _text_of(key: object) -> str:
    key = key.value if isinstance(key, Enum) else key
    if key is None:
        return ""
    if isinstance(key, str):
        return names.plain(key)
    if isinstance(key, bytes | bytearray | memoryview):
        raise ExperimentError(f"bucket(…): the key is {safe_repr(key)[:80]}: decode it to text")
    if callable(key):
        raise ExperimentError(
            f"bucket(…): the key is {safe_repr(key)[:80]}, which is a function or a class: call it"
        )
    if _ADDRESS in (text := str(key)):
        raise ExperimentError(
            f"bucket(…): the key is {safe_repr(key)[:80]}, whose text differs in each process: "
            "give an id of it"
        )
    return text


def _listed(variants: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(variants))
