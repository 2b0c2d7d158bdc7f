"""The package's folders where they are imported from, for the reference of the Python interface.

``converters/`` and ``hardware_profiles/`` are packages of ``spikegpt_neuro`` that live at the top
level; whoever reads sources instead of importing them (mkdocstrings) needs one folder with all.
MkDocs calls ``on_startup``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "reference" / "spikegpt_neuro"


def on_startup(command: str, dirty: bool) -> None:
    """Make the folder of links anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for path in (
        *(ROOT / "spikegpt_neuro").iterdir(),
        ROOT / "converters",
        ROOT / "hardware_profiles",
    ):
        (FOLDER / path.name).symlink_to(path)
