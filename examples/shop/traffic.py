"""Orders that come in one by one, and the runs that follow from them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import click
from celery import states

from examples.shop.app import Order, app, process_order
from examples.shop.outcome import CALLS, Sent, ids_of_calls
from examples.shop.worker import Worker, WorkerError

__all__ = ["Traffic"]

ORDERS_A_SECOND = 40
STALLED_AFTER = 30.0  # seconds in which no run has finished


class Traffic:
    """All orders, at a pace that lets a run start when it is published."""

    def __init__(self, worker: Worker, orders: Sequence[Order]) -> None:
        self.sent: list[Sent] = []
        self.finished = 0
        # Each order is one run and defers three; fewer come if it fails or a call is skipped.
        self.expected = len(orders) * (1 + len(CALLS))
        self._worker = worker
        self._waiting = list(reversed(orders))
        self._parents: set[str] = set()
        self._calls: set[str] = set()

    def run(self) -> None:
        """Send the orders and wait for all their runs, with a progress bar."""
        with click.progressbar(
            length=self.expected, label="Running   ", show_pos=True, show_eta=False
        ) as bar:
            for _ in self._ticks():
                bar.length = self.expected
                bar.update(self.finished - bar.pos)

    def _ticks(self) -> Iterator[None]:
        began = progress = time.monotonic()
        while self._waiting or self._parents or self._calls:
            now, finished = time.monotonic(), self.finished
            self._send(due=int((now - began) * ORDERS_A_SECOND) + 1)
            self._look()
            yield
            self._worker.check()
            if self.finished > finished:
                progress = now
            elif now - progress > STALLED_AFTER:
                raise WorkerError(f"no run has finished for {STALLED_AFTER:.0f} seconds")
            time.sleep(0.02)

    def _send(self, due: int) -> None:
        while self._waiting and len(self.sent) < due:
            order = self._waiting.pop()
            at = datetime.now(timezone.utc)
            parent_id = process_order.delay(order.model_dump(mode="json")).id
            self.sent.append(Sent(order, parent_id, at))
            self._parents.add(parent_id)

    def _look(self) -> None:
        for parent_id, state in _ended(self._parents):
            self._parents.discard(parent_id)
            self.finished += 1
            if state == "SUCCESS":
                self._calls.update(ids_of_calls(parent_id).values())
            else:
                self.expected -= len(CALLS)
        for call_id, state in _ended(self._calls):
            self._calls.discard(call_id)
            if state == "SKIPPED":
                self.expected -= 1
            else:
                self.finished += 1


def _ended(ids: set[str]) -> Iterator[tuple[str, str]]:
    for run_id in sorted(ids):
        state: str = app.AsyncResult(run_id).state
        if state in states.READY_STATES or state == "SKIPPED":
            yield run_id, state
