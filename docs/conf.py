"""Sphinx settings: Markdown pages, API pages from the docstrings."""

from importlib.metadata import version as _version

project = "moestat"
author = "The moestat developers"
copyright = "2026, the moestat developers"
release = version = _version("moestat")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "moestat"
