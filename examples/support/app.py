"""A support desk asks how it was; if nobody answers in seven days, it takes three stars.

Run it with ``python -m examples.support``.
"""

from celery import Celery
from pydantic import BaseModel, Field

from celery_defer import Defer, Event, step
from examples.stage import REDIS_URL, Clock, Notes

app = Celery("support", broker=REDIS_URL, backend=REDIS_URL)
clock = Clock(app)
Defer(app).clock = clock  # lets the example skip days; leave it out of an app of your own

mails = Notes(app, "mails")  # stands for the mail
WITHOUT_ANSWER = 3  # stars


class Feedback(BaseModel):
    ticket: int
    stars: int = Field(ge=1, le=5)


feedback = Event("support/feedback", Feedback)


def ask(customer: str) -> None:
    mails.add(f"Dear {customer}, how was it?")


# Celery's defaults would lose a run whose worker is killed.
@app.task(acks_late=True, reject_on_worker_lost=True)
def close_ticket(ticket: int, customer: str) -> int:
    """Answer how many stars the support had."""
    # The body is run again after the wait; the step is not, so one mail is sent.
    step.run("ask", ask, customer)
    answer = step.wait_for_event("answer", feedback, timeout="7d", match={"ticket": ticket})
    return answer.data.stars if answer else WITHOUT_ANSWER
