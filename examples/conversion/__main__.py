"""``python -m examples.conversion``: two customers, one of whom buys."""

from __future__ import annotations

from celery.result import AsyncResult

from celery_defer import run_id, send_event
from examples.conversion.app import Purchase, app, clock, follow_up, purchase, recommend
from examples.stage import perform, wait_until_parked


def story() -> None:
    ada, bob = _recommend("Ada", "a teapot"), _recommend("Bob", "a kettle")
    print("Both runs wait; no worker and no message holds them.\n")

    clock.skip(days=2.5)
    send_event(purchase, Purchase(customer="Ada", item="a teapot"))
    print("2.5 days later Ada buys.")
    _show("Ada", ada)

    clock.skip(days=5)
    print("\n7.5 days after the beginning Bob's week is over.")
    _show("Bob", bob)


def _recommend(customer: str, item: str) -> AsyncResult[float | None]:
    sent = recommend.delay(customer, item)
    print(sent.get(timeout=20))
    run: AsyncResult[float | None] = follow_up.AsyncResult(run_id(sent.id, "follow-up"))
    wait_until_parked(run)
    return run


def _show(customer: str, run: AsyncResult[float | None]) -> None:
    days = run.get(timeout=20)
    print(f"{customer}: " + ("did not convert" if days is None else f"{days:.1f} days to convert"))


if __name__ == "__main__":
    perform(app, "examples.conversion.app", story)
