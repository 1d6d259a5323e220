"""A support desk asks how it was; if nobody answers in seven days, it takes three stars.

Run it with ``python -m examples.support``. A worker runs the same code:
``celery -A examples.support.app worker``.
"""

from celery import Celery
from pydantic import BaseModel, Field

from celery_defer import Defer, Event, step

app = Celery("support", broker="redis://localhost:6379/0", backend="redis://localhost:6379/1")
Defer(app)

DEFAULT_STARS = 3


class Feedback(BaseModel):
    ticket: int
    stars: int = Field(ge=1, le=5)


feedback = Event("support/feedback", Feedback)


def send_mail(customer: str) -> None:
    print(f"  Mail: Dear {customer}, how was it?")


# With Celery's defaults, a worker that is killed would lose the run.
@app.task(acks_late=True, reject_on_worker_lost=True)
def close_ticket(ticket: int, customer: str) -> int:
    """Return how many stars the customer gave."""
    # The body runs again after the wait, but a finished step does not: one mail is sent.
    step.run("mail", send_mail, customer)
    answer = step.wait_for_event("answer", feedback, timeout="7d", match={"ticket": ticket})
    return answer.data.stars if answer else DEFAULT_STARS
