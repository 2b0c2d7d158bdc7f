"""Layouts against each other and against a bag of words, on the same split.

``python examples/movie-reviews/compare.py DATA OUTPUT`` trains, exports and classifies with the
program's own commands (one CPU thread, under a minute of it a run) and prints a table. DATA is the
folder that ``fetch.py`` wrote; runs already in OUTPUT are kept. ``--folds N`` takes the first N of
the folders that ``fetch.py --folds`` wrote, one seed each, and shows mean and standard deviation
over them; ``--layouts`` with no name leaves the bag of words alone, which needs scikit-learn
(``pip install 'spikegpt-neuro[bench]'``): lower-cased unigrams and bigrams, tf-idf, logistic
regression with C = 4, chosen beforehand and not on the test sentences.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from spikegpt_neuro.cli.program import app
from spikegpt_neuro.labelled import read_labelled

LAYOUTS = ("spike-driven", "upstream", "rwkv")
RECIPE = (
    "--task", "classify", "--pooling", "mean", "--tokens", "bpe:4000", "--layers", "1",
    "--width", "64", "--embedding", "real", "--steps", "888", "--batch", "32", "--context", "128",
    "--learning-rate", "3e-3", "--neuron-factor", "3", "--dropout", "0.2",
    "--evaluate-every", "296",
)  # fmt: skip
SEEDS = (1, 2, 3)


def command(*arguments: str | Path) -> dict[str, Any]:
    """Run one of the program's commands with ``--json``; its result."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "--quiet"])
    if done.exit_code:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.exception or done.output}")
    return dict(json.loads(done.stdout))


def one(layout: str, seed: int, data: Path, output: Path) -> dict[str, Any]:
    """Train, export and test one classifier."""
    stem = output / f"{layout}-{seed}"
    found = stem.with_suffix(".json")
    if found.exists():
        return dict(json.loads(found.read_text()))
    model, network = stem.with_suffix(".pt"), stem.with_suffix(".net")
    train, test = data / "train.tsv", data / "test.tsv"
    sentences = output / "calibration.txt"
    sentences.write_text("\n".join(row.text for row in read_labelled(train)[:300]))
    trained = command("train", train, "--valid", test, "-o", model, "--layout", layout,
                      "--seed", str(seed), "--force", *RECIPE)  # fmt: skip
    command("export", model, network, "--calibration", sentences, "--force")
    tested = command("classify", network, "--file", test, "--against", model,
                     "--confidence", "0.9")  # fmt: skip
    del tested["decisions"]
    result = {"layout": layout, "seed": seed, "trained": trained, "tested": tested}
    found.write_text(json.dumps(result, indent=1))
    return result


def bag_of_words(data: Path) -> float:
    """Accuracy of a logistic regression on word counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = (read_labelled(data / f"{name}.tsv") for name in ("train", "test"))
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=4.0, max_iter=1000),
    )
    model.fit([row.text for row in train], [row.label for row in train])
    return float(model.score([row.text for row in test], [row.label for row in test]))


def _spread(values: list[float]) -> str:
    percent = [100 * value for value in values]
    wide = statistics.stdev(percent) if len(percent) > 1 else 0.0
    return f"{statistics.mean(percent):.2f} +- {wide:.2f}"


def main() -> None:
    """Everything, seed by seed, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--layouts", nargs="*", default=LAYOUTS, choices=LAYOUTS)
    given = parser.parse_args()
    places = [(given.data, given.output, seed) for seed in given.seeds]
    if given.folds:
        names = [f"fold-{fold}" for fold in range(given.folds)]
        places = [(given.data / name, given.output / name, given.seeds[0]) for name in names]
    runs = []
    for data, output, seed in places:
        output.mkdir(parents=True, exist_ok=True)
        runs += [one(layout, seed, data, output) for layout in given.layouts]
    print("| layout | float % | integers % | uJ a decision | ms a decision |")
    print("|---|---|---|---|---|")
    for layout in given.layouts:
        tests = [run["tested"] for run in runs if run["layout"] == layout]
        joules, seconds = (
            statistics.mean(test["cost"][f"{name}_per_decision"] for test in tests)
            for name in ("joules", "seconds")
        )
        print(
            f"| {layout} | {_spread([test['against']['accuracy'] for test in tests])} | "
            f"{_spread([test['accuracy'] for test in tests])} | {joules * 1e6:.1f} | "
            f"{seconds * 1e3:.3f} |"
        )
    words = [bag_of_words(data) for data in dict.fromkeys(data for data, _, _ in places)]
    print(f"| bag of words | {_spread(words)} | - | - | - |")


if __name__ == "__main__":
    main()
