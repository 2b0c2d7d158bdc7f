"""Fetch a text of another kind than the King James one: the source code of Django.

``python examples/python-source/fetch.py FOLDER`` writes ``train.txt``, ``valid.txt`` and
``test.txt`` from the Python files of the wheel of Django 4.2.16 (BSD-3-Clause), without those of
translations and migrations, and without files that hold anything but ASCII. Files are taken in the
order of the SHA-256 of their paths; a file goes whole into one part, by that hash modulo 20:
0 test, 1 valid, else training. So no part has seen a line of the others but what
programmers repeat from file to file.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "Django", "4.2.16"
WHEEL_SHA256 = "1ddc333a16fc139fd253035a1606bb24261951bbc3a6ca256717fa06cc41a898"
LEFT_OUT = ("/locale/", "/migrations/")


def download(folder: Path) -> Path:
    """The wheel, by pip; its hash is checked."""
    command = (
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--dest", str(folder), f"{PACKAGE}=={VERSION}",
    )  # fmt: skip
    subprocess.run(command, check=True)
    path = folder / f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    if hashlib.sha256(path.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{path} is not the wheel that this example was measured with.")
    return path


def parts(wheel: Path) -> dict[str, str]:
    """The text of each part, whole files one after the other."""
    found: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name
            for name in archive.namelist()
            if name.endswith(".py") and not any(part in name for part in LEFT_OUT)
        ]
        for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest()):
            content = archive.read(name)
            if content and content.isascii():
                place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20
                part = {0: "test", 1: "valid"}.get(place, "train")
                found[part].append(content.decode("ascii").replace("\r\n", "\n"))
    return {part: "".join(texts) for part, texts in found.items()}


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        found = parts(download(Path(temporary)))
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in found.items():
        (folder / f"{part}.txt").write_text(text, encoding="ascii", newline="\n")
        print(f"{folder / part}.txt: {len(text):,} characters, {len(set(text))} different ones")


if __name__ == "__main__":
    main()
