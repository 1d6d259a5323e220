"""A shop recommends something, and scores for a week whether it is bought.

Two ways to recommend are compared. Run it with ``python -m examples.conversion``. A worker runs
the same code: ``celery -A examples.conversion.app worker``.
"""

from datetime import timedelta

from celery import Celery
from pydantic import BaseModel

from celery_defer import (
    Defer,
    Event,
    Score,
    bucket,
    current_run,
    defer,
    experiment,
    scorer,
    step,
)

app = Celery("conversion", broker="redis://localhost:6379/0", backend="redis://localhost:6379/1")
Defer(app)


class Purchase(BaseModel):
    customer: str
    item: str


purchase = Event("purchase/completed", Purchase)


# With Celery's defaults, a worker that is killed would lose the run.
@scorer(app, acks_late=True, reject_on_worker_lost=True)
def follow_up(customer: str, item: str) -> Score:
    """Score whether the item was bought within a week."""
    bought = step.wait_for_event(
        "purchase", purchase, timeout="7d", match={"customer": customer, "item": item}
    )
    if bought is None:
        return Score("bought", False, comment="not within a week")
    recommended_at = current_run().deferred_at or bought.at
    days = (bought.at - recommended_at) / timedelta(days=1)
    return Score("bought", True, comment=f"after {days:.1f} days")


@app.task
def recommend(customer: str) -> str:
    """Return the item that is recommended to a customer."""
    chosen = experiment(
        "recommendation",
        {"bestseller": lambda: "a teapot", "similar": lambda: "a kettle"},
        select=bucket(customer),
    )
    # The score counts for the variant that this run has taken.
    defer("follow-up", follow_up, customer=customer, item=chosen.result)
    return chosen.result
