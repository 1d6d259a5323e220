"""How Sphinx builds these pages: strictly, and without the network."""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

project = "celery-defer"
author = "the celery-defer authors"
version = release = installed_version("celery-defer")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "celery-defer"
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_extra"]  # old addresses, which lead to the new ones

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# The button copies what a reader types: no prompts, no output.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

# Types of other packages: there is nothing of ours to link to, and no network to ask theirs.
nitpick_ignore_regex = [
    ("py:class", r"(collections\.abc|datetime|os|typing|typing_extensions|pydantic)\..+"),
    ("py:class", r"(Callable|Mapping|Sequence|Any|datetime|P|R|P\.args|P\.kwargs)"),
    # What stands in signatures and is not public.
    ("py:class", r"celery_defer\.(commands|contract|events|flow|ids|model|settings|steps)\..+"),
    ("py:class", r"celery_defer\.(scoring|store|testing)\..+"),
]

# The words that people search for, where they are not the page's own: the search shows it first.
SEARCH_WORDS = {
    "how-to/adopt": ["migrate", "migration", "link", "on_commit"],
    "how-to/batch": ["batch", "bulk"],
    "how-to/cancel-on": ["cancel_on", "deadline", "timeout", "expire"],
    "how-to/capacity": ["capacity", "memory", "sizing", "how many workers"],
    "how-to/deployment": ["kubernetes", "docker", "systemd", "deploy", "probe"],
    "how-to/events": ["event", "webhook"],
    "how-to/experiments": ["experiment", "variant", "a/b test"],
    "how-to/flower": ["flower", "dashboard"],
    "how-to/limits": ["rate limit", "throttle", "concurrency", "debounce", "singleton", "priority"],
    "how-to/logging": ["logging", "structlog", "json logs"],
    "how-to/monitoring": ["prometheus", "grafana", "monitoring", "metrics", "alerts"],
    "how-to/opentelemetry": ["opentelemetry", "tracing", "spans"],
    "how-to/production": ["production", "log lines"],
    "how-to/score-at-once": ["score", "evaluation", "judge"],
    "how-to/score-later": ["conversion", "feedback"],
    "how-to/security": ["security", "acl", "tls", "password", "pickle"],
    "how-to/sleep-and-retry": ["sleep", "retry", "backoff"],
    "how-to/testing": ["test", "pytest", "simulation"],
    "how-to/troubleshooting": ["troubleshooting", "debug", "stuck", "lost", "eviction", "pending"],
    "how-to/upgrading": ["upgrade", "rollback", "rolling deploy"],
    "explanation/admission": ["flow control", "fairness"],
    "explanation/guarantees": ["exactly once", "guarantee"],
    "explanation/reading-the-numbers": ["statistics", "confidence interval", "peeking"],
    "explanation/comparison": ["temporal", "inngest", "restate", "dbos", "alternatives"],
}
PICTURES = Path(__file__).parent / "pictures"


class Picture(SphinxDirective):
    """``{picture} NAME`` puts pictures/NAME.svg into the page itself, in the theme's colours."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        file = PICTURES / f"{self.arguments[0]}.svg"
        self.env.note_dependency(str(file))
        html = f'<div class="picture">\n{file.read_text("utf-8")}</div>'
        return [nodes.raw("", html, format="html")]


def guide_search(app: Any, doctree: nodes.document) -> None:
    """Add a page's search words; let decisions and changes be found by their titles alone."""
    name = app.env.current_document.docname
    if name == "changelog" or name.startswith("explanation/decisions/"):
        app.env.metadata[name]["nosearch"] = True
    # An entry without an anchor is one result with the page's own.
    entries = [("single", word, "", "main", None) for word in SEARCH_WORDS.get(name, [])]
    next(doctree.findall(nodes.section)).insert(1, addnodes.index(entries=entries))


def setup(app: Any) -> None:
    app.add_directive("picture", Picture)
    app.connect("doctree-read", guide_search)
