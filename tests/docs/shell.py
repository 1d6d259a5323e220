"""A Python shell for one page: reads blocks from stdin, answers what was wrong with each.

Run by ``runner`` in the page's folder, so that what a page imports and configures stays
out of the test process.
"""

from __future__ import annotations

import doctest
import io
import json
import sys
import traceback
from typing import Any

_FLAGS = doctest.ELLIPSIS | doctest.REPORT_NDIFF


def main() -> None:
    """Return one line of JSON, an error or the empty string, for each line of JSON."""
    sys.path.insert(0, "")
    answers, sys.stdout = sys.stdout, sys.stderr
    names: dict[str, Any] = {"__name__": "__page__"}
    for line in sys.stdin:
        block = json.loads(line)
        check = _examples if block["kind"] == "pycon" else _statements
        print(json.dumps(check(block["text"], block["at"], names)), file=answers, flush=True)


def _statements(text: str, at: str, names: dict[str, Any]) -> str:
    try:
        exec(compile(text, at, "exec"), names)
    except BaseException:
        return traceback.format_exc()
    return ""


def _examples(text: str, at: str, names: dict[str, Any]) -> str:
    test = doctest.DocTestParser().get_doctest(text, names, at, at, 0)
    if not test.examples:
        return "a pycon block has no >>> in it"
    report = io.StringIO()
    doctest.DocTestRunner(optionflags=_FLAGS).run(test, out=report.write, clear_globs=False)
    names.update(test.globs)  # a doctest works on a copy
    return report.getvalue()


if __name__ == "__main__":
    main()
