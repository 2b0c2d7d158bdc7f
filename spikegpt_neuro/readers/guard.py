"""What every reader does first: is this a file, is it too large, and what broke the parser."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikegpt_neuro.errors import InputError, SpikeGPTNeuroError

_LONGEST_REASON = 300
GIT_LFS = b"version https://git-lfs"
"""How a Git LFS pointer begins: a text that stands for a file that was not fetched."""


def input_file(path: str | Path, what: str, *, largest: int | None = None) -> Path:
    """``path`` if it is a regular file that can be read, of at most ``largest`` bytes.

    ``what`` names the format in the message ("a text"). Raises ``InputError``: missing, a folder,
    a pipe or device (which could block for ever), unreadable, too large, a Git LFS pointer.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{path} does not exist.") from error
        raise InputError(f"{path} cannot be read as {what}: {reason(error)}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a folder; give {what}.")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file; give {what}.")
    if largest is not None and status.st_size > largest:
        raise InputError(
            f"{path} has {status.st_size:,} bytes; {what} has at most {largest:,} here."
        )
    try:
        with path.open("rb") as stream:
            head = stream.read(len(GIT_LFS))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}.") from error
    if head == GIT_LFS:
        raise InputError(
            f"{path} is a Git LFS pointer: the file itself was not fetched.",
            advice="Fetch it with `git lfs pull`, or download it from its page.",
        )
    return path


def read_bytes(path: str | Path, what: str, *, largest: int) -> bytes:
    """The bytes of a regular file of at most ``largest``; see ``input_file``."""
    checked = input_file(path, what, largest=largest)
    with parsing(checked, what), checked.open("rb") as stream:
        content = stream.read(largest + 1)
    if len(content) > largest:
        raise InputError(f"{path} grew beyond {largest:,} bytes while it was read.")
    return content


@contextmanager
def parsing(path: str | Path, what: str, advice: str = "") -> Iterator[None]:
    """Around a foreign parser only: whatever it raises becomes one ``InputError``.

    Damaged bytes make parsers raise nearly anything. Our own checks belong outside of the block,
    where a mistake of ours shows. Errors of this project pass as they are.
    """
    try:
        yield
    except SpikeGPTNeuroError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as {what}: {reason(error)}.", (), advice
        ) from error


def reason(error: BaseException) -> str:
    """The first line of what an exception says, without its final stop; its type if it is mute."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    text = lines[0][:_LONGEST_REASON].rstrip(" .") if lines else ""
    if isinstance(error, KeyError | IndexError) or not text:
        return f"{type(error).__name__} {text}".strip()
    return text
