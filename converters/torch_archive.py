"""Opening what ``torch.save`` wrote, without running anything in it and without silent damage.

The archive is a zip file of uncompressed records, each with a CRC-32 that torch does not check
when it maps the file. It is checked here, before torch's restricted unpickler sees the pickle.
"""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers.guard import input_file, reason

LARGEST_PICKLE = 64 << 20
"""Bytes of a torch archive's pickle: names, shapes and settings, no values."""
_PIECE = 1 << 22
_DAMAGED = "The file may be truncated or damaged; copy or download it again."


class Beside:
    """Stands for a value that training left beside the tensors, of a class that is never made.

    Takes any arguments and any state and keeps nothing.
    """

    def __init__(self, *arguments: Any) -> None:
        """Nothing is kept."""

    def __setstate__(self, state: Any) -> None:
        """Nothing is kept."""


_BESIDE = (
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.dtype", "numpy.ndarray", "numpy.float32", "numpy.float64", "numpy.int64", "numpy.bool_",
    "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath", "datetime.datetime",
    "datetime.timedelta", "datetime.timezone",
)  # fmt: skip
"""Classes of losses, settings and paths that training saves beside a state dict: read as
``Beside``, so that not even theirs runs."""


def load_torch(path: Path) -> tuple[Any, tuple[int, ...]]:
    """The content of a torch file, and the sizes of its records (none in the old format).

    Tensors of an archive are mapped, those of the old format read. Raises ``InputError`` naming
    records whose CRC-32 differs, classes that a pickle asks for, and other damage.
    """
    path = input_file(path, "a torch checkpoint")
    with path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    entries = _whole_records(path) if zipped else []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals([(Beside, name) for name in _BESIDE]):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    # a damaged pickle can break torch's reader with nearly any exception
    except Exception as error:
        raise _torch_error(path, error) from error
    return content, tuple(entry.file_size for entry in entries)


def _whole_records(path: Path) -> list[zipfile.ZipInfo]:
    """The archive's records, each with its CRC-32 checked; ``InputError`` lists all others."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            problems = list(_archive_problems(path, entries))
            if not problems:
                problems = [p for entry in entries for p in _record_problems(archive, entry)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{path} is a damaged torch checkpoint: {reason(error)}.",
            advice="It is probably truncated; copy or download it again.",
        ) from error
    if problems:
        raise InputError(f"{path} is not a torch checkpoint that can be read:", problems, _DAMAGED)
    return entries


def _archive_problems(path: Path, entries: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Why a zip file is not a torch archive that can be mapped; checked before torch sees it."""
    names = {entry.filename.split("/", 1)[-1] for entry in entries}
    if "data.pkl" not in names:
        yield "it is a zip archive without torch's data.pkl"
    if "constants.pkl" in names:
        yield "it is a TorchScript archive, which holds a program; save the state_dict instead"
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        yield f"{len(packed)} records are compressed, which torch.save never does: {packed[0]}"
    if len({entry.filename for entry in entries}) < len(entries):
        yield "several of its records have one name"
    declared = sum(entry.file_size for entry in entries)
    size = path.stat().st_size
    if declared > size:
        yield f"its records declare {declared} bytes, the file has {size}"
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if any(entry.file_size > LARGEST_PICKLE for entry in pickles):
        yield f"its data.pkl is larger than {LARGEST_PICKLE} bytes"


def _record_problems(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[str]:
    """Whether a record is the bytes that were written."""
    found = count = 0
    try:
        with archive.open(entry) as stream:
            while piece := stream.read(_PIECE):
                found, count = zlib.crc32(piece, found), count + len(piece)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError) as error:
        yield f"record {entry.filename}: {reason(error)}"
        return
    if found != entry.CRC or count != entry.file_size:
        yield f"record {entry.filename}: its CRC-32 is not the one that was written"


def _torch_error(path: Path, error: Exception) -> InputError:
    """What the restricted unpickler refused, in a sentence."""
    text = str(error)
    wanted = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"class (?:`|')?([\w.]+)", text)
    if "Weights only" in text or "weights_only" in text:
        refused = f"asks for {wanted.group(1)}" if wanted else "asks for more than tensors"
        return InputError(
            f"{path} is refused: its pickle {refused}, and checkpoints that run code are never "
            "loaded. Nothing was executed.",
            advice="Save the plain state_dict with torch.save, or as .safetensors.",
        )
    return InputError(
        f"{path} cannot be read as a torch checkpoint: {reason(error)}.", advice=_DAMAGED
    )
