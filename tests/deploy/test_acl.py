"""The users of examples/deploy/redis.acl: what each of them can do, and what it cannot."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from celery import Celery
from celery.result import AsyncResult
from redis import Redis
from redis.exceptions import NoPermissionError

from celery_defer import Defer, StoreError, abort, cancel, run_id, send_event
from tests.deploy.files import DEPLOY, Program, kubernetes
from tests.deploy.started import environment, started
from tests.support.processes import missing, wait_until
from tests.support.redis import Server, free_port, programs, running

ACL = DEPLOY / "redis.acl"
WORKER, FLOWER = kubernetes("worker"), kubernetes("flower")
TASKS = "tests.deploy.tasks"


class Site:
    """A Redis with the users of the file, and what one of them is told."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self.admin = self.client("admin")

    def client(self, user: str, **options: Any) -> Redis:
        return self.server.client(username=user, password="secret", **options)

    def env(self, user: str, program: Program = WORKER) -> dict[str, str]:
        env = environment(program, self.server, self._folder)
        own = f"redis://{user}:secret@"
        return {name: value.replace("redis://", own, 1) for name, value in env.items()}

    def app(self, user: str) -> Celery:
        env = self.env(user)
        app = Celery("acl", broker=env["BROKER_URL"], backend=env["RESULT_BACKEND"], changes=None)
        app.set_default()
        return app

    def refused(self) -> set[str]:
        """Return what users were refused since the last look."""
        rows = self.admin.acl_log()
        self.admin.acl_log_reset()
        return {f"{row['username']}: {row['object']}" for row in rows}

    def used(self) -> set[str]:
        """Return the commands that were executed since the last look, but those of this class."""
        stats = self.admin.info("commandstats")
        self.admin.config_resetstat()
        names = {name.removeprefix("cmdstat_") for name, row in stats.items() if row["calls"]}
        return names - {"acl|log", "acl|getuser", "config|resetstat", "auth", "info"}

    def granted(self, user: str) -> set[str]:
        """Return the commands that the file grants a user one by one."""
        rules = self.admin.acl_getuser(user)
        return {word.removeprefix("+") for word in rules["commands"] if word.startswith("+")}


@pytest.fixture(scope="module")
def acl_server() -> Iterator[Server]:
    version = subprocess.run(
        [programs()[0], "--version"], capture_output=True, text=True, check=True
    ).stdout
    if re.search(r"v=[0-6]\.", version):
        missing("no redis-server is installed that has Redis 7's rules for users")
    with running("--aclfile", str(ACL)) as server:
        yield server


@pytest.fixture
def site(acl_server: Server, tmp_path: Path) -> Site:
    site = Site(acl_server, tmp_path)
    site.admin.flushall()
    site.admin.script_flush()
    site.used(), site.refused()
    return site


# -- a client that only sends ----------------------------------------------------------------


def test_a_sender_sends_and_reads_results_and_has_no_right_besides(site: Site) -> None:
    app = site.app("sender")

    order = app.send_task("shop.process_order", [7, "ada@example.com"], priority=3)
    state = order.state
    app.backend.result_consumer.cancel_for(order.id)

    assert state == "PENDING"
    assert site.refused() == set()
    assert site.granted("sender") == site.used()


@pytest.mark.parametrize(
    "command",
    [
        "LRANGE celery 0 -1", "RPOP celery", "DEL celery", "SET celery-task-meta-1 x",
        "GET celery-defer:{1}:outbox", "ZADD celery-defer:due 0 1", "PUBLISH /0.celery.pidbox x",
        "SUBSCRIBE /0.celery.pidbox", "FLUSHALL", "KEYS *", "EVAL return 0",
    ],
)  # fmt: skip
def test_a_sender_can_do_no_more(site: Site, command: str) -> None:
    assert _is_refused(site.client("sender"), command)


def test_a_sender_can_send_no_event(site: Site) -> None:
    app = site.app("sender")
    Defer(app)

    with pytest.raises(StoreError, match="permission"):
        send_event("paid", {"order": 7}, app=app)


# -- a worker --------------------------------------------------------------------------------


@pytest.mark.worker
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_worker_is_refused_nothing(site: Site) -> None:
    app = site.app("worker")
    Defer(app)

    with started(WORKER, site.env("worker"), f"--include={TASKS}", ready=" ready.") as worker:
        order = app.send_task("shop.process_order", [7, "ada@example.com"])
        receipt = AsyncResult(run_id(order.id, "receipt"), app=app)
        assert receipt.get(timeout=20) == "receipt 7 to ada@example.com"

        last = app.send_task(f"{TASKS}.gathered").get(timeout=20)
        assert AsyncResult(last, app=app).get(timeout=20) == 3

        followed = app.send_task(f"{TASKS}.followed_up", [7])
        wait_until(lambda: followed.state == "WAITING")
        invoked = AsyncResult(followed.info["run"], app=app)
        wait_until(lambda: invoked.state == "WAITING")
        assert send_event("paid", {"order": 7, "amount": 12}, id="1", app=app) == 1
        assert followed.get(timeout=20) == 12
        assert abort(followed.id, "slow", app=app)

        waiting = app.send_task(f"{TASKS}.followed_up", [8])
        wait_until(lambda: waiting.state == "WAITING")
        assert cancel(waiting.id, app=app)
        assert app.control.ping(timeout=2)
        worker.kill()

    # To look whether Redis saves at times; it is taken for granted then.
    assert site.refused() <= {"worker: config|get"}


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "ACL LIST"])
def test_a_worker_can_do_nothing_to_the_server(site: Site, command: str) -> None:
    assert _is_refused(site.client("worker"), command)


# -- who looks -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["outbox", "quarantine", "scores", "compare", "check"])
def test_a_viewer_sees_the_outbox_and_the_scores(site: Site, command: str) -> None:
    done = subprocess.run(
        ["celery", "-A", "shop", "defer", command],
        cwd=DEPLOY, env=site.env("viewer"), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert site.refused() <= {"viewer: config|get"}


def test_a_viewer_sees_the_state_of_a_run(site: Site) -> None:
    assert AsyncResult("1", app=site.app("viewer")).state == "PENDING"


@pytest.mark.parametrize("user", ["viewer", "flower"])
@pytest.mark.parametrize(
    "command",
    [
        "LPUSH celery x", "RPOP celery", "DEL celery-defer:due", "ZREM celery-defer:due 1",
        "HDEL celery-defer:quarantine 1", "SET celery-task-meta-1 x", "SET celery-defer:due x",
        "FLUSHALL", "CONFIG GET *",
    ],
)  # fmt: skip
def test_who_looks_can_change_nothing(site: Site, user: str, command: str) -> None:
    assert _is_refused(site.client(user), command)


@pytest.mark.worker
def test_flower_shows_runs(site: Site) -> None:
    port = free_port()
    worker = started(WORKER, site.env("worker"), ready=" ready.")
    flower = started(FLOWER, site.env("flower", FLOWER), f"--port={port}", ready="Connected to")
    with worker, flower:
        wait_until(lambda: _read(port, "/api/workers?refresh=1"), "Flower knows the worker")
        order = site.app("sender").send_task("shop.process_order", [7, "ada@example.com"])
        wait_until(lambda: order.id in _read(port, "/api/tasks"), "Flower knows the order")
        assert _read(port, "/api/queues/length")["active_queues"][0]["name"] == "celery"
        assert [row for row in site.refused() if row.startswith("flower")] == []
        worker.kill()
        flower.kill()


def _read(port: int, path: str) -> Any:
    login = {"Authorization": "Basic YWRhOnNlY3JldA=="}
    return json.load(urlopen(Request(f"http://127.0.0.1:{port}{path}", headers=login)))


def _is_refused(client: Redis, command: str) -> bool:
    with pytest.raises(NoPermissionError):
        client.execute_command(*command.split())
    return True
