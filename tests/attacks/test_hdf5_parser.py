"""The parser of thousands of files gives what the real child gives, and survives what ends it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest

from attacks import hdf5_parser
from attacks.formats import FORMATS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.readers import hdf5


def test_files_are_described_as_by_a_child_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "good.net"
    FORMATS["netx"].make(path)
    found = []
    for describe in (hdf5._describe, hdf5_parser.describe, hdf5_parser.describe):
        with path.open("rb") as stream, tempfile.TemporaryFile() as result:
            describe(path, "NetX", stream, result, 1 << 20)
            result.seek(0)
            found.append(result.read())
    assert found[0] == found[1] == found[2]
    assert b"inFeatures" in found[0]


def test_a_file_that_ends_the_parser_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good.net"
    FORMATS["netx"].make(path)
    for output, refused in ((0, True), (1 << 20, False), (8, True), (1 << 20, False)):
        with path.open("rb") as stream, tempfile.TemporaryFile() as result:
            if refused:  # it may not write so much
                with pytest.raises(InputError, match="its child was ended"):
                    hdf5_parser.describe(path, "NetX", stream, result, output)
            else:
                hdf5_parser.describe(path, "NetX", stream, result, output)
                assert result.seek(0, io.SEEK_END) > 100
