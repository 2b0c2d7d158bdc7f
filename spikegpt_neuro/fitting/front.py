"""The front of a search as a table and a plot: bits a character against cores, joules and time."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from spikegpt_neuro.fitting.points import Point
from spikegpt_neuro.network.atomic import replaced_file

_AXES = (
    ("cores", "cores", 1.0),
    ("joules", "energy a token, mJ", 1e3),
    ("seconds", "time a token, ms", 1e3),
)


def write_table(points: Sequence[Point], path: Path) -> None:
    """One row a network: CSV, columns as ``Point``."""
    text = io.StringIO()
    names = [field.name for field in fields(Point)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.to_dict() for point in points)
    with replaced_file(path) as stream:
        stream.write(text.getvalue().encode("utf-8"))


def write_plot(points: Sequence[Point], path: Path, characters_per_token: float) -> None:
    """SVG: a panel for each figure the profile prices; the network that was written is filled."""
    axes = [axis for axis in _AXES if all(getattr(point, axis[0]) is not None for point in points)]
    with matplotlib.rc_context({"svg.hashsalt": "spikegpt-neuro", "font.size": 8}):
        figure = Figure(figsize=(3.2 * len(axes), 2.8), layout="constrained")
        panels = figure.subplots(1, len(axes), squeeze=False)[0]
        for panel, (name, label, unit) in zip(panels, axes, strict=True):
            x = [getattr(point, name) * unit for point in points]
            y = [point.bits_per_token / characters_per_token for point in points]
            panel.plot(x, y, "o-", fillstyle="none", color="#3b6ea5")
            for point, across, up in zip(points, x, y, strict=True):
                if point.chosen:
                    panel.plot([across], [up], "o", color="#c8553d")
            panel.set_xlabel(label)
            panel.set_ylabel("bits a character")
        with replaced_file(path) as stream:
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
