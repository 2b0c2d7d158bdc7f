"""Files of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import parsing, read_bytes

LARGEST = 256 << 20


def read_json(path: str | Path, what: str, advice: str = "") -> dict[str, Any]:
    """The JSON object in ``path``. ``InputError`` for anything else, deep nesting included."""
    content = read_bytes(path, what, largest=LARGEST)
    with parsing(path, what, advice):
        found = json.loads(content.decode("utf-8"))
    if not isinstance(found, dict):
        raise InputError(f"{path} cannot be read as {what}: it is not a JSON object.", (), advice)
    return found
