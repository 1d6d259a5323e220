"""Random programs of steps, events, calls and time, and the app whose tasks run them.

``celery -A tests.worker.programs worker``, with CELERY_BROKER_URL and CELERY_RESULT_BACKEND.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery, current_task

from celery_defer import (
    Defer,
    NonRetriable,
    RetryAfter,
    StepError,
    abort,
    current_run,
    defer,
    deferred,
    run_id,
    send_event,
    step,
)
from tests.support import commit

app = Celery("programs", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    result_backend=os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://"),
    broker_connection_retry_on_startup=True,
    **commit.settings(),
)
Defer(app)

#: What one program does: rows of an operation and its arguments.
Program = Sequence[Sequence[Any]]

#: The event that nobody sends but the test, to each program that waits for it.
OUTSIDE = "outside"
SHORT = 0.2
LONG = 600
IDS = ("a", "b", "c")


def _value(value: Any) -> Any:
    return value


_calls: dict[tuple[str, str], int] = {}


def _fails(id: str, times: int, error: str) -> str:
    """Fail in the first *times* calls; all calls of a run are in one process."""
    key = current_task.request.id, id
    _calls[key] = _calls.get(key, 0) + 1
    if _calls[key] <= times:
        raise {"again": RetryAfter(0.05), "final": NonRetriable("no")}.get(error, ValueError("no"))
    return f"after {_calls[key]}"


def _run(id: str, value: Any) -> Any:
    return step.run(id, _value, value)


def _try(id: str, times: int, retries: int, error: str) -> str:
    try:
        return str(step.run(id, _fails, id, times, error, retries=retries))
    except (StepError, ValueError, NonRetriable, RetryAfter) as failure:
        return type(failure).__name__


def _sleep(id: str, seconds: float) -> None:
    step.sleep(id, seconds)


def _wait(id: str, event: str, timeout: float) -> Any:
    of = current_run().root_id if event == OUTSIDE else current_run().id
    received = step.wait_for_event(id, event, timeout=timeout, match={"of": of})
    return received and received.data["n"]


def _tell(id: str, event: str, n: int) -> None:
    step.send_event(id, event, {"of": current_run().id, "n": n})


def _invoke(id: str, rows: Program) -> Any:
    try:
        return step.invoke(id, child, rows)
    except StepError:
        return "StepError"


def _defer(id: str, rows: Program, when: Any) -> str | None:
    reason = defer(id, child.with_options(when=when), rows).skipped
    return reason and reason.partition(";")[0]


def _bad(id: str) -> bool:
    return bool(defer(id, child, 7).skipped)  # type: ignore[arg-type]


def _in_step(id: str, rows: Program) -> None:
    step.run(id, _defer, f"{id}-in-step", rows, "success")


def _abort(id: str) -> None:
    abort(current_run().id, id)


def _retry() -> None:
    if current_task.request.retries == 0:
        raise current_task.retry(countdown=0.05)


def _fail() -> None:
    raise LookupError("the program fails")


OPERATIONS: dict[str, Callable[..., Any]] = {
    "run": _run,
    "try": _try,
    "sleep": _sleep,
    "wait": _wait,
    "tell": _tell,
    "invoke": _invoke,
    "defer": _defer,
    "bad": _bad,
    "in step": _in_step,
    "abort": _abort,
    "retry": _retry,
    "fail": _fail,
}


def _perform(rows: Program) -> list[Any]:
    return [OPERATIONS[operation](*rest) for operation, *rest in rows]


@app.task(name="programs.parent", acks_late=True, max_retries=3)
def parent(rows: Program) -> list[Any]:
    return _perform(rows)


@deferred
@app.task(name="programs.child", acks_late=True, max_retries=3)
def child(rows: list[list[Any]]) -> list[Any]:
    return _perform(rows)


@app.task(name="programs.tell")
def tell(root: str) -> None:
    """Send OUTSIDE to the runs of one program."""
    send_event(OUTSIDE, {"of": root, "n": 5})


def program(seed: int) -> Program:
    """Return a program that ends, if each of its waits for OUTSIDE gets an event."""
    chance = random.Random(seed)  # it is to be repeatable
    return _program(chance, chance.randint(2, 7), depth=0)


def _program(chance: random.Random, length: int, depth: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for _ in range(length):
        rows += _rows(chance, depth)
    if chance.random() < (0.15 if depth == 0 else 0.3):
        rows.insert(chance.randint(0, len(rows)), ["fail"])
    return rows


def _rows(chance: random.Random, depth: int) -> list[list[Any]]:
    id, n = chance.choice(IDS), chance.randint(0, 9)
    rest = _program(chance, chance.randint(0, 2), depth + 1) if depth < 2 else []
    event = f"inside-{depth}-{id}"
    choices: list[list[list[Any]]] = [
        [["run", id, n]],
        [["try", f"try-{id}", n % 3, 2 * (n % 2), chance.choice(["", "again", "final"])]],
        [["sleep", f"nap-{id}", chance.choice([0, SHORT])]],
        [["tell", f"tell-{id}", event, n], ["wait", f"early-{id}", event, LONG]],
        [["wait", f"late-{id}", "nobody", SHORT]],
        [["wait", f"outside-{id}", OUTSIDE, LONG]],
        [["defer", id, rest, chance.choice(["success", "failure", "always", "now"])]],
        [["defer", id, rest, "success"], ["abort", id]],
        [["bad", f"bad-{id}"]],
        [["in step", f"step-{id}", rest]],
        [["retry"]],
    ]
    if depth < 2:
        choices.append([["invoke", f"invoke-{id}", rest]])
    return chance.choice(choices)


def outcome(of: Celery, id: str) -> Any:
    """Return how a run has ended, and the runs that it has deferred, by their ids."""
    result = of.AsyncResult(id)
    if result.state == "PENDING":
        return None
    value = result.result
    ids = [*IDS, *(f"{kind}-{id}" for kind in ("bad", "step") for id in IDS)]
    ids += [f"{id}-in-step" for id in ids if id.startswith("step")]
    calls = {name: outcome(of, run_id(id, name)) for name in ids}
    return {
        "state": result.state,
        "result": type(value).__name__ if isinstance(value, Exception) else value,
        "deferred": {name: call for name, call in calls.items() if call},
    }
