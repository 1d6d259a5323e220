"""``python -m tests.worker.flow``: limits on workers that are killed, watched from outside.

Exit 1 if a limit did not hold, a call was lost, or it took too long.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from tests.support.rabbitmq import own_rabbitmq
from tests.support.redis import running
from tests.worker.flow.plan import KINDS, plan_of
from tests.worker.flow.trial import Report, trial

_POOLS = ("prefork", "threads")
_BROKERS = ("redis", "rabbitmq")
_SEED = 3


def main() -> int:
    options = _options()
    chosen = [*product(options.broker or _BROKERS, options.pool or _POOLS, options.only or KINDS)]
    if len(chosen) > 1:
        return max(_apart(options, *each) for each in chosen)
    report = _report(options, *chosen[0])
    print("\n".join(report.lines()), end="\n\n", flush=True)
    return 1 if report.violations else 0


def _apart(options: argparse.Namespace, broker: str, pool: str, kind: str) -> int:
    """Run one trial in a process of its own: an app keeps the connections that it has made."""
    more = ["--quick"] if options.quick else []
    if options.keep_logs:
        more += ["--keep-logs", str(options.keep_logs / f"{kind}-{pool}-{broker}")]
    command = [sys.executable, "-m", "tests.worker.flow", "--seed", str(options.seed), *more]
    one = ["--broker", broker, "--pool", pool, "--only", kind]
    return subprocess.run([*command, *one], check=False).returncode


def _report(options: argparse.Namespace, broker: str, pool: str, kind: str) -> Report:
    with ExitStack() as stack:
        url = f"{stack.enter_context(running()).url}/0"
        broker_url = stack.enter_context(own_rabbitmq()) if broker == "rabbitmq" else url
        plan = plan_of(kind, pool, broker, is_quick=options.quick)
        return trial(url, broker_url, plan, options.seed, options.keep_logs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.worker.flow", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few calls, in seconds")
    parser.add_argument("--only", action="append", choices=KINDS, help="may be repeated")
    parser.add_argument("--pool", action="append", choices=_POOLS, help="may be repeated")
    parser.add_argument("--broker", action="append", choices=_BROKERS, help="may be repeated")
    parser.add_argument("--seed", type=int, default=_SEED, help="who is killed when")
    parser.add_argument("--keep-logs", type=Path, metavar="FOLDER", help="copy the logs there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
