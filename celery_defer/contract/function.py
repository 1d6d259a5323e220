"""A deferred function: a Celery task with a contract, and how its runs are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pydantic import ValidationError
from typing_extensions import TypedDict, Unpack

from celery_defer.contract.contract import Contract
from celery_defer.contract.sample import Scoring
from celery_defer.current import in_run
from celery_defer.errors import OptionError
from celery_defer.flow import Limits
from celery_defer.model import Options, When
from celery_defer.text import safe_repr

P = ParamSpec("P")
R = TypeVar("R")

# Characters of a bad tag that a message shows.
_MOST_SHOWN = 40

_LINKED = "defer the next task in the body of this one"
_PUBLISHED = "a deferred run is published after its parent's end, perhaps by another process"
# What apply_async takes besides, and why it is not taken here.
_NOT_TAKEN = {
    "link": _LINKED,
    "link_error": f'{_LINKED}, with_options(when="failure")',
    "chain": _LINKED,
    "chord": _LINKED,
    "task_id": "the id of the run is computed from its parent's id and the id of the call",
    **dict.fromkeys(["connection", "producer", "publisher", "retry", "retry_policy"], _PUBLISHED),
}


class CallOptions(TypedDict, total=False):
    """What ``with_options`` takes."""

    countdown: float | None
    eta: datetime | None
    expires: float | timedelta | datetime | None
    queue: str | None
    routing_key: str | None
    exchange: str | None
    priority: int | None
    headers: Mapping[str, Any] | None
    serializer: str | None
    compression: str | None
    ignore_result: bool | None
    time_limit: float | None
    soft_time_limit: float | None
    shadow: str | None
    when: When
    experiment: str | None
    tags: Mapping[str, str | None] | None


@dataclass(frozen=True, slots=True, repr=False)
class Deferrable(Generic[P, R]):
    """What ``defer`` takes: a contract, and how its runs are published."""

    contract: Contract
    options: Options = field(default_factory=Options)
    #: What is wrong with a value that a run in progress has given.
    problem: str | None = None
    #: How it scores the runs that defer it; None if it is no scorer.
    scoring: Scoring | None = None
    #: Who may start when; None if it has no limits.
    limits: Limits | None = None

    def __repr__(self) -> str:
        values = self.options.model_dump(exclude_unset=True)
        options = ", ".join(f"{name}={safe_repr(value)}" for name, value in values.items())
        return f"{self.contract.task}.with_options({options})"

    def with_options(self, **options: Unpack[CallOptions]) -> Deferrable[P, R]:
        """Return the same contract with other publishing options.

        ``countdown`` and ``expires`` are in seconds and count from publication, that is
        from the parent's success; ``priority`` is the broker's, 0 to 255; ``headers`` go
        with the message; ``tags`` replace those of the parent, and
        None drops one; the others are those of ``apply_async``. Raises OptionError for an
        unknown option, and for an impossible value. In a run, where a computation may have
        made the value, it is ``defer`` that raises, and so skips the call.

        >>> defer("remind", remind.with_options(countdown=60, queue="mail"), user_id=7)
        """
        for name in options.keys() - Options.model_fields.keys():
            raise OptionError(f"with_options of {self.contract.task}: {_unknown(name)}")
        values = {**self.options.model_dump(exclude_unset=True), **options}
        try:
            return replace(self, options=Options(**values))
        except ValidationError as error:
            problems = "; ".join(map(_problem, error.errors(include_url=False)))
            problem = f"with_options of {self.contract.task}: {problems}"
            if not in_run():
                raise OptionError(problem) from error
            return replace(self, problem=problem)


if TYPE_CHECKING:
    # Celery has no types of its own, and its stubs may not be installed. So this class lists
    # what a task has. At run time a deferred function is still the same Celery task.

    class DeferredTask(Deferrable[P, R]):
        """A Celery task that carries a contract."""

        name: str
        app: Any
        request: Any

        def __call__(self, *args: Any, **kwargs: Any) -> R: ...
        def run(self, *args: Any, **kwargs: Any) -> R: ...
        def delay(self, *args: Any, **kwargs: Any) -> Any: ...
        def apply_async(self, args: Any = ..., kwargs: Any = ..., **options: Any) -> Any: ...
        def apply(self, args: Any = ..., kwargs: Any = ..., **options: Any) -> Any: ...
        def s(self, *args: Any, **kwargs: Any) -> Any: ...
        def si(self, *args: Any, **kwargs: Any) -> Any: ...
        def signature(self, args: Any = ..., **options: Any) -> Any: ...
        def retry(self, *args: Any, **options: Any) -> Any: ...
        def __getattr__(self, name: str) -> Any: ...

else:

    class DeferredTask(Generic[P, R]):
        """The type of what ``@deferred`` returns, for annotations; it has no instances."""


def _problem(problem: Any) -> str:
    if problem["loc"][:1] == ("tags",) and len(problem["loc"]) > 1:
        return _tag_problem(problem)
    path = ".".join(str(step) for step in problem["loc"])
    return f"{path or 'options'}: {problem['msg']}"


def _tag_problem(problem: Any) -> str:
    """Return what is wrong with a tag, in the words of ``set_tags``."""
    key, value = safe_repr(problem["loc"][1], _MOST_SHOWN), safe_repr(problem["input"], _MOST_SHOWN)
    if problem["loc"][-1] == "[key]":
        what = "it is empty" if problem["input"] == "" else "it is no text"
        return f"tag {value}: {what}; a key is text of 1 to 128 bytes, without ="
    return f"tag {key}: its value {value} is refused; give text, or None, which removes the tag"


def _unknown(name: str) -> str:
    if reason := _NOT_TAKEN.get(name):
        return f"{name} is not an option: {reason}"
    return f"{name} is not an option; there are: {', '.join(Options.model_fields)}"
