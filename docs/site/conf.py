"""Sphinx settings of the site; `dtda_lib/study/pages/site.py` copies them beside the sources.

Nothing is loaded from another host: maths becomes MathML, fonts are the reader's own.
"""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

project = "Training data attribution as distributions"
author = "The developers of the distributional TDA study"
extensions = ["myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
root_doc = "index"
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "TDA as distributions"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["claims.js", "explore.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_last_updated_fmt = None
html_math_renderer = "mathml"
templates_path: list[str] = []
pygments_style = "default"

nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("html", "text/markdown", 0), ("html", "text/latex", None)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]


def _maths(display: str) -> Any:
    def visit(self: Any, node: nodes.Element) -> None:
        mathml = convert(node.astext(), display=display)
        self.body.append(mathml if display == "inline" else f'<div class="math">{mathml}</div>')
        raise nodes.SkipNode

    return visit


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer of maths."""
    app.add_html_math_renderer("mathml", (_maths("inline"), None), (_maths("block"), None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
