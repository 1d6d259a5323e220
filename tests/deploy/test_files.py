"""The files of examples/deploy are what Docker, Kubernetes and systemd take, and agree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from celery_defer.store import RedisStore
from tests.deploy.files import DEPLOY, KINDS, dockerfile, documents
from tests.support.processes import missing
from tests.support.redis import running

BIN = Path(sys.executable).parent
WORKERS = {kind: read("worker") for kind, read in KINDS.items()}


def test_compose_takes_its_file() -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]

    done = _run([*command, str(DEPLOY / "compose.yaml")])

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["config", "flower", "worker"])
def test_kubernetes_takes_its_files(name: str) -> None:
    command = [str(BIN / "kubernetes-validate"), "--strict"]
    path = DEPLOY / "kubernetes" / f"{name}.yaml"

    done = _run([*command, str(path)])

    assert done.returncode == 0, done.stdout


def test_a_deployment_selects_its_own_pods() -> None:
    for deployment in documents():
        if deployment["kind"] == "Deployment":
            spec = deployment["spec"]
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


@pytest.mark.parametrize("name", ["flower", "worker"])
def test_systemd_takes_its_units(name: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze") or missing("systemd-analyze is not installed")
    unit = tmp_path / f"shop-{name}.service"
    text = (DEPLOY / "systemd" / unit.name).read_text()
    unit.write_text(text.replace("/srv/shop/venv/bin", str(BIN)))

    done = _run([analyze, "verify", str(unit)])

    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_has_every_file_that_a_command_names() -> None:
    copied = {word for row in dockerfile()["COPY"] for word in row.split()[:-1]}
    words = [w for p in WORKERS.values() for c in (*p.probes.values(), p.stop or []) for w in c]
    named = {str(word) for word in words if str(word).endswith((".py", ".sh"))}

    assert named | {"shop.py", "health.py", "requirements.txt"} <= copied
    assert all((DEPLOY / name).exists() for name in copied)


def test_the_worker_is_started_alike_everywhere() -> None:
    commands = {json.dumps(worker.command) for worker in WORKERS.values()}

    assert len(commands) == 1


@pytest.mark.parametrize("kind", ["kubernetes", "systemd"])
def test_nobody_kills_a_worker_that_is_still_being_stopped(kind: str) -> None:
    worker = WORKERS[kind]
    assert worker.stop is not None

    assert worker.grace >= int(worker.stop[-1]) + 10


def test_the_redis_of_compose_keeps_what_it_takes() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["redis"]

    with running(*map(str, service["command"][1:])) as server:
        assert RedisStore(server.client()).risks() == []


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)
