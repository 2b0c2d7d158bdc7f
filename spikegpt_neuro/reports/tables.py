"""The one way tables and lists look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text


def table(columns: str | Sequence[str], *, title: str = "", fold: bool = False) -> Table:
    """A table without lines. ``columns``: names, ``>`` before right-aligned ones.

    They may be one text, apart by ``|``, where none of them is data. ``fold``: long cells go on in
    the next line instead of being shortened.
    """
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False
    )
    for name in columns.split("|") if isinstance(columns, str) else columns:
        made.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold" if fold else "ellipsis",
        )
    return made


def titled_lines(title: str, sentences: list[str]) -> Text:
    """A bold title and a line a sentence."""
    text = Text(f"{title}\n", style="bold")
    for sentence in sentences:
        text.append(f"  - {sentence}\n", style="not bold")
    return text
