"""Workers, a broker and relays as flow control sees them, in lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery_defer.flow import Admission, Ask, Drop, Gate, Go, Later
from celery_defer.ids import RunId
from celery_defer.store import BatchKind, Hold, Holding, Leased, Member, Parking
from tests.model.twins import Twins

__all__ = ["LEASE", "Call", "Delivery", "FlowWorld", "Message"]

KEEP = 9_000.0
LEASE = 30.0
DAY = 86_400.0
#: How many calls a batch takes, and for how long the first one waits.
MOST, TIMEOUT = 3, 5.0


@dataclass(frozen=True)
class Call:
    """What a run was deferred with, and when."""

    task: str
    gates: tuple[Gate, ...]
    at: float
    priority: float = 0.0


@dataclass(frozen=True)
class Message:
    """A message at the broker: the first of a run, or the wake-up for one of its turns."""

    run: str
    token: str
    turn: int = 0
    goes_on: bool = False
    is_retry: bool = False
    #: Whether a worker has had it: its record is gone, and the broker has it until it is done.
    has_begun: bool = False


@dataclass
class Delivery:
    """A body in progress; *ends* is when its places run out."""

    message: Message
    ask: Ask
    turn: int
    ends: float


@dataclass
class FlowWorld:
    """What becomes of runs. It tells *saw* what happens."""

    stores: Twins
    saw: Any
    broker: list[Message] = field(default_factory=list)
    working: list[Delivery] = field(default_factory=list)
    runs: dict[str, Call] = field(default_factory=dict)
    #: By call of a batch: its batch, once that is published; and by the head of a batch its kind.
    calls: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Call] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    #: Runs of which the broker has given a message to two workers.
    redelivered: set[str] = field(default_factory=set)
    #: Runs that were held back after another delivery had ended them.
    late: set[str] = field(default_factory=set)
    #: By run whose worker died before it could: which run it was to cancel.
    unsaid: dict[str, str] = field(default_factory=dict)
    #: Deliveries of workers that died, which have their places until these run out.
    ghosts: list[Delivery] = field(default_factory=list)
    count: int = 0

    @property
    def now(self) -> float:
        return self.stores.clock.now

    def defer(self, call: Call) -> None:
        run = f"run-{len(self.runs):02}"
        self.runs[run] = call
        self.publish(Message(run, self._new(run)))

    def gather(self, call: Call, key: str, count: int) -> None:
        """Defer calls that go together, and publish the batches that are full."""
        name, now = f"{call.task}:{key}", self.now
        self.kinds[name] = call
        kind = BatchKind(name, "task", self._new(name), f"{name}\n".encode(), MOST, 999, TIMEOUT)
        ids = [f"call-{len(self.calls) + n}" for n in range(count)]
        self.calls |= dict.fromkeys(ids, "")
        members = [Member(0, RunId(each), f"{each}\n".encode()) for each in ids]
        leased = self.stores.ask(
            lambda s, ahead: s.gather(
                [kind], members, now=now + ahead, until=now + 10 + ahead, keep=KEEP, claims=KEEP
            )
        )
        for lease in leased:
            self._wake(lease)

    def publish(self, message: Message) -> None:
        self.broker.append(message)

    def publish_again(self, message: Message) -> None:
        self.publish(replace(message, token=self._new(message.run), has_begun=False))

    def redeliver(self, message: Message) -> None:
        """Give a message to another worker too, while the first one still has it."""
        self.redelivered.add(message.run)
        self.publish(message)

    # -- workers --------------------------------------------------------------------

    def receive(self, message: Message, *, dies: bool = False) -> None:
        """Take a message; one whose worker *dies* before it does what it was told comes again."""
        self.broker.remove(message)
        ask, options = self._ask(message), {"is_retry": message.is_retry}
        if message.turn:
            admission = self.stores.ask(
                lambda s, _: (
                    s.resume(
                        ask.run, message.turn, ask.token, KEEP, ask=ask, **options
                    ).claim.admission
                )
            )
        else:
            admission = self.stores.ask(
                lambda s, _: s.claim(ask.run, ask.token, KEEP, ask=ask, **options).admission
            )
        if admission is None:
            return  # of another message, or of an old turn
        is_gone = self.over.get(message.run) in {"aborted", "cancelled"}
        if not is_gone and not isinstance(admission, Drop):
            self._check_once(message)
        if not isinstance(admission, Drop):
            self._cancel_earlier(message, admission, dies=dies)
        self.saw.admitted(ask, admission)
        if is_gone:  # it finds that out before its body begins
            self._give_back(ask, ask.token, ended=True)
        else:
            self._go_on(message, ask, admission, dies=dies)

    def end(self, delivery: Delivery) -> None:
        self.working.remove(delivery)
        self.over.setdefault(delivery.message.run, "ended")
        self._settle(delivery.message.run)
        self._give_back(delivery.ask, delivery.ask.token, ended=True)

    def retry(self, delivery: Delivery) -> None:
        self.working.remove(delivery)
        self._give_back(delivery.ask, delivery.ask.token, ended=False, idle=5.0)
        self.publish(replace(delivery.message, is_retry=True, goes_on=False))

    def park(self, delivery: Delivery, seconds: float) -> None:
        """Let a run wait at a step, if another delivery of it has not ended it meanwhile."""
        if delivery.message.run in self.over:
            self.end(delivery)
            return
        self.working.remove(delivery)
        run, turn, now = delivery.ask.run, delivery.turn, self.now
        parking = Parking(turn, f"nap-{turn}", b"", f"record-{turn}", b"goes on", 0.0)
        self.stores.ask(
            lambda s, ahead: s.park(
                run, replace(parking, due=now + seconds + ahead), now + ahead, KEEP
            )
        )
        self._give_back(delivery.ask, delivery.ask.token, ended=False)

    def lose(self, delivery: Delivery, *, is_noticed: bool) -> None:
        """Let a worker die: the broker gives its message to another one."""
        self.working.remove(delivery)
        if is_noticed:
            self._give_back(delivery.ask, None, ended=False)
        else:
            self.ghosts.append(delivery)
        self.publish(delivery.message)

    def renew(self, deliveries: Sequence[Delivery]) -> None:
        holds = [
            Hold(each.ask.task, each.ask.run, each.ask.token, each.ask.gates) for each in deliveries
        ]
        lost = self.stores.ask(lambda s, _: s.renew(holds, LEASE))
        for each, hold in zip(deliveries, holds, strict=True):
            if hold in lost:  # its body is stopped, and its message comes again
                self.working.remove(each)
                self.publish(each.message)
            else:
                each.ends = self.now + LEASE

    def abort(self, run: str, how: str = "aborted") -> None:
        """End a run at once, wherever it is."""
        self.over[run] = how
        task, gates = self.runs[run].task, self.runs[run].gates
        stopped = [each for each in self.working if each.message.run == run]
        self.working = [each for each in self.working if each.message.run != run]
        # What it has asked with another key goes when its lease is over.
        self.ghosts = [
            each for each in self.ghosts if each.message.run != run or each.ask.gates != gates
        ]
        now, id = self.now, RunId(run)
        self.stores.ask(lambda s, ahead: s.cancel(id, KEEP, now + 30 + ahead))
        self._settle(run)
        for each in stopped:
            self._give_back(each.ask, each.ask.token, ended=True)
        self._give_back(Ask(task, id, "", gates, LEASE), None, ended=True)

    def cancel(self, run: RunId, by: RunId) -> None:
        """Let a run cancel an earlier one: at once if that waits, else at its next step."""
        if run in self.over:
            return
        self.saw.cancels(run, by)
        until = self.now + 30
        for only_parked in (True, False):
            left = self.stores.ask(
                lambda s, ahead, only=only_parked: s.cancel(
                    run, KEEP, until + ahead, only_parked=only
                )
            )
            if left is not None:
                self.abort(run, "cancelled")
                return
        self.over[run] = "cancelled"

    # -- relays ---------------------------------------------------------------------

    def drain(self, limit: int) -> int:
        now = self.now
        leased = self.stores.ask(lambda s, ahead: s.drain(now + ahead, now + 10 + ahead, limit))
        self._let(leased)
        return len(leased)

    def take(self, limit: int = 9) -> int:
        now = self.now
        leased = self.stores.ask(lambda s, ahead: s.take(now + ahead, now + 10 + ahead, limit))
        for lease in leased:
            self._wake(lease)
        return len(leased)

    def rest(self) -> None:
        """Let relays drain until nothing is left to do."""
        for _ in range(100):
            due = self.stores.ask(lambda s, _: s.flow_due(), is_time=True)
            if due is None or due > self.now:
                return
            self.drain(9)
        raise AssertionError("draining does not end")

    # -- in one step ----------------------------------------------------------------

    def _go_on(self, message: Message, ask: Ask, admission: Admission, *, dies: bool) -> None:
        begun = replace(message, has_begun=True)
        if isinstance(admission, Go):
            delivery = Delivery(begun, ask, message.turn, self.now + LEASE)
            self.working.append(delivery)
            if dies:
                self.lose(delivery, is_noticed=False)
            else:
                self.saw.begins(ask)
        elif dies:
            self.publish(begun)
        elif isinstance(admission, Later):
            self._hold(message, ask)
        else:
            self._drop(message, admission)

    def _cancel_earlier(self, message: Message, admission: Go | Later, *, dies: bool) -> None:
        if admission.cancels and dies:
            self.unsaid[message.run] = admission.cancels
        elif admission.cancels:
            self.cancel(admission.cancels, RunId(message.run))

    def _hold(self, message: Message, ask: Ask) -> None:
        now, turn = self.now, message.turn
        body = b"goes on" if message.goes_on else b"starts"
        holding = Holding(turn, f"record-{turn}", body, 0.0)
        self.saw.arrives(ask)
        if message.run in self.over:
            self.late.add(message.run)
        held = self.stores.ask(
            lambda s, ahead: s.hold(
                ask, replace(holding, due=now + DAY + ahead),
                now=now + ahead, until=now + 10 + ahead, keep=KEEP,
            )
        )  # fmt: skip
        if isinstance(held.admission, Drop):
            self._drop(message, held.admission)
        elif held.admission and held.admission.gate == "debounce":
            self.saw.leaves_line(message.run)
        if held.replaced:
            self.over[held.replaced] = "replaced"
            self.saw.ended(held.replaced)
        self._let(held.leased)

    def _drop(self, message: Message, drop: Drop) -> None:
        run = message.run
        self.over.setdefault(run, f"dropped: {drop.reason.value}")
        self._settle(run)
        if message.turn:  # it may have been let through before it lost its mark
            task, gates = self.runs[run].task, self.runs[run].gates
            self._give_back(Ask(task, RunId(run), "", gates, LEASE), None, ended=True)

    def _check_once(self, message: Message) -> None:
        """Only Celery's redelivery or retry of a message lets a body begin a second time."""
        is_alive = any(each.message.run == message.run for each in self.working)
        is_again = message.has_begun or message.is_retry
        assert is_again or not is_alive or message.run in self.redelivered, message
        assert is_again or message.run not in set(self.over) - self.late, message

    def _settle(self, run: str) -> None:
        self.stores.ask(lambda s, _: s.settle(RunId(run), None))

    def _give_back(self, ask: Ask, token: str | None, *, ended: bool, idle: float = 0.0) -> None:
        now = self.now
        if ended:
            self.saw.ended(ask.run)
        leased = self.stores.ask(
            lambda s, ahead: s.give_back(
                ask.run, ask.task, ask.gates, token,
                ended=ended, idle=idle, now=now + ahead, until=now + 10 + ahead, limit=2,
            )
        )  # fmt: skip
        self._let(leased)

    def _let(self, leased: Sequence[Leased]) -> None:
        for lease in leased:
            self.saw.let(lease.id, lease.tries)
            self._wake(lease)

    def _wake(self, lease: Leased) -> None:
        run, turn = lease.id, self._turn(lease.id)
        if lease.is_cancelled:
            self._settle(run)
            return
        if not turn:
            self._open(lease)
            return
        goes_on = lease.body == b"goes on"
        self.publish(Message(run, self._new(run), turn, goes_on=goes_on))
        now = self.now
        self.stores.ask(lambda s, ahead: s.expect([(run, lease.token, now + 60 + ahead)]))

    def _open(self, lease: Leased) -> None:
        """Publish a batch: none of its calls is in another one."""
        kind, *calls = lease.body.decode().split()
        assert len(calls) <= MOST, calls
        assert not any(self.calls[each] for each in calls), calls
        self.calls |= dict.fromkeys(calls, lease.id)
        self.runs[lease.id] = replace(self.kinds[kind], at=self.now)
        self.publish(Message(lease.id, self._new(lease.id)))
        self.stores.ask(lambda s, _: s.settle(lease.id, lease.token))

    def _turn(self, run: str) -> int:
        turn: int = self.stores.ask(lambda s, _: s.turn(RunId(run)))
        return turn

    def _ask(self, message: Message) -> Ask:
        call = self.runs[message.run]
        self.count += 1
        token = f"{message.token}.{self.count}"
        return Ask(
            call.task, RunId(message.run), token, call.gates, LEASE,
            made=call.at, priority=call.priority, goes_on=message.goes_on,
        )  # fmt: skip

    def _new(self, run: str) -> str:
        self.count += 1
        return f"task.{run}-{self.count}"
