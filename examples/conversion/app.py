"""A shop recommends something, and asks for a week whether it was bought.

Run it with ``python -m examples.conversion``.
"""

from datetime import timedelta

from celery import Celery
from pydantic import BaseModel

from celery_defer import Defer, Event, current_run, defer, deferred, step
from examples.stage import REDIS_URL, Clock

app = Celery("conversion", broker=REDIS_URL, backend=REDIS_URL)
clock = Clock(app)
Defer(app).clock = clock  # lets the example skip days; leave it out of an app of your own


class Purchase(BaseModel):
    customer: str
    item: str


purchase = Event("purchase/completed", Purchase)


# Celery's defaults would lose a run whose worker is killed.
@deferred(app, acks_late=True, reject_on_worker_lost=True)
def follow_up(customer: str, item: str) -> float | None:
    """Answer the days to the purchase; None if there was none within a week."""
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
