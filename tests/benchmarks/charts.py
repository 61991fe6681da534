# SPDX-License-Identifier: Apache-2.0
"""The charts of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.exports import Measured

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"


def draw(measured: Sequence[Measured]) -> None:
    """Rows a second and peak memory against the number of rows, as docs/images/export.svg and .png."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same figures make the same file.
    mpl.rcParams["svg.hashsalt"] = "wxbank"
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [one.rows / 1e6 for one in measured]
    left.plot(rows, [one.rows / one.seconds for one in measured], "o-", color="#07a35a")
    left.set_ylabel("rows a second")
    right.plot(rows, [one.megabytes for one in measured], "o-", color="#2b6cb0")
    right.set_ylabel("peak memory, MB")
    for axes in (left, right):
        axes.set_xlabel("rows exported from PostgreSQL, millions")
        axes.set_ylim(0, 1.15 * max(axes.lines[0].get_ydata()))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.3)
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / "export.svg", metadata={"Date": None})
    figure.savefig(FOLDER / "export.png", dpi=110)
