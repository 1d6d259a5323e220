"""Tasks that take as long as a test wants, or need many rights."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Task, chord, shared_task

from celery_defer import defer, deferred, step


@shared_task
def wait_for(path: str) -> str:
    """Say in a file that it has begun, and by which process, and wait until there is *path*."""
    with Path(f"{path}-begun").open("a") as begun:
        begun.write(f"{os.getppid()}\n")
    while not Path(path).exists():
        time.sleep(0.01)
    return "ended"


@shared_task(bind=True, max_retries=1)
def tried_twice(self: Task, number: int) -> int:
    if self.request.retries == 0:
        raise self.retry(countdown=0.01)
    return number


@shared_task
def added(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def gathered() -> str:
    """Start a chord; return the id of its last run."""
    return str(chord([tried_twice.s(1), tried_twice.s(2)])(added.s()).id)


@deferred
@shared_task
def paid(order_id: int) -> int:
    event = step.wait_for_event("payment", "paid", timeout="1m", match={"order": order_id})
    assert event
    return int(step.run("amount", lambda: event.data["amount"]))


@shared_task
def followed_up(order_id: int) -> int:
    defer("slow", paid.with_options(countdown=600), order_id=order_id)
    defer("either way", paid.with_options(when="always"), order_id=order_id)
    return int(step.invoke("paid", paid, order_id=order_id))
