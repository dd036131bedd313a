"""The site: Sphinx with MyST and furo. `make docs` builds it, without a network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import spectra

project = "Spectra"
author = "The Spectra developers"
project_copyright = author
version = release = spectra.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    # ours
    "docstrings",
    "mathml",
    "public_names",
    "repository_pages",
]
exclude_patterns = ["_build", "extensions"]
nitpicky = True
nitpick_ignore_regex = [
    # No inventories of other projects are fetched: their names stay plain text.
    (r"py:.*", r"(?!spectra\b)\w+(\..*)?"),
]

# Pages are Markdown as GitHub shows it, and a few fences of MyST.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown"}

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of a dataclass as a list, not as entries of their own

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"Spectra {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
highlight_language = "none"  # where a block does not say
smartquotes = False  # or options in help texts lose a dash
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_only_copy_prompt_lines = True
