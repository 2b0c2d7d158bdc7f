"""The tables of docs/file-format.md, from the schema: ``python -m`` this module writes them.

A test compares the page with the schema, so that neither is changed alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

from spikegpt_neuro.network import LAYER_KINDS
from spikegpt_neuro.network.schema import Layer

BEGIN, END = (
    "<!-- kinds: generated, see spikegpt_neuro/network/documentation.py -->",
    "<!-- end -->",
)


def kinds_table() -> str:
    """All kinds with their arrays (dtype, shape, range) and scalars (range), Markdown."""
    rows = ["| kind | arrays: dtype, shape, range | scalars: range |", "| --- | --- | --- |"]
    rows += [_row(name, kind) for name, kind in sorted(LAYER_KINDS.items())]
    return "\n".join(rows)


def _row(name: str, kind: type[Layer]) -> str:
    arrays = [
        f"`{part}` {spec.dtype} [{', '.join(spec.shape)}], {spec.low}..{spec.high}"
        for part, spec in kind.array_specs().items()
    ]
    scalars = [f"`{part}` {low}..{high}" for part, (low, high) in kind.scalar_ranges().items()]
    return f"| `{name}` | {'; '.join(arrays)} | {'; '.join(scalars)} |"


def written(page: str) -> str:
    """The page with the table between its two marks made anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{kinds_table()}\n\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text("utf-8")), "utf-8")
