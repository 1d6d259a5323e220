"""What becomes of a run as its message arrives: it starts, is held back, or never starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery.app.task import Context

from celery_defer import guard
from celery_defer.app import held, watching
from celery_defer.app.limits import keep_limits
from celery_defer.app.place import Place, token_of
from celery_defer.broker import marks_redelivery
from celery_defer.current import extension_of
from celery_defer.errors import DeferError, StoreAwayError
from celery_defer.flow import Ask, Drop, Go, Later
from celery_defer.outbox import give_back, give_back_all
from celery_defer.run import Scope, WakeHeader, fact_of_run, report_started, started_commands
from celery_defer.steps import away, is_lost, load_steps
from celery_defer.store import Claim, Hold, RunState, Store, is_of_one_message, owner_of

logger = guard.logger(__name__)


def refusal(run: Scope, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return why the run does not start here, which is logged; None if it starts.

    The first message of a deferred run owns it, and so do its redeliveries and retries. Another
    message with the same id is a second publication, or was sent before ``abort``: it does nothing.
    Limits of its function may hold a run back, or drop it.
    """
    if run.store is None or run.is_eager:
        return None
    header = run.wake or run.header
    if header is None and run.limited is None:
        return None
    owner = owner_of(run.task.name, header.token if header else "")
    if run.limited is None:
        claim = _claimed(run, run.store, owner)
        if run.wake is not None and run.wake.starts and claim.is_mine:
            _without_limits(run, run.store)
        return _duplicate(run, claim, owner)
    return _admission(run, run.store, owner, args, kwargs)


def blocked(run: Scope, problem: Exception) -> Exception:
    """Return the error by which a run is tried again that may not start, and cannot wait."""
    run.context = run.task.request
    return away(run, str(problem))


def hold_of(run: Scope, token: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Hold:
    """Return the places that a delivery may have; raise LimitKeyError or PayloadError."""
    return _hold_of(_ask(run, token, args, kwargs))


def begin(run: Scope) -> None:
    """Cancel the earlier run in whose place one starts whose body begins now."""
    if run.place.cancels is not None:
        held.cancel_earlier(run, run.place.cancels)


# -- private ------------------------------------------------------------------------------


def _duplicate(run: Scope, claim: Claim, owner: str) -> str | None:
    """Return that another message owns this message's run, if so."""
    if not _is_duplicate(run, claim, owner):
        return None
    reason = f"run {run.run.id} ({run.task.name}) has been started, or was aborted"
    logger.info("%s: this message is ignored", reason, extra=run.about)
    return reason


def _is_duplicate(run: Scope, claim: Claim, owner: str) -> bool:
    if claim.is_mine:
        return False
    if not is_of_one_message(claim.owner, owner):
        return True
    return marks_redelivery(run.app) and not run.came_again


def _claimed(run: Scope, store: Store, owner: str) -> Claim:
    """Return the owner of a run that does not ask."""
    # A soft time limit here makes the pool report a failure, as before Celery's tracer begins.
    with guard.logged(
        logger,
        "run %s: the store is away, so it starts unclaimed",
        run.run.id,
        about=run.about,
    ):
        return _claim(run, store, owner, None)
    return Claim("", is_mine=True)


def _asked(run: Scope, store: Store, owner: str, ask: Ask) -> Claim | None:
    """Return the owner of the run, and what becomes of it; None if it is to be tried again."""
    # A limit that holds only while the store is there would be none.
    with guard.logged(
        logger, "run %s: the store is away, so it is retried", run.run.id, about=run.about
    ):
        return _claim(run, store, owner, ask)
    run.problem = StoreAwayError(
        f"run {run.run.id} cannot ask for the limits of {run.run.task}: the store is away; it is "
        "retried"
    )
    return None


def _claim(run: Scope, store: Store, owner: str, ask: Ask | None) -> Claim:
    if run.wake is None:
        settles = bool(run.header and run.header.step)
        return store.claim(
            run.run.id,
            owner,
            run.settings.claim_expires,
            settles=settles,
            # One that may end at once tells of its start later.
            facts=[] if run.guarded else fact_of_run(run, RunState.RUNNING),
            is_retry=bool(run.request.get("retries")),
            ask=ask,
        )
    return _resume(run, store, run.wake, owner, ask)


def _resume(run: Scope, store: Store, wake: WakeHeader, owner: str, ask: Ask | None) -> Claim:
    keep, report = run.settings.run_keeps, started_commands(run)
    resumed = store.resume(
        run.run.id,
        wake.turn,
        owner,
        keep,
        report,
        facts=fact_of_run(run, RunState.RUNNING),
        is_retry=bool(run.request.get("retries")),
        ask=ask,
    )
    if resumed.recalled.turn < wake.turn:  # the store has lost the run: its next step raises
        return Claim(owner, is_mine=True)
    if isinstance(resumed.claim.admission, Later | Drop):
        return resumed.claim
    if resumed.claim.is_mine and not is_lost(run, resumed.recalled):
        load_steps(run, resumed.recalled)
    if resumed.claim.is_mine and not resumed.has_reported:
        report_started(run)
    return resumed.claim


def _admission(
    run: Scope, store: Store, owner: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str | None:
    """Return why a run of a function with limits does not start; None if it starts."""
    # Celery's tracer makes it, and a run that is held back does not come so far.
    run.context = Context(dict(run.request), args=args, kwargs=kwargs, called_directly=False)
    ask = problem = None
    try:
        ask = _ask(run, token_of(owner, run.request.get("hostname")), args, kwargs)
    except DeferError as error:
        problem = error
    claim = _asked(run, store, owner, ask) if ask else _claimed(run, store, owner)
    if claim is None:
        return None
    if reason := _duplicate(run, claim, owner):
        if ask is not None and isinstance(claim.admission, Go):
            give_back(run.app, store, _hold_of(ask), ended=False)
        return reason
    if ask is None:
        return _without_key(run, store, problem)
    match claim.admission:
        case Go() as go:
            _start(run, store, ask, go)
        case Later() as later:
            return _later(run, store, ask, later, owner)
        case Drop() as drop:
            return held.drop(run, store, ask, drop, owner)
    return None  # it starts


def _later(run: Scope, store: Store, ask: Ask, later: Later, owner: str) -> str | None:
    """Hold a run back, unless it ends at once; return what has become of it."""
    if run.wake is None:  # else it is watched already
        ending = watching.refusal(run, run.context.args, run.context.kwargs, begins=False)
        if ending or run.problem:
            return ending
    return held.hold(run, store, ask, later, owner)


def _ask(run: Scope, token: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Ask:
    """Return what the delivery asks; raise LimitKeyError or PayloadError."""
    function = run.limited
    ask: Ask = function.limits.ask(
        run.run.id,
        run.task.name,
        token,
        args,
        kwargs,
        lease=run.settings.lease,
        made=run.header.at if run.header else None,
        goes_on=run.goes_on,
        contract=function.contract,
    )
    return ask


def _without_limits(run: Scope, store: Store) -> None:
    """Give back the place of a run that was held back by limits that its function has no more."""
    give_back_all(run.app, store, run.run.id, run.run.task)
    with guard.logged(
        logger, "run %s: others still wait for its old limits", run.run.id, about=run.about
    ):
        keep_limits(run.app, store, run.task.name)


def _without_key(run: Scope, store: Store, problem: DeferError | None) -> str | None:
    """Skip a run whose limits have no key; one that has done something already goes on."""
    if run.goes_on or run.came_again:
        logger.error("run %s starts without its limits: %s", run.run.id, problem, extra=run.about)
        return None
    words = held.end(run, store, held.End(RunState.SKIPPED, str(problem), "key"))
    if run.wake is not None:  # it may have a place
        give_back_all(run.app, store, run.run.id, run.run.task)
    return words


def _start(run: Scope, store: Store, ask: Ask, go: Go) -> None:
    """Let the run start, with its places."""
    run.place = Place(store, _hold_of(ask), ask.lease, go.cancels)
    extension = extension_of(run.app)
    extension.renewal.add(run.place)
    if go.wait > 0:
        extension.pause(go.wait)


def _hold_of(ask: Ask) -> Hold:
    return Hold(ask.task, ask.run, ask.token, ask.gates)
