"""Labelled texts: TSV, CSV and JSONL files of a label and a text a line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.texts import read_text

_LISTED = 20
"""Problems that are listed one by one."""


@dataclass(frozen=True)
class LabelledText:
    """A text and its class."""

    label: str
    text: str


def _tsv(content: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            label, tab, text = line.partition("\t")
            yield number, label, text if tab else ""


def _csv(content: str) -> Iterator[tuple[int, str, str]]:
    reader = csv.reader(io.StringIO(content))
    places = [0, 1]
    for row in reader:
        if reader.line_num == 1 and {"label", "text"} <= set(row):
            places = [row.index("label"), row.index("text")]
        elif row:
            label, text = (row[place] if place < len(row) else "" for place in places)
            yield reader.line_num, label, text


def _jsonl(content: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        found = value if isinstance(value, dict) else {}
        label, text = found.get("label", ""), found.get("text", "")
        # a class may be a number in JSON; a text may not
        label = str(label) if isinstance(label, int | str) else ""
        yield number, label, text if isinstance(text, str) else ""


READERS: Final[dict[str, Callable[[str], Iterator[tuple[int, str, str]]]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
"""By the file's ending. TSV: label, tab, text. CSV: a header naming ``label`` and ``text``, or
these two columns without one. JSONL: objects with ``label`` and ``text``."""


def read_labelled(path: Path) -> tuple[LabelledText, ...]:
    """The texts of a labelled file, in order.

    Raises InputError for another ending, an empty file, and listing every line without a label or
    a text.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a labelled file ends in {', '.join(READERS)}.")
    rows = []
    problems = []
    try:
        for number, label, text in reader(read_text(path)):
            label, text = label.strip(), text.strip()
            if not label or not text:
                problems.append(f"line {number}: no {'text' if label else 'label'}")
            rows.append(LabelledText(label, text))
    except csv.Error as error:
        problems.append(str(error))
    if problems or not rows:
        more = len(problems) - _LISTED
        shown = problems[:_LISTED] + ([f"and {more} more"] if more > 0 else [])
        raise InputError(
            f"{path} is not a file of labelled texts.",
            shown or ["it holds no line"],
            "A line holds a label and a text: TSV 'label<tab>text', CSV, or JSONL objects.",
        )
    return tuple(rows)
