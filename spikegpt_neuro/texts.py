"""Reading the user's texts."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

from spikegpt_neuro.errors import InputError


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, exactly; ``-`` reads standard input.

    A byte order mark is dropped, line ends are kept as they are. Raises InputError.
    """
    if str(path) == "-":
        content, name = sys.stdin.buffer.read(), "standard input"
    else:
        path = Path(path)
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a text file.")
        if not path.exists():
            raise InputError(f"{path} does not exist.")
        content, name = path.read_bytes(), str(path)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 text: {error.reason} at byte {error.start}.",
            advice="Convert it to UTF-8 first.",
        ) from error
    if not text:
        raise InputError(f"{name} is empty.")
    return text
