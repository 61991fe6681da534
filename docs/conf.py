# SPDX-License-Identifier: Apache-2.0
"""How ``make docs`` builds these pages. Nothing is fetched from the network."""

from __future__ import annotations

import atexit
import os
import posixpath
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from docutils import nodes
from sphinx.search.en import SearchEnglish
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# Autodoc imports Airflow, which makes files in its home; the reader's own is left alone.
_HOME = tempfile.mkdtemp(prefix="wxbank-docs-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME

from airflow_provider_wxbank import __version__  # noqa: E402  # after Airflow's home is set

project = "airflow-provider-wxbank"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

# A reference that leads nowhere is a warning. Types of others are named in signatures, and are not in these pages.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!airflow_provider_wxbank\.).*"),
    ("py:.*", r"airflow_provider_wxbank\.(?!wechatpay\.errors\.|operators\.\w+Operator$|sensors\.\w+Sensor$).*"),
]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["wxbank.css"]
html_theme_options = {
    # Furo's fonts, and Chinese ones before the browser chooses among those of East Asia.
    "light_css_variables": {
        "font-stack": "-apple-system, BlinkMacSystemFont, Segoe UI, Helvetica, Arial, PingFang SC, Microsoft YaHei, "
        "Noto Sans CJK SC, sans-serif, Apple Color Emoji, Segoe UI Emoji",
    },
}

# The button copies commands without their prompt and without their output.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "EOF"
copybutton_exclude = ".linenos, .gp, .go"

ROOT = Path(__file__).resolve().parent.parent
FROM_ROOT = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
    "zh/changelog": "CHANGELOG.zh-CN.md",
    "zh/contributing": "CONTRIBUTING.zh-CN.md",
    "zh/security": "SECURITY.zh-CN.md",
}
"""Pages whose text is at the root of the repository, where its readers look for it."""


class Diagram(SphinxDirective):
    """A drawing of characters as an inline SVG, which takes the text's colour, in light and in dark.

    Its argument says what the drawing shows. Where the package that draws has no wheel, the characters are shown.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The drawing, or its characters."""
        text = "\n".join(self.content)
        try:
            from sphinxcontrib.svgbob._svgbob import to_svg
        except ImportError:
            return [nodes.literal_block(text, text, language="text")]
        # To svgbob, a wide character within quotation marks is three columns wide: two narrow ones stand for it.
        wide = dict.fromkeys(one for one in text if east_asian_width(one) in "WF")
        pairs = {ord(one): chr(0xE000 + number) * 2 for number, one in enumerate(wide)}
        narrow = re.sub(r'"[^"\n]*"', lambda quoted: quoted[0].translate(pairs), text)
        svg = to_svg(
            narrow, stroke_color="currentColor", fill_color="currentColor", background_color="transparent",
            stroke_width=1.5, font_size=13, font_family="var(--font-stack--monospace)",
        )  # fmt: skip
        for one, pair in pairs.items():
            svg = svg.replace(pair, chr(one))
        label = nodes.unescape(self.arguments[0]).replace('"', "&quot;")
        html = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        width = re.search(r'width="(\d+)" height="(\d+)"', html)
        assert width is not None
        html = html.replace(width[0], f'viewBox="0 0 {width[1]} {width[2]}" style="max-width: {width[1]}px"', 1)
        return [nodes.raw("", f'<div class="diagram">{html}</div>', format="html")]


def read_from_root(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put a file of the root in the place of the page that points to it, with its links as seen from that page."""
    if docname in FROM_ROOT:
        path = ROOT / FROM_ROOT[docname]
        app.env.note_dependency(str(path))
        folder = posixpath.dirname(f"docs/{docname}")
        pages = {name: f"docs/{page}.md" for page, name in FROM_ROOT.items()}

        def link(match: re.Match[str]) -> str:
            return posixpath.relpath(pages.get(match[0], match[0]), folder)

        source[0] = re.sub(r"(?<=\]\()(?![a-z]+:|#)[^)]+(?=\))", link, path.read_text("utf-8"))


HAN = r"[\u4e00-\u9fff]"


class Search(SearchEnglish):
    """English search that takes Chinese as pairs of characters, in pages and in queries: it has no spaces to cut at."""

    js_splitter_code = rf"""
var splitQuery = (query) =>
  [...query.matchAll(/(?=({HAN}{{2}}))|(?:(?!{HAN})[\p{{L}}\p{{N}}_])+/gu)].map(([word, pair]) => pair || word);
"""

    def split(self, text: str) -> list[str]:
        """The words of a page."""
        return [one[1] or one[0] for one in re.finditer(rf"(?=({HAN}{{2}}))|(?:(?!{HAN})\w)+", text)]


def tell_language(app: Sphinx, page: str, template: str, context: dict[str, Any], *_: object) -> None:
    """Name the language of a Chinese page, so that a browser takes Chinese glyphs, not Japanese ones."""
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def setup(app: Sphinx) -> dict[str, Any]:
    """What these pages need beyond Sphinx."""
    app.add_directive("diagram", Diagram)
    app.connect("source-read", read_from_root)
    app.connect("html-page-context", tell_language)
    app.add_search_language(Search)
    return {"parallel_read_safe": True}
