"""How calls go in batches: the store gathers them, and a batch that is full is published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from pydantic_core import from_json, to_json

from celery_defer import broker, encoding, guard, subject
from celery_defer.broker import Delivery
from celery_defer.contract import Deferrable, batching
from celery_defer.current import extension_of
from celery_defer.errors import DeferError
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, Outcome
from celery_defer.outbox import batch_history, gathered, records
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.messages import message_of_batch, starting
from celery_defer.outbox.records import SPARE, DeferredCalls
from celery_defer.store import BatchKind, Leased, Member, Store, task_of_owner

logger = guard.logger(__name__)

#: Seconds that a process has to publish a batch that is full; then a relay does.
LEASE = 10.0
# What one script writes: a thousand calls take a server some milliseconds.
_MOST_CALLS = 1_000
_MOST_BYTES = 4 * 2**20
_UNKNOWN = "this worker does not have its task"


def goes_in_batch(app: Any, call: Call) -> bool:
    """Whether a call does not leave as a message of its own."""
    task = app.tasks.get(call.task)
    return task is not None and not call.step and batching(task) is not None


def gather(
    app: Any, record: DeferredCalls, outcome: Outcome, *, is_durable: bool
) -> tuple[Delivery, DeferredCalls]:
    """Put the calls of a record that wait for *outcome* into batches, where their functions say so.

    Return what has become of them, and the record with the others. If the store is away, they wait
    in their record; without one, each is published as a batch of one.
    """
    calls = [call for call in starting(record, outcome) if goes_in_batch(app, call)]
    if not calls:
        return Delivery(), record
    store: Store | None = extension_of(app).store
    if store is None:
        return Delivery(), record
    ids = {call.id: run_id(record.parent, call.id) for call in calls}
    delivery = Delivery(unsent=frozenset(ids.values())) if is_durable else None
    with guard.logged(
        logger,
        "run %s (%s): its calls did not get into batches",
        record.parent,
        record.task,
        about=subject.of(record.parent),
    ):
        members, refused = _members(app, record, calls)
        for part in _parts(members):
            _gather(app, store, part)
        sent = frozenset(ids.values()) - refused.keys()
        delivery = Delivery(sent=sent, refused=refused, gathered=sent)
    if delivery is None:
        return Delivery(), record
    others = (call for call in record.calls if call.id not in ids)
    return delivery, replace(record, calls=tuple(others))


def publish_batches(app: Any, store: Store, leases: Sequence[Leased]) -> Delivery:
    """Publish batches that are leased, and settle their records.

    One that cannot be published stays, and a relay takes it.
    """
    batches = {lease.id: _read(lease) for lease in leases}
    known = {id: batch for id, batch in batches.items() if batch.calls and batch.task in app.tasks}
    tokens = {lease.id: f"{lease.token}.{lease.tries}" for lease in leases}
    messages = {id: message_of_batch(app, batch, tokens[id]) for id, batch in known.items()}
    delivery = broker.send(app, list(messages.values()), is_durable=True)
    for lease in leases:
        batch = batches[lease.id]
        if lease.id in delivery.sent or not batch.calls:
            # If this fails, a relay publishes it again, and its run does not start again.
            with guard.logged(logger, "batch %s: its record cannot be settled", lease.id):
                sent = messages.get(lease.id)
                facts = batch_history.facts_of_batch(extension_of(app), batch, sent) if sent else []
                store.settle(lease.id, lease.token, facts=facts)
    unknown = {id: _UNKNOWN for id, each in batches.items() if each.calls and id not in known}
    return replace(delivery, refused={**delivery.refused, **delivery.dropped, **unknown})


# -- private ------------------------------------------------------------------------------


#: A call with its run id and its line, and the kind of batch that it goes into.
_Member = tuple[BatchKind, RunId, bytes]


@dataclass(slots=True)
class _Kinds:
    """The kinds of batches that the calls of one record go into."""

    app: Any
    token: str = field(default_factory=lambda: uuid4().hex)
    kinds: dict[str, BatchKind] = field(default_factory=dict)

    def of(self, function: Deferrable[..., Any], call: Call) -> BatchKind:
        """Return the kind that a call is of; raise what its key raises."""
        name = _name(function, call)
        if name not in self.kinds:
            self.kinds[name] = self._kind(name, function, call)
        return self.kinds[name]

    def _kind(self, name: str, function: Deferrable[..., Any], call: Call) -> BatchKind:
        assert function.limits is not None  # noqa: S101
        assert function.limits.batch is not None  # noqa: S101
        batch, task = function.limits.batch, function.contract.task
        most_bytes = extension_of(self.app).settings.max_payload_bytes
        head = records.head(task, call.options)
        owner = task_of_owner(task)
        return BatchKind(name, owner, self.token, head, batch.max_size, most_bytes, batch.timeout)


def _gather(app: Any, store: Store, part: Sequence[_Member]) -> None:
    """Put calls into batches, and publish those that are full."""
    extension = extension_of(app)
    kinds = list({kind.name: kind for kind, _, _ in part}.values())
    places = {kind.name: place for place, kind in enumerate(kinds)}
    members = [Member(places[kind.name], id, line) for kind, id, line in part]
    now = extension.clock()
    full = store.gather(
        kinds, members, now=now, until=now + LEASE,
        keep=extension.settings.outbox_keeps + SPARE, claims=extension.settings.claim_expires,
    )  # fmt: skip
    if full:
        with guard.logged(logger, "%d batches are full, and wait for a relay", len(full)):
            publish_batches(app, store, full)


def _members(
    app: Any, record: DeferredCalls, calls: Sequence[Call]
) -> tuple[list[_Member], dict[RunId, str]]:
    """Return calls as members of batches; and those whose key has no value any more, with why."""
    kinds, members, refused = _Kinds(app), list[_Member](), dict[RunId, str]()
    for call in calls:
        function, id = batching(app.tasks[call.task]), run_id(record.parent, call.id)
        assert function is not None  # noqa: S101
        try:
            kind = kinds.of(function, call)
        except DeferError as error:  # the code has changed since the call was made
            refused[id] = str(error)
            continue
        value = _value(function, call.payload)
        line = gathered.line(
            call, value,
            parent=record.parent, task=record.task, depth=record.depth, root=record.root,
        )  # fmt: skip
        members.append((kind, id, line))
    return members, refused


def _value(function: Deferrable[..., Any], payload: bytes) -> bytes:
    """Return the JSON of a payload, from the arguments of a message."""
    start, end = function.contract.layout.carry(b"\0", 0).split(b"\0")
    if payload.startswith(start) and payload.endswith(end):
        return payload[len(start) : len(payload) - len(end)]
    args, kwargs = from_json(payload)  # it was staged before the function had a batch
    return to_json([*args, *kwargs.values()][0])


def _name(function: Deferrable[..., Any], call: Call) -> str:
    """Return the name of the batches that a call may go into: of its task, its key, its options."""
    assert function.limits is not None  # noqa: S101
    batch, key = function.limits.batch, ""
    if batch is not None and batch.key is not None:
        args, kwargs = encoding.read(call.payload)
        key = function.limits.batch_key(args, kwargs, function.contract)
    options = gathered.shared(call.options) if call.options.model_fields_set else {}
    return "\n".join([call.task, key, *([to_json(options).decode()] if options else [])])


def _parts(members: Sequence[_Member]) -> Iterator[Sequence[_Member]]:
    """Yield as many calls at a time as one script writes."""
    part: list[_Member] = []
    size = 0
    for member in members:
        length = len(member[-1])
        if part and (len(part) == _MOST_CALLS or size + length > _MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(member)
        size += length
    if part:
        yield part


def _read(lease: Leased) -> GatheredCalls:
    record = records.unpack(lease.id, lease.body)
    assert isinstance(record, GatheredCalls)  # noqa: S101
    return record
