"""``make demo``: the shop on a real worker, over all of orders.csv, with totals that add up."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from threading import Timer
from types import FrameType

import click
import redis
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url

from examples.redis_server import RedisNotFoundError, own_database, redis_server
from examples.shop.app import Order, Sale, app
from examples.shop.orders import FILE, read_orders
from examples.shop.outcome import outcome
from examples.shop.outside import Outside
from examples.shop.report import totals_table, tree
from examples.shop.totals import Records, Total, check_totals, pages
from examples.shop.traffic import Traffic
from examples.shop.worker import (
    Worker,
    WorkerError,
    count_attempts,
    shop_worker,
    wait_until_ready,
)

__all__ = ["main"]

DOWN_AT_FIRST = "vestmannaeyjar.example"  # a mail server, and a customer has his mail there
REFUSED = 2  # connections, before it comes back


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, for Flower and a shell.")
def main(keep: bool) -> None:
    """Run the shop of examples/shop on a real worker, and check that its totals add up."""
    _prepare_process()
    try:
        with redis_server() as server, own_database(server) as url:
            wrong = _demo(url, keep)
    except (RedisNotFoundError, WorkerError) as error:
        raise click.ClickException(str(error)) from error
    except (redis.ConnectionError, OperationalError) as error:
        raise click.ClickException(f"Redis has gone: {error}") from error
    if wrong:
        sys.exit(1)


def _demo(url: str, keep: bool) -> list[Total]:
    """Run all orders, show what became of them, and answer the totals that are wrong."""
    app.conf.update(broker_url=url, result_backend=url)
    orders, outside = read_orders(), Outside(url)
    outside.take_mail_server_down(DOWN_AT_FIRST, REFUSED)
    outside.fill_cache(pages(orders))

    click.echo(f"Redis      {maybe_sanitize_url(url)}")
    with _logged_worker(url) as worker:
        totals = _run(orders, outside, worker)
        wrong = [total for total in totals if not total.is_right]
        _judge(wrong, worker)
        if keep:
            _stay(url, worker)
    return wrong


def _run(orders: Sequence[Order], outside: Outside, worker: Worker) -> list[Total]:
    lines = sum(len(order.lines) for order in orders)
    click.echo(f"Orders     {len(orders)} with {lines} lines, from {FILE.name}")
    began = time.monotonic()
    traffic = Traffic(worker, orders)
    traffic.run()
    click.echo(f"Finished   {traffic.finished} runs in {time.monotonic() - began:.1f} s")
    outcomes = [outcome(sent) for sent in traffic.sent]
    records = Records(
        sales=[Sale.model_validate_json(entry) for entry in outside.ledger()],
        mails=len(outside.mails()),
        refused_mails=REFUSED,
        cached=outside.cached(),
        worked=count_attempts(),
    )
    totals = check_totals(orders, outcomes, records)
    _say("", *tree(outcomes), "", click.style("Totals", bold=True))
    _say(*totals_table(totals), "")
    return totals


def _judge(wrong: Sequence[Total], worker: Worker) -> None:
    if not wrong:
        click.secho("Everything adds up.", fg="green", bold=True)
        return
    click.echo(f"The end of the worker's log:\n{worker.log_tail()}\n", err=True)
    names = ", ".join(total.what for total in wrong)
    click.secho(f"These do not add up: {names}", fg="red", bold=True, err=True)


@contextmanager
def _logged_worker(url: str) -> Iterator[Worker]:
    """Give a worker that is ready; where it fails, the error shows the end of its log."""
    with shop_worker(url) as worker:
        try:
            began = time.monotonic()
            wait_until_ready(worker)
            seconds = time.monotonic() - began
            click.echo(f"Worker     prefork, 2 processes, ready after {seconds:.1f} s")
            yield worker
        except WorkerError as error:
            raise WorkerError(f"{error}; the end of its log:\n{worker.log_tail()}") from error


def _stay(url: str, worker: Worker) -> None:
    with suppress(KeyboardInterrupt):
        click.echo(_invitation(url, worker))
        while True:
            worker.check()
            time.sleep(0.5)


def _invitation(url: str, worker: Worker) -> str:
    python = os.path.relpath(sys.executable)
    setting = f"SHOP_REDIS_URL={url}"
    install = "" if importlib.util.find_spec("flower") else f"{python} -m pip install flower && "
    return f"""
The worker stays up until you press Ctrl-C; its log is {worker.log}
For Flower, on http://localhost:5555 (it shows what happens from its start on):

  {install}{setting} {python} -m celery -A examples.shop.app --broker={url} flower

For a shell:

  {setting} {python} -i -c 'from examples.shop.app import *; from examples.shop.orders import *'
  >>> run = process_order.delay(read_orders()[0].model_dump(mode="json"))
  >>> run.get(), run.children
"""


def _prepare_process() -> None:
    # What would kill this process ends it by an exception instead, so that it cleans up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    # To Celery these come before what an app says of itself; here they are of another app.
    for kind in ("BROKER_URL", "BROKER_READ_URL", "BROKER_WRITE_URL", "RESULT_BACKEND"):
        os.environ.pop(f"CELERY_{kind}", None)
    # A terminal may be set to an encoding that has no Georgian.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace", line_buffering=True)


def _end(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == "__del__":  # Python ignores what a finalizer raises
            Timer(0.05, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise SystemExit(128 + number)


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    main()
