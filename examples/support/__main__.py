"""``python -m examples.support``: two tickets, one of which is answered."""

from __future__ import annotations

from celery.result import AsyncResult

from celery_defer import send_event
from examples.stage import perform, wait_until_parked
from examples.support.app import Feedback, app, clock, close_ticket, feedback, mails


def story() -> None:
    ada, bob = _close(1, "Ada"), _close(2, "Bob")
    print(f"The tickets of Ada and Bob are closed. Mails: {mails.all()}\n")

    clock.skip(days=1)
    send_event(feedback, Feedback(ticket=1, stars=5))
    print("A day later Ada answers.")
    print(f"Ada's ticket: {ada.get(timeout=20)} stars\n")

    clock.skip(days=7)
    print("Seven days later Bob has not answered.")
    print(f"Bob's ticket: {bob.get(timeout=20)} stars, as for all who do not answer\n")

    print(f"Both bodies have run twice. Mails: {mails.all()}")


def _close(ticket: int, customer: str) -> AsyncResult[int]:
    sent: AsyncResult[int] = close_ticket.delay(ticket, customer)
    wait_until_parked(sent)
    return sent


if __name__ == "__main__":
    perform(app, "examples.support.app", story)
