"""How much a network repeats itself, by the way its tokens are chosen.

``python examples/repetition.py NET...`` generates after eight openings with each way and prints the
share of distinct runs of 16 characters (distinct-16) and of distinct words and word triples, over
all texts; the text of the last column is kjv-valid.txt itself, cut into pieces of the same length.
A text that circles repeats its runs: greedy choice gives 'of the LORD of the LORD'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from spikegpt_neuro import api

OPENINGS = (
    "In the beginning", "And it came to pass", "The LORD said", "Now therefore", "And he went",
    "Behold, I will", "Then came the", "Blessed are",
)  # fmt: skip
WAYS: dict[str, dict[str, float | int]] = {
    "greedy": {"temperature": 0.0},
    "T 0.5": {"temperature": 0.5, "top_p": 1.0},
    "T 0.8, top-p 0.9": {"temperature": 0.8, "top_p": 0.9},
    "T 0.9, top-p 0.95": {"temperature": 0.9, "top_p": 0.95},
    "T 1": {"temperature": 1.0, "top_p": 1.0},
}
TEXT = Path(__file__).parent / "kjv-4x192" / "kjv-valid.txt"


def distinct(texts: list[str], unit: str, n: int) -> float:
    """Distinct runs of ``n`` units (characters or words) of each text, as a share of all runs."""
    found, total = 0, 0
    for text in texts:
        units = list(text) if unit == "characters" else text.split()
        runs = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
        found, total = found + len(set(runs)), total + len(runs)
    return found / max(1, total)


def row(name: str, texts: list[str]) -> str:
    """A line of the table."""
    figures = [
        distinct(texts, unit, n) for unit, n in (("characters", 16), ("words", 1), ("words", 3))
    ]  # fmt: skip
    return f"| {name} | " + " | ".join(f"{100 * figure:.1f}" for figure in figures) + " |"


def main() -> None:
    """One table a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=500)
    given = parser.parse_args()
    text = TEXT.read_text("ascii")
    pieces = [text[i * given.tokens : (i + 1) * given.tokens] for i in range(len(OPENINGS))]
    for path in given.networks:
        network = api.load(path)
        print(f"\n{path.name}, {len(OPENINGS)} texts of {given.tokens} tokens\n")
        print("| choice | distinct-16 % | words % | word triples % |\n|---|---|---|---|")
        for name, way in WAYS.items():
            texts = [
                api.generate(network, opening, given.tokens, seed=i, **way)
                for i, opening in enumerate(OPENINGS)
            ]
            print(row(name, texts), flush=True)
        print(row("the text itself", pieces))


if __name__ == "__main__":
    main()
