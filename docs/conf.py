"""How Sphinx builds these pages: strictly, and without the network."""

from importlib.metadata import version as installed_version

project = "celery-defer"
author = "the celery-defer authors"
version = release = installed_version("celery-defer")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "celery-defer"
html_show_copyright = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

# Types of other packages: there is nothing of ours to link to, and no network to ask theirs.
nitpick_ignore_regex = [
    ("py:class", r"(collections\.abc|datetime|typing|typing_extensions|pydantic)\..+"),
    ("py:class", r"(Callable|Mapping|Sequence|Any|datetime|P|R|P\.args|P\.kwargs)"),
    # What stands in signatures and is not public.
    ("py:class", r"celery_defer\.(contract|events|ids|model|settings|steps)\..+"),
    ("py:class", r"celery_defer\.testing\..+"),
]
