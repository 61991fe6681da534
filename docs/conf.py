"""How ``make docs`` builds these pages. Nothing is fetched from the network."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Autodoc imports Airflow, which makes files in its home; the reader's own is left alone.
_HOME = tempfile.mkdtemp(prefix="wxbank-docs-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME

from airflow_provider_wxbank import __version__  # noqa: E402  # after Airflow's home is set

project = "airflow-provider-wxbank"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False
