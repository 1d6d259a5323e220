"""Which steps a restart runs again, whatever the order in which the store returns them."""

from __future__ import annotations

from celery_defer.run import Memo
from celery_defer.run.memo import Failure
from celery_defer.steps import Repeat, Span, repeat
from celery_defer.store import Recalled

NOW = 1_800_000_000.0


def steps_from(step: str | None, recalled: Recalled) -> Repeat:
    return repeat("run", recalled, step, NOW + 9)


def test_a_step_that_failed_at_once_is_run_again_with_the_one_before() -> None:
    failed = Memo(failure=Failure("never", is_final=True), began=NOW + 0.0002, kind="run")
    done = Memo(began=NOW + 0.0001, kind="run")
    recalled = Recalled(1, NOW, memos={"never": failed.pack(), "ok": done.pack()})

    assert steps_from("ok", recalled).steps == ["ok", "never"]
    assert steps_from(None, recalled).steps == ["never"]


def test_a_wait_that_began_at_once_is_waited_again_after_the_step_before() -> None:
    done = Memo(began=NOW + 0.0012, kind="run")
    nap = Span(NOW + 0.0014, NOW + 5)
    recalled = Recalled(
        2, NOW, memos={"ok": done.pack()}, waits={"nap": b"[]"}, spans={"nap": nap.pack()}
    )

    assert steps_from("nap", recalled).steps == ["nap"]
    assert steps_from("ok", recalled).steps == ["ok", "nap"]
