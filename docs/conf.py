"""How Sphinx builds the site: ``python -m sphinx docs docs/_build``. Nothing is fetched from a network."""

from __future__ import annotations

import importlib
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))

import reference  # noqa: E402

import lorasolve  # noqa: E402

project = "lorasolve"
author = "the lorasolve developers"
release = version = lorasolve.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
root_doc = "index"
exclude_patterns = [
    "_build",
    "*.part.md",
    "figures/*.md",
    "**/README.md",
    "gallery/**/*.ipynb",
    "gallery/**/*.py",
    "gallery/**/*.json",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
html_theme = "furo"
html_title = f"lorasolve {release}"
html_show_copyright = False  # LICENSE says whose it is
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path: list[str] = []
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpicky = False
suppress_warnings = [
    # The gallery is rebuilt with each run.
    "config.cache",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    # Those that take seconds are run while the site is built; the others are shown.
    "filename_pattern": r"(quickstart|own_objective|inpainting|landscape_verdict|landscape_threshold)\.py",
    # An example without a figure of its own names one of the pages' figures, or has the formula.
    "default_thumb_file": str(HERE / "_static" / "formula.png"),
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey",
    "first_notebook_cell": None,
    "nested_sections": False,
}


def with_its_links(app, path, page, content) -> None:  # type: ignore[no-untyped-def]
    """Have the links of a file that a page of this folder includes lead where they do in the file's own folder."""
    content[0] = re.sub(r"\]\((?![a-z]+:|#)", f"]({path.parent.as_posix()}/", content[0])


def setup(app) -> None:  # type: ignore[no-untyped-def]
    """Write the pages that list what there is, from the package itself."""
    app.connect("include-read", with_its_links)
    importlib.reload(reference)
    reference.write(HERE / "generated")
