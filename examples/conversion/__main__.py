"""``python -m examples.conversion``: 300 customers; some buy what was recommended, most do not.

A simulation runs the tasks in this process, and moves the clock: no Redis, no worker, no waiting.
"""

from __future__ import annotations

from random import Random

from celery_defer import compare
from celery_defer.testing import SimulatedRun, Simulation
from examples.comparison import show as show_comparison
from examples.conversion.app import Purchase, app, purchase, recommend

CUSTOMERS = ["Ada", "Ben", *(f"customer {number}" for number in range(298))]


def main() -> None:
    with Simulation(app) as sim:
        print("In a simulation, so the days pass at once, and who buys is made up.\n")
        print("Day 0: the shop recommends something to Ada, to Ben, and to 298 others.")
        runs = {customer: sim.run(recommend, customer) for customer in CUSTOMERS}
        sim.drain()  # runs what they have deferred, until it waits
        show("Ada", runs["Ada"])
        show("Ben", runs["Ben"])

        print(f"\nDay 2.5: Ada buys {runs['Ada'].result}, and some others buy, too.")
        sim.advance("2d12h")
        for customer in buyers(runs):
            sim.send_event(purchase, Purchase(customer=customer, item=runs[customer].result))
        show("Ada", runs["Ada"])
        show("Ben", runs["Ben"])
        print("\nOnly those who buy have a score by now, so both variants look perfect:")
        show_comparison(compare("recommendation"))

        print("\nDay 7: Ben has bought nothing, and the week is over.")
        sim.advance("4d12h")
        show("Ben", runs["Ben"])
        show_comparison(compare("recommendation"))


def buyers(runs: dict[str, SimulatedRun[str]]) -> list[str]:
    """Return who buys: Ada, not Ben, and a third or a sixth of the others."""
    chance = Random(7)
    shares = {"a teapot": 1 / 6, "a kettle": 1 / 3}
    others = [c for c in CUSTOMERS[2:] if chance.random() < shares[runs[c].result]]
    return ["Ada", *others]


def show(customer: str, run: SimulatedRun[str]) -> None:
    if run.scores:
        [score] = run.scores
        print(f"  Recommended to {customer}: {score.name} {score.value}, {score.comment}")
    else:
        wait = run.deferred["follow-up"].run.waits_for
        print(f"  Recommended to {customer}: no score yet, waits for {wait and wait.event}")


if __name__ == "__main__":
    main()
