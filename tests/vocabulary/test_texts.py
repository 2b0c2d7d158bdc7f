"""Texts are read exactly as they are, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.texts import read_text


def test_text_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("a\r\nb\r\n\u2028é\0".encode())
    assert read_text(path) == "a\r\nb\r\n\u2028é\0"
    path.write_bytes(b"\xef\xbb\xbfx")
    assert read_text(path) == "x"


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    for content, message in ((b"", "is empty"), (b"ab\xff", "at byte 2")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_text(path)
    with pytest.raises(InputError, match="folder"):
        read_text(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_text(tmp_path / "none")
