"""Documents of the tasks beside this file, made from the held-out text of the example model.

Nothing is downloaded and nothing is random: the same documents on every machine.
"""

from __future__ import annotations

import re
from pathlib import Path

from datasets import Dataset

TEXT = Path(__file__).parents[1] / "kjv-4x192" / "kjv-test.txt"
ENDING = 3
"""Words of a verse's ending."""
SHORTEST = 12
"""Words of the shortest verse that is asked about."""
CHOICES = 4
PASSAGE = 10
"""Verses of a passage."""


def verses() -> list[str]:
    """The verses of the test split, without the first and last, which the split cuts."""
    return TEXT.read_text(encoding="ascii").splitlines()[1:-1]


def endings(**options: object) -> dict[str, Dataset]:
    """Verses without their last words; of four endings one is the verse's own, the others are
    those of the verses asked about before and after it, of the same number of words.
    """
    asked = [verse.split(" ") for verse in verses()]
    asked = [words for words in asked if len(words) >= SHORTEST]
    documents = []
    for index, words in enumerate(asked):
        others = [asked[(index + step) % len(asked)][-ENDING:] for step in (-11, 7, 23)]
        choices = [" ".join(other) for other in others]
        answer = index % CHOICES
        choices.insert(answer, " ".join(words[-ENDING:]))
        if len(set(choices)) < CHOICES:
            continue
        documents.append(
            {"context": " ".join(words[:-ENDING]), "choices": choices, "answer": answer}
        )
    return {"test": Dataset.from_list(documents)}


def passages(**options: object) -> dict[str, Dataset]:
    """Stretches of ten verses, a verse a line."""
    lines = verses()
    stretches = ["\n".join(lines[i : i + PASSAGE]) for i in range(0, len(lines), PASSAGE)]
    return {"test": Dataset.from_list([{"text": stretch} for stretch in stretches])}


def words(**options: object) -> dict[str, Dataset]:
    """Verses with half of their last word: what is asked is the rest of it."""
    documents = []
    for verse in verses():
        found = re.fullmatch(r"(.* [a-zA-Z]{3})([a-z]{2,})([^a-zA-Z ]+)", verse)
        if found:
            documents.append({"context": found[1], "rest": found[2]})
    return {"test": Dataset.from_list(documents)}
