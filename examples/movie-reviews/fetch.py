"""Fetch the movie-review sentences and split them by a hash of each sentence.

``python examples/movie-reviews/fetch.py FOLDER`` writes ``train.tsv`` and ``test.tsv`` (label, tab,
sentence). 10,604 sentences of rottentomatoes.com, a subset of Pang and Lee's, with the mean of
20 human ratings from -4 to 4 (Hutto and Gilbert, ICWSM 2014), from the source archive of
vaderSentiment 3.3.2 (MIT). Label: the sign of the mean rating; sentences of mean 0 are left out.
A sentence is tested where ``int(sha256(sentence), 16) % 10 == fold``; ``--fold`` 0 to 9.
``--folds`` writes all ten, into ``FOLDER/fold-0`` to ``FOLDER/fold-9``.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "vaderSentiment", "3.3.2"
ARCHIVE_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = f"{PACKAGE}-{VERSION}/additional_resources/hutto_ICWSM_2014.tar.gz"
RATINGS = "movieReviewSnippets_GroundTruth.txt"
FOLDS = 10


def download(folder: Path) -> Path:
    """The source archive, by pip; its hash is checked."""
    command = (
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
        "--dest", str(folder), f"{PACKAGE}=={VERSION}",
    )  # fmt: skip
    subprocess.run(command, check=True)
    path = folder / f"{PACKAGE}-{VERSION}.tar.gz"
    if hashlib.sha256(path.read_bytes()).hexdigest() != ARCHIVE_SHA256:
        raise SystemExit(f"{path} is not the archive that this example was measured with.")
    return path


def sentences(archive: Path) -> list[tuple[str, str]]:
    """Label and sentence, in the file's order."""
    with tarfile.open(archive) as outer:
        inner = outer.extractfile(INNER)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as resources:
            (member,) = (m for m in resources if m.name.endswith(f"/{RATINGS}"))
            content = resources.extractfile(member)
            assert content is not None
            text = content.read().decode("utf-8", "replace")
    found = []
    for line in text.splitlines():
        _, rating, sentence = line.split("\t", 2)
        if float(rating):
            label = "positive" if float(rating) > 0 else "negative"
            found.append((label, " ".join(sentence.split())))
    return found


def write(folder: Path, found: list[tuple[str, str]], fold: int) -> None:
    """The two files of a fold."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for label, sentence in found:
        held_back = int(hashlib.sha256(sentence.encode()).hexdigest(), 16) % FOLDS == fold
        parts["test" if held_back else "train"].append(f"{label}\t{sentence}\n")
    for name, lines in parts.items():
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
        print(f"{folder / name}: {len(lines)} sentences")


def main() -> None:
    """Write the files of a fold, or of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fold", type=int, default=0, choices=range(FOLDS))
    parser.add_argument("--folds", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = sentences(download(Path(folder)))
    if not given.folds:
        write(given.folder, found, given.fold)
        return
    for fold in range(FOLDS):
        write(given.folder / f"fold-{fold}", found, fold)


if __name__ == "__main__":
    main()
