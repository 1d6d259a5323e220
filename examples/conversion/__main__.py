"""``python -m examples.conversion``: two customers; one buys, one does not.

A simulation runs the tasks in this process, and moves the clock: no Redis, no worker, no waiting.
"""

from __future__ import annotations

from celery_defer.testing import SimulatedRun, Simulation
from examples.conversion.app import Purchase, app, follow_up, purchase, recommend


def main() -> None:
    with Simulation(app) as sim:
        print("In a simulation, so the days pass at once.\n")
        print("Day 0: the shop recommends something to Ada and to Bob.")
        for customer, item in [("Ada", "a teapot"), ("Bob", "a kettle")]:
            print(f"  {sim.run(recommend, customer, item).result}")
        sim.drain()  # runs what the two have deferred, until it waits
        ada, bob = sim.runs_of(follow_up)
        show("Ada", ada)
        show("Bob", bob)

        print("\nDay 2.5: Ada buys the teapot.")
        sim.advance("2d12h")
        sim.send_event(purchase, Purchase(customer="Ada", item="a teapot"))
        show("Ada", ada)
        show("Bob", bob)

        print("\nDay 7: Bob has bought nothing, and the week is over.")
        sim.advance("4d12h")
        show("Bob", bob)


def show(customer: str, run: SimulatedRun[float | None]) -> None:
    wait = run.waits_for
    if wait is not None:
        print(f"  Follow-up of {customer}: {run.state} for the event {wait.event}")
    elif run.result is None:
        print(f"  Follow-up of {customer}: {run.state}, not bought")
    else:
        print(f"  Follow-up of {customer}: {run.state}, bought after {run.result:.1f} days")


if __name__ == "__main__":
    main()
