"""Workers, a broker and relays as flow control sees them, in lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from celery_defer.flow import Ask, Drop, Gate, Go, Later
from celery_defer.ids import RunId
from celery_defer.store import Hold, Holding, Leased, Parking
from tests.model.twins import Twins

__all__ = ["LEASE", "Delivery", "FlowWorld", "Message"]

KEEP = 9_000.0
LEASE = 30.0
DAY = 86_400.0


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
    #: By run: its function, what it asks with, and when it was deferred.
    runs: dict[str, tuple[str, tuple[Gate, ...], float]] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    #: Deliveries of workers that died, which have their places until these run out.
    ghosts: list[Delivery] = field(default_factory=list)
    count: int = 0

    @property
    def now(self) -> float:
        return self.stores.clock.now

    def defer(self, task: str, gates: tuple[Gate, ...], age: float) -> None:
        run = f"run-{len(self.runs):02}"
        self.runs[run] = (task, gates, self.now - age)
        self.publish(Message(run, self._new(run)))

    def publish(self, message: Message) -> None:
        self.broker.append(message)

    def publish_again(self, message: Message) -> None:
        self.publish(replace(message, token=self._new(message.run)))

    # -- workers --------------------------------------------------------------------

    def receive(self, message: Message, *, dies: bool = False) -> None:
        """Take a message; a worker that *dies* before it holds the run back gets it again."""
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
        how = self.over.get(message.run)
        assert how in {None, "aborted"} or isinstance(admission, Drop), (ask, how)
        self.saw.admitted(ask, admission)
        if how:  # an aborted run finds that out before its body begins
            self._give_back(ask, ask.token, ended=True)
            return
        if isinstance(admission, Go):
            ends = self.now + LEASE
            begun = replace(message, has_begun=True)
            self.working.append(Delivery(begun, ask, message.turn, ends))
        elif dies:
            self.broker.append(replace(message, has_begun=True))
        elif isinstance(admission, Later):
            self._hold(message, ask)
        else:
            self._drop(message.run, admission)

    def end(self, delivery: Delivery) -> None:
        self.working.remove(delivery)
        self.over[delivery.message.run] = "ended"
        self._settle(delivery.message.run)
        self._give_back(delivery.ask, delivery.ask.token, ended=True)

    def retry(self, delivery: Delivery) -> None:
        self.working.remove(delivery)
        self._give_back(delivery.ask, delivery.ask.token, ended=False, idle=5.0)
        self.publish(replace(delivery.message, is_retry=True, goes_on=False))

    def park(self, delivery: Delivery, seconds: float) -> None:
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

    def abort(self, run: str) -> None:
        """Abort a run, wherever it is."""
        self.over[run] = "aborted"
        task, gates, _ = self.runs[run]
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

    def _hold(self, message: Message, ask: Ask) -> None:
        now, turn = self.now, message.turn
        body = b"goes on" if message.goes_on else b"starts"
        holding = Holding(turn, f"record-{turn}", body, 0.0)
        self.saw.arrives(ask)
        held = self.stores.ask(
            lambda s, ahead: s.hold(
                ask, replace(holding, due=now + DAY + ahead),
                now=now + ahead, until=now + 10 + ahead, keep=KEEP,
            )
        )  # fmt: skip
        if isinstance(held.admission, Drop):
            self._drop(message.run, held.admission)
        elif held.admission and held.admission.gate == "debounce":
            self.saw.leaves_line(message.run)
        if held.replaced:
            self.over[held.replaced] = "replaced"
            self.saw.ended(held.replaced)
        self._let(held.leased)

    def _drop(self, run: str, drop: Drop) -> None:
        self.over[run] = f"dropped: {drop.reason.value}"
        self._settle(run)
        task, gates, _ = self.runs[run]  # it may have been let through before it lost its mark
        self._give_back(Ask(task, RunId(run), "", gates, LEASE), None, ended=True)

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
        goes_on = lease.body == b"goes on"
        self.publish(Message(run, self._new(run), turn, goes_on=goes_on))
        now = self.now
        self.stores.ask(lambda s, ahead: s.expect([(run, lease.token, now + 60 + ahead)]))

    def _turn(self, run: str) -> int:
        turn: int = self.stores.ask(lambda s, _: s.turn(RunId(run)))
        return turn

    def _ask(self, message: Message) -> Ask:
        task, gates, deferred = self.runs[message.run]
        self.count += 1
        token = f"{message.token}.{self.count}"
        return Ask(
            task, RunId(message.run), token, gates, LEASE,
            made=deferred, goes_on=message.goes_on,
        )  # fmt: skip

    def _new(self, run: str) -> str:
        self.count += 1
        return f"task.{run}-{self.count}"
