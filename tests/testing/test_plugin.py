"""The pytest plugin, which pytest loads in every session of a project."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = """
import sys
sys.path.append({root!r})
import {module}
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def test_a_session_that_does_not_use_the_plugin_imports_neither_celery_nor_the_package() -> None:
    entry = re.search(r"\[.*pytest11\]\n(?:#.*\n)*celery_defer = \"([\w.]+)\"", pyproject())
    assert entry is not None

    code = IMPORTED.format(root=str(ROOT), module=entry[1])
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    imported = set(done.stdout.split())
    assert entry[1] in imported
    assert imported.isdisjoint({"celery", "celery_defer", "kombu", "pydantic", "redis"})


def pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text()
