"""``make demo``: the shop on a real worker, over all of orders.csv, with totals that add up."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from kombu.utils.url import maybe_sanitize_url
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from celery_defer import run_id
from examples.flower import running_flower
from examples.program import program
from examples.shop.app import Order, Sale, app, process_order
from examples.shop.check import Outcome, Records, Sent, Total, check_totals, outcome, pages
from examples.shop.orders import FILE, read_orders
from examples.shop.report import order_trees, totals_table
from examples.shop.services import Services
from examples.worker import Worker, WorkerError, running_worker

__all__ = ["main"]

DOWN_AT_FIRST = "vestmannaeyjar.example"  # a mail server, and a customer has his mail there
REFUSED = 2  # connections, before it comes back
ORDERS_A_SECOND = 40  # so that a run can start when it is published
STALLED_AFTER = 30.0  # seconds in which no order has ended
CONFIG = str(Path(__file__).with_name("flowerconfig.py"))

console = Console(markup=False, emoji=False, highlight=False)


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, for Flower and a shell.")
def main(keep: bool) -> None:
    """Run the shop of examples/shop on a real worker, and check that its totals add up."""
    with program(app) as url:
        totals = _demo(url, keep)
    if not all(total.is_right for total in totals):
        sys.exit(1)


def _demo(url: str, keep: bool) -> list[Total]:
    """Run all orders, and show what became of them."""
    orders, services = read_orders(), Services(url)
    services.take_mail_server_down(DOWN_AT_FIRST, REFUSED)
    services.fill_cache(pages(orders))

    console.print(f"Redis      {maybe_sanitize_url(url)}")
    began = time.monotonic()
    with running_worker(app, "examples.shop.app", SHOP_REDIS_URL=url) as worker:
        seconds = time.monotonic() - began
        console.print(f"Worker     prefork, 2 processes, ready after {seconds:.1f} s")
        # Flower knows only what it has heard, so it listens before the first order.
        with _flower(url, worker) if keep else nullcontext() as flower:
            outcomes = _run_orders(orders, worker)
            totals = check_totals(orders, outcomes, _records(services, worker))
            for part in (*order_trees(outcomes), *totals_table(totals)):
                console.print(part)
            _judge([total.what for total in totals if not total.is_right], worker)
            if keep:
                _stay(url, worker, flower)
    return totals


def _run_orders(orders: Sequence[Order], worker: Worker) -> list[Outcome]:
    lines = sum(len(order.lines) for order in orders)
    console.print(f"Orders     {len(orders)} with {lines} lines, from {FILE.name}")
    began = time.monotonic()
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn())
    in_pipe = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=in_pipe) as progress:
        sent = [_send(order, worker) for order in progress.track(orders, description="Sent")]
        _wait_until_ended(sent, worker, progress)
    outcomes = [outcome(one) for one in sent]
    runs = sum(len(outcome.executed) for outcome in outcomes)
    console.print(f"Finished   {runs} runs in {time.monotonic() - began:.1f} s")
    return outcomes


def _send(order: Order, worker: Worker) -> Sent:
    worker.check()
    time.sleep(1 / ORDERS_A_SECOND)
    at = datetime.now(timezone.utc)
    return Sent(order, process_order.delay(order.model_dump(mode="json")).id, at)


def _wait_until_ended(sent: Sequence[Sent], worker: Worker, progress: Progress) -> None:
    bar = progress.add_task("Ended", total=len(sent))
    waiting, last_end = list(sent), time.monotonic()
    while waiting:
        worker.check()
        still_waiting = [one for one in waiting if not outcome(one).has_ended]
        if len(still_waiting) < len(waiting):
            last_end = time.monotonic()
        elif time.monotonic() - last_end > STALLED_AFTER:
            raise WorkerError(f"no order has ended for {STALLED_AFTER:.0f} seconds")
        waiting = still_waiting
        progress.update(bar, completed=len(sent) - len(waiting))
        time.sleep(0.02)


def _records(services: Services, worker: Worker) -> Records:
    stats: Any = app.control.inspect([worker.name], timeout=5).stats() or {}
    return Records(
        sales=[Sale.model_validate_json(entry) for entry in services.ledger()],
        mails=len(services.mails()),
        refused_mails=REFUSED,
        cached=services.cached(),
        attempts=sum(sum(of_worker["total"].values()) for of_worker in stats.values()),
    )


def _judge(wrong: Sequence[str], worker: Worker) -> None:
    if not wrong:
        console.print("\nEverything adds up.", style="bold green")
        return
    click.echo(f"\nThe end of the worker's log:\n{worker.log_tail()}\n", err=True)
    click.secho(f"These do not add up: {', '.join(wrong)}", fg="red", bold=True, err=True)


def _stay(url: str, worker: Worker, flower: str | None) -> None:
    """Leave an order that waits for an event, and say how to look at it."""
    with suppress(KeyboardInterrupt):
        click.echo(_invitation(url, worker, flower, _waiting_order(worker)))
        while True:
            worker.check()
            time.sleep(0.5)


def _flower(url: str, worker: Worker) -> AbstractContextManager[str | None]:
    if not importlib.util.find_spec("flower"):
        return nullcontext()
    return running_flower("examples.shop.app", CONFIG, worker, SHOP_REDIS_URL=url)


def _waiting_order(worker: Worker) -> str:
    """Place an order whose review waits until the parcel is delivered; return its run's id."""
    order = read_orders()[0].model_copy(update={"id": "demo", "wants_review": True})
    sent = process_order.delay(order.model_dump(mode="json"))
    review: Any = app.AsyncResult(run_id(sent.id, "review"))
    while review.state != "WAITING":
        worker.check()
        time.sleep(0.02)
    return str(sent.id)


def _invitation(url: str, worker: Worker, flower: str | None, order: str) -> str:
    python = os.path.relpath(sys.executable)
    setting = f"SHOP_REDIS_URL={url}"
    celery = f"{setting} {python} -m celery -A examples.shop.app"
    page = (
        f"{flower}/deferred/run/{order}\n  {flower}/task/{order}"
        if flower
        else f"it is not installed: {python} -m pip install flower"
    )
    return f"""
The worker stays up until you press Ctrl-C; its log is {worker.log}
One more order is placed. What it has deferred, and what became of each:

  {celery} defer tree {order}

Its run "review" waits until the parcel is delivered:

  {celery} defer waiting --event parcel/delivered
  {celery} defer show {run_id(order, "review")}

This event wakes it; it then mails the customer, and ends, which the tree shows:

  {celery} defer send-event parcel/delivered '{{"order_id": "demo"}}'

The same in Flower, in its Deferred tab and among its tasks:

  {page}

For a shell:

  {setting} {python} -i -c 'from examples.shop.app import *; from examples.shop.orders import *'
  >>> run = process_order.delay(read_orders()[0].model_dump(mode="json"))
  >>> run.get(), run.children
"""


if __name__ == "__main__":
    main()
