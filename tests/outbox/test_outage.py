"""How often a service is asked that is away."""

from __future__ import annotations

from celery_defer.outbox import Outage


def test_a_service_that_stays_away_is_asked_less_and_less_often() -> None:
    outage, pauses = Outage(), []
    for _ in range(6):
        outage.begins()
        pauses.append(outage.pause)

    assert pauses == [1, 2, 4, 8, 10, 10]


def test_only_the_first_and_the_last_moment_are_news() -> None:
    outage = Outage()

    assert [outage.ends(), outage.begins(), outage.begins()] == [False, True, False]
    assert [outage.ends(), outage.ends(), outage.begins()] == [True, False, True]


def test_a_service_that_is_there_is_asked_without_a_pause() -> None:
    outage = Outage()
    outage.begins()
    outage.ends()

    assert (outage.is_on, outage.pause) == (False, 0)
