"""Rule 2.3: type checkers accept and refuse the calls of program.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "program.py"
ROOT = PROGRAM.parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/tutorial").glob("[0-9]*.md"))]


@pytest.fixture(scope="session")
def interpreters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An environment with the stubs of Celery, and the same one without them."""
    bare = tmp_path_factory.mktemp("without-stubs")
    venv.create(bare, with_pip=False, symlinks=True)
    packages = next((bare / "lib").glob("python3*/site-packages"))
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not re.match(r"(celery|kombu|billiard|vine|amqp)-stubs|celery_types", entry.name):
            (packages / entry.name).symlink_to(entry)
    return {"with stubs": Path(sys.executable), "without stubs": bare / "bin" / "python"}


@pytest.mark.parametrize("stubs", ["with stubs", "without stubs"])
def test_mypy_refuses_what_does_not_fit(interpreters: dict[str, Path], stubs: str) -> None:
    errors = _mypy(interpreters[stubs])

    assert errors == _refused(stubs, "mypy")


@pytest.mark.parametrize("stubs", ["with stubs", "without stubs"])
def test_pyright_refuses_what_does_not_fit(interpreters: dict[str, Path], stubs: str) -> None:
    errors = _pyright(interpreters[stubs])
    if stubs == "without stubs":  # versions of pyright differ
        errors -= _marked("# refused with stubs")

    assert errors == _refused(stubs, "pyright")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_pages_let_their_readers_write_has_no_type_errors(
    page: Path, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(# shop\.py.*?)^```", page.read_text(), re.M | re.S)
    shop = tmp_path / "shop.py"
    shop.write_text("\n".join(blocks))

    assert _run("mypy", "--config-file=", f"--cache-dir={os.devnull}", str(shop)).startswith(
        "Success"
    )
    found = _run("pyright", "--outputjson", f"--pythonpath={sys.executable}", str(shop))
    assert json.loads(found)["generalDiagnostics"] == []


def _refused(stubs: str, checker: str) -> set[int]:
    marks = {"# refused", f"# refused by {checker}"}
    if checker == "pyright" or stubs == "with stubs":
        marks.add("# refused if typed")
    if stubs == "with stubs":
        marks.add("# refused with stubs")
    return _marked(*marks)


def _marked(*marks: str) -> set[int]:
    lines = PROGRAM.read_text().splitlines()
    return {n for n, line in enumerate(lines, 1) if f"#{line.rpartition('  #')[2]}" in marks}


def _mypy(python: Path) -> set[int]:
    command = [
        "mypy",
        "--strict",
        "--config-file=",
        "--output=json",
        f"--python-executable={python}",
    ]
    # Celery has no types of its own: without stubs strict mypy complains of that first.
    untyped = [f"--disable-error-code={code}" for code in ("import-untyped", "untyped-decorator")]
    output = _run(*command, f"--cache-dir={os.devnull}", *untyped, str(PROGRAM))
    found = [json.loads(line) for line in output.splitlines()]
    return {
        e["line"] for e in found if e["severity"] == "error" and e["file"].endswith("program.py")
    }


def _pyright(python: Path) -> set[int]:
    output = _run("pyright", "--outputjson", f"--pythonpath={python}", str(PROGRAM))
    found = json.loads(output)["generalDiagnostics"]
    return {
        e["range"]["start"]["line"] + 1
        for e in found
        if e["severity"] == "error" and e.get("rule") not in _CELERY_IS_UNTYPED
    }


#: What pyright says of Celery itself where it has no stubs.
_CELERY_IS_UNTYPED = {"reportInvalidTypeArguments", "reportFunctionMemberAccess"}


def _run(*command: str) -> str:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
