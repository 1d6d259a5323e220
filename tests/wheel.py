"""Builds the wheel, installs it in a new environment, and runs the rooms' tests on it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLUGIN = "_celery_defer_pytest.py"
TESTED_WITH = ["django", "hypothesis", "pytest"]
#: Those that start no worker.
ROOMS = ("contract", "events", "ground", "run", "scoring", "testing")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="celery-defer-wheel-") as name:
        folder = Path(name)
        wheel = build(folder)
        check_contents(wheel)
        return run_tests(install(wheel, folder / "env"), folder)


def build(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    ours = [path for path in (ROOT / "celery_defer").rglob("*") if path.suffix in {".py", ".lua"}]
    files = {path.relative_to(ROOT).as_posix() for path in ours}
    missing = (files | {"celery_defer/py.typed", PLUGIN}) - set(names)
    known = ("celery_defer", PLUGIN)
    strays = [n for n in names if not n.startswith(known) or "__pycache__" in n]
    if missing or strays:
        raise SystemExit(f"{wheel.name}: missing {sorted(missing)}, not ours {strays}")


def install(wheel: Path, environment: Path) -> Path:
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    requirements = [str(wheel), *TESTED_WITH]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    return python


def run_tests(python: Path, folder: Path) -> int:
    # From another folder, which has the tests and not the package: so what is imported is what
    # was installed.
    for name in ("tests", "examples"):  # the tests start a Redis as the examples do
        (folder / name).symlink_to(ROOT / name)
    command = [python, "-I", "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml"]
    options = [f"--rootdir={ROOT}", "-o", f"pythonpath={folder}", "-m", "not worker and not matrix"]
    rooms = [ROOT / "tests" / room for room in ROOMS if (ROOT / "tests" / room).exists()]
    return subprocess.run([*command, *options, *rooms], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
