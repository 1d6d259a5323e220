"""``python -m examples.support``: two tickets; one customer answers, one does not.

A simulation runs the tasks in this process, and moves the clock: no Redis, no worker, no waiting.
"""

from __future__ import annotations

from celery_defer.testing import SimulatedRun, Simulation
from examples.support.app import Feedback, app, close_ticket, feedback


def main() -> None:
    with Simulation(app) as sim:
        print("In a simulation, so the days pass at once.\n")
        print("Day 0: two tickets are closed.")
        ada = sim.run(close_ticket, 1, "Ada")
        bob = sim.run(close_ticket, 2, "Bob")
        show("Ada", ada)
        show("Bob", bob)

        print("\nDay 1: Ada sends 5 stars.")
        sim.advance("1d")
        sim.send_event(feedback, Feedback(ticket=1, stars=5))
        show("Ada", ada)
        show("Bob", bob)

        print("\nDay 7: Bob has not answered. His run goes on without an answer.")
        sim.advance("6d")
        show("Bob", bob)

        print(f"\nBob's task body ran {bob.passes} times, before and after the wait.")
        print(f"Its step 'mail' ran {bob.steps['mail']} time: a finished step is not run again.")


def show(customer: str, run: SimulatedRun[int]) -> None:
    wait = run.waits_for
    if wait is None:
        print(f"  Ticket of {customer}: {run.state}, {run.result} stars")
    else:
        print(f"  Ticket of {customer}: {run.state} for the event {wait.event}")


if __name__ == "__main__":
    main()
