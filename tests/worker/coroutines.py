"""An app whose tasks are coroutine functions, on a pool that awaits them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from celery import Celery, Task

from celery_defer import Defer, defer, deferred, step

app = Celery("coroutines", broker=os.environ["COROUTINES"], backend=os.environ["COROUTINES"])
app.conf.task_default_queue = "coroutines"
Defer(app)


@deferred
@app.task(name="double")
def double(n: int) -> int:
    return 2 * n


class Awaited(Task):  # type: ignore[misc]
    """A task whose coroutine the pool awaits, as ``@deferred`` cannot know."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


@deferred
@app.task(name="slowly", base=Awaited)
async def slowly(n: int) -> int:
    await asyncio.sleep(0)
    return 2 * n


@app.task(name="to a coroutine")
def to_a_coroutine(n: int) -> str:
    return str(defer("slowly", slowly, n).id)


@app.task(name="plain")
def plain(n: int) -> str:
    return str(defer("double", double, n).id)


@app.task(name="awaited")
async def awaited(n: int) -> str:
    await asyncio.sleep(0)
    return str(defer("double", double, n).id)


@app.task(name="failing")
async def failing(n: int) -> None:
    defer("double", double, n)
    defer("alarm", double.with_options(when="failure"), n)
    await asyncio.sleep(0)
    raise ValueError(n)


@app.task(name="waiting", acks_late=True, reject_on_worker_lost=True)
async def waiting(n: int) -> str:
    await asyncio.sleep(0)
    handle = step.run("first", lambda: str(defer("double", double, n).id))
    step.sleep("nap", 0.1)
    return handle
