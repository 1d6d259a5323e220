"""All limits of one deferred function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery_defer.flow import key
from celery_defer.flow.ask import Ask
from celery_defer.flow.ends import CancelOn, Timeouts
from celery_defer.flow.gate import Gate, Kind
from celery_defer.flow.options import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from celery_defer.flow.payload import Payload, Reader
from celery_defer.ids import RunId

# Those with one key at most.
_KEYED = ("throttle", "rate_limit", "debounce", "batch", "singleton", "idempotency")

#: The names of the gates for the two limits of concurrency.
CONCURRENCIES = ("concurrency", "concurrency.2")


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of one deferred function, and what ends its runs from outside."""

    concurrency: tuple[Concurrency, ...] = ()
    throttle: Throttle | None = None
    rate_limit: RateLimit | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    singleton: Singleton | None = None
    idempotency: Idempotency | None = None
    priority: Priority | None = None
    cancel_on: tuple[CancelOn, ...] = ()
    timeouts: Timeouts | None = None
    #: Whether they hold for runs that were not deferred too: those of ``delay``.
    applies_to_all: bool = False

    @property
    def has_gates(self) -> bool:
        """Whether a run asks before it starts."""
        return bool(self.concurrency) or any(
            (self.throttle, self.rate_limit, self.debounce, self.singleton, self.idempotency)
        )

    def gates(self, payload: Payload) -> tuple[Gate, ...]:
        """Return the gates of a run; raise LimitKeyError, and PayloadError."""
        return tuple(self._gates(payload))

    def ask(
        self,
        run_id: RunId,
        task: str,
        token: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        lease: float,
        contract: Reader,
        made: float | None = None,
        goes_on: bool = False,
    ) -> Ask:
        """Return what a delivery asks, from the arguments of its message.

        Raises LimitKeyError if a key has no value, and PayloadError where it cannot be read.
        """
        payload = self._payload(args, kwargs, contract)
        gates, priority = self.gates(payload), key.seconds(self.priority, payload)
        return Ask(task, run_id, token, gates, lease, made, priority, goes_on)

    def batch_key(self, args: Sequence[Any], kwargs: Mapping[str, Any], contract: Reader) -> str:
        """Return the key of the batch that a call goes into; raise as ``ask`` does."""
        return self._batch_key(self._payload(args, kwargs, contract))

    def cancels(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], contract: Reader
    ) -> list[tuple[CancelOn, dict[str, Any]]]:
        """Return what cancels a run, each with the values that its event must have.

        Raises as ``ask`` does.
        """
        return self._cancels(self._payload(args, kwargs, contract))

    def paths(self) -> Iterator[tuple[str, str]]:
        """Yield the paths that are keys, each with the name of its option."""
        keyed: list[tuple[str, Any]] = [
            *zip(CONCURRENCIES, (each.key for each in self.concurrency), strict=False),
            *((name, getattr(getattr(self, name), "key", None)) for name in _KEYED),
            *(("cancel_on", each) for cancel in self.cancel_on for each in cancel.match.values()),
        ]
        yield from ((name, path) for name, path in keyed if isinstance(path, str))

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any], contract: Reader) -> None:
        """Check that each key has a value; raise as ``ask`` does."""
        payload = self._payload(args, kwargs, contract)
        self.gates(payload)
        key.seconds(self.priority, payload)
        self._batch_key(payload)
        self._cancels(payload)

    def _payload(self, args: Sequence[Any], kwargs: Mapping[str, Any], contract: Reader) -> Payload:
        # What `delay` sends was not checked: it may be "7" where an int is taken.
        return Payload(contract, args, kwargs, is_checked=not self.applies_to_all)

    def _batch_key(self, payload: Payload) -> str:
        return key.key_of("batch", self.batch.key if self.batch else None, payload)

    def _cancels(self, payload: Payload) -> list[tuple[CancelOn, dict[str, Any]]]:
        return [(cancel, _matched(cancel, payload)) for cancel in self.cancel_on]

    def _gates(self, payload: Payload) -> Iterator[Gate]:
        if idempotency := self.idempotency:
            text = key.key_of("idempotency", idempotency.key, payload)
            yield Gate(Kind.IDEMPOTENCY, "idempotency", text, period=idempotency.period)
        if singleton := self.singleton:
            text = key.key_of("singleton", singleton.key, payload)
            yield Gate(Kind.SINGLETON, "singleton", text, cancels=singleton.mode == "cancel")
        if rate := self.rate_limit:
            text = key.key_of("rate_limit", rate.key, payload)
            yield Gate(Kind.RATE_LIMIT, "rate_limit", text, rate.limit, rate.period)
        if debounce := self.debounce:
            text = key.key_of("debounce", debounce.key, payload)
            yield Gate(
                Kind.DEBOUNCE, "debounce", text, period=debounce.period, timeout=debounce.timeout
            )
        if throttle := self.throttle:
            text = key.key_of("throttle", throttle.key, payload)
            limit, burst = throttle.limit, throttle.burst
            yield Gate(Kind.THROTTLE, "throttle", text, limit, throttle.period, burst)
        for name, concurrency in zip(CONCURRENCIES, self.concurrency, strict=False):
            text = key.key_of(name, concurrency.key, payload)
            yield Gate(Kind.CONCURRENCY, name, text, concurrency.limit)


def _matched(cancel: CancelOn, payload: Payload) -> dict[str, Any]:
    return {path: key.value_of("cancel_on", of, payload) for path, of in cancel.match.items()}
