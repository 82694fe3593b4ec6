"""Sphinx's configuration; `make docs` builds the site into build/docs/html."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import docstrings  # noqa: E402

import flowkernels  # noqa: E402

project = "flowkernels"
author = "the flowkernels developers"
copyright = "the flowkernels developers; BSD-3-Clause"
version = release = flowkernels.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",  # formulas need no network
    "docstrings",
    "contents",
    "outside",
    "op_pages",
    "command_help",
    "scripts",
]

exclude_patterns = ["_ext", "_static"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "inherited-members": docstrings.foreign_or_public(),
}
# The reference of an adapter does not need the library that it adapts.
autodoc_mock_imports = [name for name in ("sbi", "onnx", "onnxscript") if find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # `name` in a docstring is code, and a link where it is ours

# A reference to something of ours that is not there is an error. Other libraries' objects, and
# code in single backticks, are not looked up: there is no network where the site is built.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!flowkernels\.).*"),
    # Type variables and private protocols in signatures.
    (r"py:class", r"flowkernels\.(adapters|bijections|interpolation)\.\w+\.(M|_P|Vectors|Splines)"),
    (r"py:class", r"flowkernels\.interpolation\.simplex\.LogSimplexMap"),
    (r"py:class", r"flowkernels\.cluster\._(mixture\.Components|base\._Self)"),
    (r"py:mod", r"flowkernels\.ops\..*"),
    (r"py:func", r"flowkernels\.experiments\..*"),  # the command line's, which has no reference
]

html_theme = "furo"
html_title = f"flowkernels {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5d8f",
        "color-brand-content": "#0b5d8f",
        "font-stack--monospace": "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb8ea",
        "color-brand-content": "#6cb8ea",
    },
}
highlight_language = "none"  # of blocks that name no language; examples of docstrings are Python
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
