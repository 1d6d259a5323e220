"""The picture of a comparison, as people save it."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

from celery_defer.errors import ExperimentError
from celery_defer.scoring import Comparison, compare_rows

NEEDS_MATPLOTLIB = pytest.mark.skipif(
    find_spec("matplotlib") is None, reason="matplotlib is an extra"
)
# What would be mathematics in matplotlib, and HTML in a page.
NAMES = ["control", r"a$\frac{1}", "<b>&", "x" * 128]


@pytest.fixture
def comparison() -> Comparison:
    """Four variants with a rate and a number, and a score that only one run has."""
    assigned = {f"run-{n}": NAMES[n % 4] for n in range(80)}
    return compare_rows(
        "checkout $flow",
        assigned,
        {
            "bought": {run: n % 7 < 3 for n, run in enumerate(assigned)},
            "latency": {run: float(n % 11) for n, run in enumerate(assigned)},
            "stars": {"run-1": 5.0},
        },
        baseline="control",
    )


def texts_of(picture: Path) -> list[str]:
    """Return the texts of an SVG of matplotlib, which draws letters, and has texts as comments."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    root = ET.parse(picture, parser).getroot()
    return [(each.text or "").strip() for each in root.iter() if each.tag is ET.Comment]


@NEEDS_MATPLOTLIB
def test_a_picture_has_each_score_and_variant_with_its_runs(
    comparison: Comparison, tmp_path: Path
) -> None:
    comparison.plot(tmp_path / "all.svg")

    texts = texts_of(tmp_path / "all.svg")
    assert "checkout $flow" in texts
    assert "bought: rate" in texts
    assert "latency: min, quartiles, max; mean as a point" in texts
    assert texts.count("control (n = 20)") == 2
    assert rf"{NAMES[1]} (n = 1)" in texts
    assert f"{'x' * 39}… (n = 20)" in texts
    # Of the score that the first variant has not there is no difference.
    assert texts.count("difference to control, 95% interval") == 2


@NEEDS_MATPLOTLIB
def test_a_picture_of_one_score(comparison: Comparison, tmp_path: Path) -> None:
    comparison.plot(tmp_path / "one.svg", score="latency")

    texts = texts_of(tmp_path / "one.svg")
    assert not any(text.startswith(("bought", "stars")) for text in texts)


@NEEDS_MATPLOTLIB
def test_the_suffix_says_the_format(comparison: Comparison, tmp_path: Path) -> None:
    comparison.plot(str(tmp_path / "picture.png"))

    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


@NEEDS_MATPLOTLIB
def test_no_window_is_opened(tmp_path: Path) -> None:
    code = (
        "import sys; from celery_defer.scoring import compare_rows\n"
        "compare_rows('x', {'r': 'a'}, {'s': {'r': 1.0}}).plot(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "one.svg")], check=True)


def test_a_score_that_no_run_has(comparison: Comparison, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no score 'lost' to draw: give one of 'bought', 'l"):
        comparison.plot(tmp_path / "none.png", score="lost")
    with pytest.raises(ExperimentError, match="experiment 'new' has no scores to draw yet"):
        compare_rows("new", {"run": "a"}, {}).plot(tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib.figure")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ImportError, match=r"pip install 'celery-defer\[plot\]'"):
        comparison.plot(tmp_path / "none.png")
