"""Building blocks of the HTML page: tables, figures, folds and lists that work by keyboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spikegpt_neuro.reports.svg import escape


@dataclass(frozen=True)
class Column:
    """A table's column; ``text`` columns are left-aligned."""

    name: str
    text: bool = False


def table(caption: str, names: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in a box that scrolls sideways, reachable by keyboard. ``names``: its columns, apart
    by ``|``; those that end in ``*`` hold text and are left-aligned."""
    columns = _columns(names)
    head = "".join(
        f'<th scope="col"{" class=text" if c.text else ""}>{escape(c.name)}</th>' for c in columns
    )
    body = []
    for row in rows:
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for value, column in zip(row[1:], columns[1:], strict=True):
            cells.append(f"<td{' class=text' if column.text else ''}>{escape(value)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _columns(names: str) -> list[Column]:
    return [Column(n.strip(" *"), n.strip().endswith("*")) for n in names.split("|")]


def figure(picture: str, label: str) -> str:
    """A chart with its caption, in a box that scrolls sideways."""
    return (
        f"<figure><figcaption>{escape(label)}</figcaption>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">'
        f"{picture}</div></figure>"
    )


def fold(summary: str, content: str) -> str:
    """Content behind a summary; printing opens it."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def bullets(sentences: Iterable[str], css: str = "") -> str:
    """A list of sentences."""
    marked = f' class="{css}"' if css else ""
    return f"<ul{marked}>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>"
