"""What the histories of runs are told: of a call, and of a run that starts, parks or ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from time import monotonic
from typing import Any

from pydantic_core import to_json

from celery_defer import encoding, guard
from celery_defer.ids import RunId, run_id
from celery_defer.model import NOT_SAMPLED, Call, CallState, Outcome
from celery_defer.run.headers import StepsHeader
from celery_defer.run.journal import Journal
from celery_defer.run.scope import Scope
from celery_defer.settings import Settings
from celery_defer.store import Fact, History, RunState
from celery_defer.text import shortened

logger = guard.logger(__name__)

#: What is told of a run that was cancelled as it waited: no worker remembers it as revoked, so it
#: can be restarted at once.
NO_REVOKE = b'{"x":1}'
#: What is told of a call that was withdrawn: its run never starts.
WITHDRAWN = b'{"x":2}'
# What stands for a value that is hidden.
_HIDDEN = "***"
#: The list of calls of what is no task of the app.
NO_TASK = "?"

# What a run tells of, as its record has it.
_FORMS: dict[str, type] = {
    "c": list,
    "k": list,
    "n": list,
    "f": list,
    "g": dict,
    "w": dict,
    "e": str,
    "x": int,
}
# A longer payload is not in a record.
_MOST_PAYLOAD = 16 * 1024
# Calls of one run that are told although it does not make them.
_MOST_DROPPED = 100
# Failed steps of one run that are told, and characters of each failure.
_MOST_FAILURES = 20
_LONGEST_FAILURE = 500
_MADE_AT_END = frozenset({CallState.BUFFERED, CallState.DROPPED})
#: Of each experiment that a run carries: its name, the variant, and the run that has taken it.
Taken = tuple[tuple[str, str, RunId], ...]

_WITHOUT_RUN = {CallState.SKIPPED: RunState.SKIPPED, CallState.ABORTED: RunState.ABORTED}


def facts_of_calls(
    settings: Settings,
    calls: Iterable[Call],
    state: RunState,
    *,
    parent: RunId,
    root: RunId,
    now: float,
) -> list[Fact]:
    """Return what the histories of the runs of *calls* are to say."""
    if not settings.record:
        return []
    return [
        Fact(
            run_id(parent, call.id),
            call.task,
            _WITHOUT_RUN.get(call.state, state),
            settings.result_expires + _delay(call, now),
            about_call(settings, parent, root, call),
            WITHDRAWN if call.state is CallState.ABORTED else b"",
            deferred=now - call.at,
            tags=listed(call.tags),
            experiments=_counted(call) if call.experiments else (),
        )
        for call in calls
    ]


def fact_of_run(run: Scope, state: RunState, *, told: bytes = b"", wait: float = 0.0) -> list[Fact]:
    """Return what the history of a run in progress is to say; it waits for *wait* seconds."""
    if not run.settings.record:
        return []
    header = run.header
    return [
        Fact(
            run.run.id,
            run.run.task,
            state,
            run.settings.result_expires + wait,
            b"" if _ends_elsewhere(run, state) else _about_run(run),
            told,
            attempt=run.run.attempt,
            deferred=run.now() - header.at if header else None,
            started=monotonic() - run.opened,
            tags=listed(run.tags) if told or header is None else (),
            experiments=_taken(run.experiments) if run.experiments else (),
        )
    ]


def facts_without_run(run: Scope) -> list[Fact]:
    """Return what is to be known of the run's calls that were skipped or aborted."""
    calls = run.buffer.without_run()[:100] if run.has_deferred else []
    if not calls:
        return []
    id, root = run.run.id, run.run.root_id
    facts = facts_of_calls(
        run.settings, calls, RunState.SKIPPED, parent=id, root=root, now=run.now()
    )
    # What was to be deferred may be no task, and its text any text.
    tasks = run.app.tasks
    return [fact if fact.task in tasks else fact._replace(task=NO_TASK) for fact in facts]


def told_by(
    run: Scope,
    calls: Sequence[Call],
    wait: Mapping[str, Any] | None = None,
    *,
    outcome: Outcome | None = None,
) -> bytes:
    """Return what a run has done, for its history: the ids of its calls in order, and its tags.

    And what it waits for, if it does; and which calls it does not make if *outcome* is its end.
    """
    if not run.settings.record:
        return b""
    skipped = run.buffer.skipped if run.has_deferred else []
    order = run.buffer.order if run.has_deferred else {}
    dropped = _not_for(outcome, run)[:_MOST_DROPPED] if outcome else []
    made = sorted([*calls, *dropped, *skipped], key=lambda call: (order.get(call.id, -1), call.at))
    ids = dict.fromkeys(call.id for call in made)
    told: dict[str, Any] = {"c": list(ids)} if ids else {}
    if again := [call for call in skipped if call.id in run.buffer.calls]:
        told["k"] = [
            [
                call.id, call.task, call.at, call.reason, _refused(run.settings, call),
                _before(call, ids, run),
            ]
            for call in again[:100]
        ]  # fmt: skip
    if outcome is Outcome.FAILURE and run.journal:
        told |= _failed_steps(run.journal)
    if outcome is Outcome.FAILURE and not run.keeps_result:
        told |= _reason(run.ending.result)
    if dropped:
        told["n"] = [
            [call.id, call.task, call.at, call.options.when, call.tags] for call in dropped
        ]
    if run.header is None or run.tags != run.header.tags:
        told |= {"g": run.tags} if run.tags or run.header else {}
    if run.takes_variants:
        told["v"] = _shortened(run.experiments, run.run.id)
    if wait:
        told["w"] = _wait(run.settings, wait)
    return to_json(told) if told else b""


def told_of(history: History | None) -> dict[str, Any]:
    """Return what a run itself has done, as its history has it."""
    told: dict[str, Any] = {}
    for line in history.told.split(b"\n") if history and history.told else ():
        part = _fields(guard.attempt(partial(encoding.loads, line)))
        calls = [*told.get("c", ()), *part.get("c", ())]
        told = {**told, **part, "c": list(dict.fromkeys(calls))}
    return told


def _fields(part: Any) -> dict[str, Any]:
    """Return what a line tells, without what nobody has told in this form."""
    fields = part.items() if isinstance(part, dict) else ()
    return {name: value for name, value in fields if isinstance(value, _FORMS.get(name, object))}


def about_call(settings: Settings, parent: RunId, root: RunId, call: Call) -> bytes:
    """Return what a deferred run is, for its history."""
    about: dict[str, Any] = {"t": call.task, "d": call.step or call.id, "p": parent}
    if root != parent:
        about["r"] = root
    if call.step:
        about["s"] = 1
    if call.options.when != "success":
        about["w"] = call.options.when
    if call.options.countdown:
        about["b"] = call.options.countdown
    if call.options.eta:
        about["z"] = call.options.eta.timestamp()
    if call.tags:
        about["g"] = call.tags
    if call.experiments:
        about["v"] = _shortened(call.experiments, parent)
    if call.reason:
        about["e"] = call.reason
    if refused := _refused(settings, call):
        about["x"] = refused
    payload = _payload(settings, call.task, call.payload)
    whole = to_json(about)
    return encoding.shorten(whole if payload is None else b'%b,"a":%b}' % (whole[:-1], payload))


def listed(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the lists that a run with these tags is in."""
    return tuple(f"{key}={value}" for key, value in tags.items())


def shown(arguments: Any) -> Any:
    """Return the ``[args, kwargs]`` of a message as people read them."""
    args, kwargs = arguments
    if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
        return args[0]  # the fields of a schema
    return {**({"args": args} if args else {}), **kwargs}


# -- private ------------------------------------------------------------------------------


def _refused(settings: Settings, call: Call) -> str | None:
    """Return the arguments of a refused call; None if payloads are hidden or masked."""
    return call.refused if settings.record_payloads is True else None


def _wait(settings: Settings, wait: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a wait, without the values of its match if payloads are hidden or masked."""
    if settings.record_payloads is True or not wait.get("match"):
        return wait
    return {**wait, "match": dict.fromkeys(wait["match"], _HIDDEN)}


def _reason(error: object) -> dict[str, Any]:
    """Return why a run has failed whose result nobody keeps, as a result would say it."""
    if not isinstance(error, BaseException):
        return {}
    name = type(error).__name__
    text = shortened(guard.attempt(lambda: f"{name}: {error}", name), _LONGEST_FAILURE)
    return {"e": text.encode(errors="backslashreplace").decode()}  # no lone surrogate


def _failed_steps(journal: Journal) -> dict[str, Any]:
    """Return the steps that have failed, and of which the store remembers nothing."""
    rows = [
        [key, memo.kind, round(memo.began, 6), round(memo.took, 6), text]
        for key, memo in islice(journal.failures(), _MOST_FAILURES)
        if (text := memo.failure and shortened(memo.failure.text, _LONGEST_FAILURE))
    ]
    return {"f": rows} if rows else {}


def _before(refused: Call, ids: Iterable[str], run: Scope) -> int:
    """Return how many of the calls with these *ids* were made before one that was refused."""
    place, order = run.buffer.place(refused), run.buffer.order
    return sum(order.get(id, -1) < place for id in ids)


def _not_for(outcome: Outcome, run: Scope) -> list[Call]:
    """Return the calls of a run that wait for another end."""
    return [
        call
        for call in (run.buffer.calls.values() if run.has_deferred else ())
        if call.state in _MADE_AT_END and not outcome.starts(call.options.when)
    ]


def _delay(call: Call, now: float) -> float:
    """Return in how many seconds the run of a call starts at the earliest."""
    eta = call.options.eta
    return call.options.countdown or (max(eta.timestamp() - now, 0.0) if eta else 0.0)


def _counted(call: Call) -> Taken:
    """Return the experiments in which a call counts; not one that was refused, and has no run."""
    is_refused = call.state is CallState.SKIPPED and call.reason != NOT_SAMPLED
    return () if is_refused else _taken(call.experiments)


def _taken(experiments: Mapping[str, tuple[str, RunId]]) -> Taken:
    return tuple((name, variant, run) for name, (variant, run) in experiments.items())


def _shortened(
    experiments: Mapping[str, tuple[str, RunId]], usual: RunId | None
) -> dict[str, list[str]]:
    """Return experiments as a history has them: without the run, if the *usual* one took it."""
    return {
        name: [variant] if run == usual else [variant, run]
        for name, (variant, run) in experiments.items()
    }


def _ends_elsewhere(run: Scope, state: RunState) -> bool:
    """Whether a run that has waited ends before it comes to the experiment that it has begun.

    The store looks up what it carries if the end does not say what the run is.
    """
    is_later = run.turn > 0 and not run.experiments and not state.is_open
    return is_later and StepsHeader.of(run.request).variants > 0


def _about_run(run: Scope) -> bytes:
    """Return what a run is; for a deferred run, in case nobody else has said so."""
    if run.header is None and not run.tags and run.run.root_id == run.run.id:
        return _about_task(run.run.task)
    about: dict[str, Any] = {"t": run.run.task}
    if run.run.parent:
        about |= {"d": run.run.parent.defer_id, "p": run.run.parent.id}
    elif parent := run.request.get("parent_id"):
        about["p"] = parent
    if run.run.root_id not in (run.run.id, about.get("p")):
        about["r"] = run.run.root_id
    if run.tags:
        about["g"] = run.tags
    if run.header and run.header.experiments:
        about["v"] = _shortened(run.header.experiments, about.get("p"))
    return encoding.shorten(to_json(about))


@lru_cache(maxsize=1024)
def _about_task(task: str) -> bytes:
    return to_json({"t": task})


def _payload(settings: Settings, task: str, payload: bytes) -> bytes | None:
    mask = settings.record_payloads
    if mask is False or not payload or len(payload) > _MOST_PAYLOAD:
        return None
    if mask is True:
        return payload
    with guard.logged(logger, "defer_record_payloads could not mask a payload of %s", task):
        return to_json(mask(task, shown(encoding.read(payload))))
    return None
