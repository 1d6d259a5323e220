"""How a run's result and its calls are committed together.

If one Redis server has the results and the messages, both are written in one transaction. If not,
the calls are staged before Celery stores the result, and published after it.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto
from typing import Any
from uuid import uuid4

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer import broker, guard, store
from celery_defer.commands import Commands, Server
from celery_defer.ids import RunId
from celery_defer.model import Call, CallState, Outcome
from celery_defer.outbox import history, places, stage
from celery_defer.outbox.hook import StoreBy, hook_ends, is_json
from celery_defer.outbox.links import link, linked
from celery_defer.outbox.messages import messages_of, starting
from celery_defer.outbox.records import DeferredCalls
from celery_defer.outbox.with_result import may_go_with_result
from celery_defer.run import (
    Scope,
    commands_of,
    server_of_results,
    signals,
    win,
    winner_of,
)
from celery_defer.store import Leased

logger = guard.logger(__name__)


class State(Enum):
    """The state of a run's calls."""

    #: To be published once the result is stored.
    WAITING = auto()
    #: To be published in one transaction with the result.
    WITH_RESULT = auto()
    #: The messages are at the broker, and the result is stored.
    COMMITTED = auto()
    #: Another attempt has succeeded, and its calls are the valid ones.
    SUPERSEDED = auto()


class Commit:
    """The calls of one attempt, on their way to the broker."""

    def __init__(self, run: Scope, record: DeferredCalls, links: list[Call]) -> None:
        self.run = run
        self.record = record
        #: Names this attempt: in its record, and beside the SUCCESS that it stores.
        self.token = uuid4().hex
        #: The record in the outbox, if the calls are staged.
        self.lease: Leased | None = None
        self.state = State.WAITING
        #: Whether the stored SUCCESS is known to be that of this attempt.
        self.has_won = False
        self._links = links

    def stage(self, *, replaces: bool = False) -> None:
        """Stage the calls; an error is logged, because it must not fail the run."""
        run = self.run
        if run.store is None or run.is_eager or not self.record.calls:
            return
        if run.is_redelivered and not replaces and stage.has_succeeded(run):
            self.state = State.SUPERSEDED
            return
        due = self.record.at + run.settings.grace
        # Set before the store replies: a soft time limit may come after it has the record.
        lease = self.lease = stage.lease_of(run.record_id, self.record, self.token)
        is_staged = False
        with guard.logged(
            logger,
            "run %s (%s): what it deferred is not staged, and will be published from memory; "
            "a crash of this worker now would lose it",
            run.run.id,
            run.run.task,
        ):
            is_staged = stage.stage(run, lease, self.record, due=due, replaces=replaces)
            if not is_staged and stage.has_succeeded(run):
                self.state = State.SUPERSEDED
            elif not is_staged and stage.names_winner(run):  # the record of another attempt stays
                lease = self.lease = replace(lease, id=RunId(f"{lease.id}/{lease.token}"))
                is_staged = stage.stage(run, lease, self.record, due=due)
            elif not is_staged:  # another attempt has staged, and has not succeeded
                self.stage(replaces=True)
                return
        if not is_staged:
            self.lease = None

    @property
    def is_beaten(self) -> bool:
        """Whether another attempt has succeeded before."""
        with guard.logged(logger, "run %s: its winner is not known", self.run.run.id):
            return winner_of(self.run.task.backend, self.run.run.id) not in (None, self.token)
        return False

    def store_result(self, backend: Any, store_result: StoreBy) -> Any:
        """Store the SUCCESS of the run by *store_result*, which takes a backend."""
        before = self.state
        with linked(self.run, self._links):
            server = server_of_results(backend)
            if server is None:
                return store_result(backend)
            stored = self._transact(backend, server, store_result)
        if before is not self.state is State.COMMITTED:
            signals.send_published(self.record.parent, self.record.task, self.record.calls)
        return stored

    def _transact(self, backend: Any, server: Server, store_result: StoreBy) -> Any:
        # Celery keeps a stored SUCCESS. In JSON the script checks that, which saves a round trip
        # and leaves no time between the check and the write.
        key = backend.get_key_for_task(self.run.run.id)
        result = commands_of(backend, store_result, looks=not is_json(backend))
        if result is None:
            self._conclude(is_ours=False)
            return None
        messages = self._messages(server) if self.state is State.WITH_RESULT else None
        if messages is None and self.state is State.WITH_RESULT:
            self.state = State.WAITING
            self.stage()
        if self.lease is not None or self.run.came_again:
            result = win(backend, self.run.run.id, self.token, result)
        whole, facts, giving = self._with_expiry(result), self._facts(result), self._giving(result)
        committed: store.Committed | None = None
        try:
            # celery.backends.redis.RedisBackend.set: with Celery's own retries.
            committed = backend.ensure(
                lambda: store.commit(
                    backend.client,
                    key,
                    whole,
                    messages,
                    facts,
                    giving=giving,
                    keeps_success=is_json(backend),
                ),
                (),
                **self.run.store_policy,
            )
        except (SoftTimeLimitExceeded, *backend.connection_errors):
            raise
        except Exception as error:  # Redis refuses it: rights, memory, scripts not allowed
            logger.warning(
                "run %s: messages could not go with its result, and follow it: %s",
                self.run.run.id,
                error,
            )
            self.state = State.WAITING
            self.stage()
            return store_result(backend)
        finally:
            if giving is not None:
                self.run.place.is_over = committed is not None and committed.leases is not None
        assert committed is not None  # noqa: S101
        stored = committed.stored
        self._conclude(is_ours=stored is None or _is_of(result, stored))
        self.run.ending.has_expiry = stored is None and whole is not result
        self.run.ending.is_told = stored is None and facts is not None
        if committed.leases is not None:
            places.wake_next(self.run, committed.leases)
        return None

    def _facts(self, result: Commands) -> Commands | None:
        """Return what the run's history says of its end, if the store is where the result goes."""
        run = self.run
        if run.store is None:
            return None
        is_with_result = self.state is State.WITH_RESULT
        calls = starting(self.record, Outcome.SUCCESS)
        facts = run.store.facts(history.committed(run, calls, are_published=is_with_result))
        return facts if facts and facts.server == result.server else None

    def _giving(self, result: Commands) -> store.Giving | None:
        """Return how the run gives back its places, if the store is where the result goes."""
        giving = places.giving(self.run)
        if giving is None or giving.server != result.server:
            return None
        self.run.place.is_over = True
        return giving

    def _with_expiry(self, result: Commands) -> Commands:
        """Add how long the store keeps the run, and that it watches it no more.

        If the store has it where the result goes.
        """
        run, journal = self.run, self.run.journal
        has_steps = journal is not None and journal.is_recalled
        if run.store is None or not (has_steps or run.watched):
            return result
        keep = run.settings.end_keeps
        expiry = (
            run.store.unwatching(run.run.id, run.watched, keep)
            if run.watched
            else run.store.expiry(run.run.id, keep)
        )
        is_there = expiry and (expiry.server, expiry.database) == (result.server, result.database)
        return replace(result, rows=[*result.rows, *expiry.rows]) if expiry and is_there else result

    def _messages(self, server: Server) -> Commands | None:
        """Return the commands that publish the calls, if *server* has the messages too."""
        run = self.run
        with guard.logged(logger, "run %s: no message could be made", run.run.id):
            messages = messages_of(run.app, self.record, Outcome.SUCCESS, uuid4().hex)
            if len(messages) == len(self.record.calls):
                return broker.capture(run.app, messages, server)
        return None

    def _conclude(self, *, is_ours: bool) -> None:
        """Set the state after the transaction; it may be repeated after a lost reply."""
        self.has_won = is_ours and not (self.run.came_again and self.is_beaten)
        if is_ours:
            self.state = State.COMMITTED if self.state is State.WITH_RESULT else self.state
        elif self.run.is_redelivered or self.is_beaten:
            self.state = State.SUPERSEDED
        else:  # the body may have stored the SUCCESS itself
            self.state = State.WAITING
            if self.lease is None:
                self.stage()


def commit(run: Scope) -> None:
    """Prepare the run's calls for the result that Celery stores next."""
    published = [call for call in run.journal.calls() if _is_published(call)] if run.journal else []
    record = stage.record_of(run, None if run.is_judged else Outcome.SUCCESS)
    if run.is_redelivered:
        stage.forget_calls(run, record.calls)
    links = [call for call in record.calls if Outcome.SUCCESS.starts(call.options.when)]
    pending = run.ending.commit = Commit(run, record, [*published, *links])
    if may_go_with_result(run, record):
        pending.state = State.WITH_RESULT
    else:
        pending.stage()
    _hook_result(run, [*published, *links])


def commit_failure(run: Scope) -> None:
    """Stage the calls that wait for the run's failure, before Celery stores it."""
    record = stage.record_of(run, None if run.is_judged else Outcome.FAILURE)
    pending = run.ending.commit = Commit(run, record, [])
    pending.stage()


def _is_of(result: Commands, stored: bytes) -> bool:
    """Whether the stored result is this one, written before a reply was lost."""
    words = (word for row in result.rows for word in row)
    return stored in (word.encode() if isinstance(word, str) else word for word in words)


def _is_published(call: Call) -> bool:
    return call.state is CallState.PUBLISHED


def _hook_result(run: Scope, links: list[Call]) -> None:
    if hook_ends(run):
        return
    with guard.logged(logger, "run %s: its links are not stored", run.run.id):
        link(run, links)
