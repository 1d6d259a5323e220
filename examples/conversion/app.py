"""A shop recommends something, and looks for a week whether it is bought.

Run it with ``python -m examples.conversion``. A worker runs the same code:
``celery -A examples.conversion.app worker``.
"""

from datetime import timedelta

from celery import Celery
from pydantic import BaseModel

from celery_defer import Defer, Event, current_run, defer, deferred, step

app = Celery("conversion", broker="redis://localhost:6379/0", backend="redis://localhost:6379/1")
Defer(app)


class Purchase(BaseModel):
    customer: str
    item: str


purchase = Event("purchase/completed", Purchase)


# With Celery's defaults, a worker that is killed would lose the run.
@deferred(app, acks_late=True, reject_on_worker_lost=True)
def follow_up(customer: str, item: str) -> float | None:
    """Return how many days it took to buy; None if the item was not bought within a week."""
    bought = step.wait_for_event(
        "purchase", purchase, timeout="7d", match={"customer": customer, "item": item}
    )
    if bought is None:
        return None
    recommended_at = current_run().deferred_at or bought.at
    return (bought.at - recommended_at) / timedelta(days=1)


@app.task
def recommend(customer: str, item: str) -> str:
    defer("follow-up", follow_up, customer=customer, item=item)
    return f"{customer}, this may be for you: {item}"
