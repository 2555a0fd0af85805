"""Sphinx: the pages of docs/ and the reference made from the docstrings."""

import carousel

project = "carousel"
author = "the carousel authors"
release = carousel.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # several jobs have a Result
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
html_theme = "furo"
html_title = "carousel"
exclude_patterns = ["build"]
