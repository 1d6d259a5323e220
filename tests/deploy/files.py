"""What the files of examples/deploy say of a worker, and of Flower."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.processes import ROOT

__all__ = ["DEPLOY", "KINDS", "Program", "dockerfile", "documents", "unit"]

DEPLOY = ROOT / "examples" / "deploy"
_SECONDS = {"s": 1, "m": 60}
_REFERS = {"configMapRef": "ConfigMap", "secretRef": "Secret"}


@dataclass(frozen=True, slots=True)
class Program:
    """A program as a file starts it: what it is asked, and for how many seconds it may stop."""

    command: list[str]
    environment: Mapping[str, str]
    probes: Mapping[str, Any]
    stop: list[str] | None = None
    grace: float = 0.0


def compose(name: str) -> Program:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][name]
    number, unit = re.fullmatch(r"(\d+)([sm])", service.get("stop_grace_period", "10s")).groups()
    return Program(
        service.get("command") or json.loads(dockerfile()["CMD"][-1]),
        service.get("environment", {}),
        {"readinessProbe": service["healthcheck"]["test"][1:]} if "healthcheck" in service else {},
        grace=int(number) * _SECONDS[unit],
    )


def kubernetes(name: str) -> Program:
    [deployment] = [
        d
        for d in documents()
        if (d["kind"], d["metadata"]["name"]) == ("Deployment", f"shop-{name}")
    ]
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    environment = {
        key: value
        for row in container["envFrom"]
        for reference, its in row.items()
        for key, value in _data(_REFERS[reference], its["name"]).items()
    }
    return Program(
        container["command"],
        environment,
        {k: _asked(v) for k, v in container.items() if k.endswith("Probe")},
        container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command"),
        pod.get("terminationGracePeriodSeconds", 30),
    )


def systemd(name: str) -> Program:
    service = unit(name)["Service"]
    lines = (DEPLOY / "systemd" / "shop.env").read_text().splitlines()
    return Program(
        _without_folder(service["ExecStart"]),
        dict(line.split("=", 1) for line in lines if not line.startswith("#")),
        {},
        _without_folder(service["ExecStop"]) if "ExecStop" in service else None,
        float(service.get("TimeoutStopSec", 90)),
    )


KINDS = {"compose": compose, "kubernetes": kubernetes, "systemd": systemd}


def dockerfile() -> dict[str, list[str]]:
    """Return what follows each instruction."""
    instructions: dict[str, list[str]] = {}
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line and not line.startswith("#"):
            name, rest = line.split(" ", 1)
            instructions.setdefault(name, []).append(rest)
    return instructions


def documents() -> list[dict[str, Any]]:
    """Return the objects that are applied to Kubernetes."""
    return list(_documents())


def _documents() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def _data(kind: str, name: str) -> dict[str, str]:
    [found] = [d for d in documents() if (d["kind"], d["metadata"]["name"]) == (kind, name)]
    return {**found.get("data", {}), **found.get("stringData", {})}


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / "systemd" / f"shop-{name}.service")
    return parser


def _without_folder(line: str) -> list[str]:
    program, *words = shlex.split(line)
    return [Path(program).name, *words]


def _asked(probe: dict[str, Any]) -> Any:
    """Return the command of a probe, or the path that it reads."""
    return probe["exec"]["command"] if "exec" in probe else probe["httpGet"]["path"]
