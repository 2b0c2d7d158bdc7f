"""Files of format version 1, which other releases wrote: read, or refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import read_network
from spikegpt_neuro.network.layers import Dense

GOLDEN = Path(__file__).with_name("golden") / "version-1.net"


@pytest.fixture(scope="module")
def first() -> Path:
    return GOLDEN


FIRST_DENSE = "spikegpt/layers/blocks/0/srwkv/key"
FIRST_LIF = "spikegpt/layers/blocks/0/srwkv/lif"
NORM = "spikegpt/layers/embedding/norm"


def _replace_dataset(file: h5py.File, name: str, data: object, **options: object) -> None:
    del file[name]
    file.create_dataset(name, data=data, **options)


def _edit_json(file: h5py.File, group: str, attribute: str, **changes: object) -> None:
    values = json.loads(file[group].attrs[attribute])
    values.update(changes)
    file[group].attrs[attribute] = json.dumps(values)


def _external_layout(file: h5py.File) -> None:
    values = file[f"{FIRST_LIF}/offset"][...]
    del file[f"{FIRST_LIF}/offset"]
    file[FIRST_LIF].create_dataset(
        "offset", values.shape, "int32", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    )


def _virtual(file: h5py.File) -> None:
    del file[f"{FIRST_LIF}/offset"]
    layout = h5py.VirtualLayout((16,), "int32")
    layout[:] = h5py.VirtualSource("other.net", "x", (16,))
    file[FIRST_LIF].create_virtual_dataset("offset", layout)


def _huge(file: h5py.File) -> None:
    del file[f"{FIRST_DENSE}/weight"]
    file.create_dataset(f"{FIRST_DENSE}/weight", (1 << 24, 1 << 24), "int8", chunks=(1024, 1024))


def _huge_contiguous(file: h5py.File) -> None:
    del file[f"{FIRST_DENSE}/weight"]
    space = h5py.h5s.create_simple((1 << 24, 1 << 24))
    h5py.h5d.create(file[FIRST_DENSE].id, b"weight", h5py.h5t.STD_I8LE, space)


def _swap_indices(file: h5py.File) -> None:
    one, other = file[FIRST_DENSE], file[FIRST_LIF]
    one.attrs["index"], other.attrs["index"] = other.attrs["index"], one.attrs["index"]


def _set(path: str, attribute: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[path].attrs[attribute] = value

    return edit


def _delete(path: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(path)


def _create(path: str, data: object) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset(path, data=data)


def _data(path: str, data: object, **options: object) -> Callable[[h5py.File], None]:
    return lambda file: _replace_dataset(file, path, data, **options)


def _json(path: str, attribute: str, **changes: object) -> Callable[[h5py.File], None]:
    return lambda file: _edit_json(file, path, attribute, **changes)


def _link(path: str, target: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[path]
        file[path] = target

    return edit


def _self_link(file: h5py.File) -> None:
    file["spikegpt/layers/loop"] = file["spikegpt/layers"]


def _sums_beyond_32_bits(file: h5py.File) -> None:
    """16-bit operands and 1,024 weights of 127: 4.3e9 at most."""
    shift = "spikegpt/layers/blocks/0/srffn/key"
    _replace_dataset(file, f"{shift}/weight", np.full((64, 1024), 127, np.int8))
    for part, value in (("inFeatures", 1024), ("shape", [64]), ("outFeatures", 64)):
        _replace_dataset(file, f"{shift}/{part}", np.array(value))
    _edit_json(file, "spikegpt/layers/blocks/0/srffn/shift_key", "output", bits=16)


zeros16 = np.zeros(16, np.int32)
HOSTILE: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "other format": (_set("/", "format", "other"), "not a spikegpt-neuro network"),
    "other version": (_set("/", "format_version", 2), "format version 2"),
    "unknown root attribute": (_set("/", "extra", 1), "unknown attribute 'extra'"),
    "unknown root group": (lambda f: f.create_group("layer"), "unknown group 'layer'"),
    "unknown member": (lambda f: f.create_group("spikegpt/more"), "unknown member 'more'"),
    "n_layer not whole": (_set("/", "n_layer", 2.5), "must be an integer"),
    "n_layer huge": (_set("/", "n_layer", 10**9), "n_layer is 1000000000"),
    "n_layer NaN": (_set("/", "n_layer", float("nan")), "must be an integer"),
    "n_layer wrong": (_set("/", "n_layer", 3), "n_layer is 3"),
    "n_embd wrong": (_set("/", "n_embd", 17), "n_embd is 17"),
    "vocabulary size wrong": (_set("/", "vocabulary_size", 12), "the vocabulary has 12"),
    "source not an object": (_set("/", "source", "[1]"), "must be a JSON object"),
    "source not JSON": (_set("/", "source", "{"), "is not JSON"),
    "source nested": (_set("/", "source", "[" * 50_000), "is not JSON"),
    "vocabulary not UTF-8": (_data("spikegpt/vocabulary", np.full(4, 0xFF, np.uint8)), "not UTF-8"),
    "vocabulary of floats": (_data("spikegpt/vocabulary", np.zeros(4)), "must be bytes"),
    "vocabulary a group": (
        lambda f: (f.__delitem__("spikegpt/vocabulary"), f.create_group("spikegpt/vocabulary")),
        "must be bytes",
    ),
    "unknown kind": (_set(FIRST_LIF, "kind", "spiking_magic"), "unknown kind 'spiking_magic'"),
    "kind not text": (_set(FIRST_LIF, "kind", 7), "unknown kind"),
    "unknown layer attribute": (_set(FIRST_LIF, "colour", 7), "unknown attribute 'colour'"),
    "unknown dataset": (_create(f"{FIRST_LIF}/extra", zeros16), "unknown dataset 'extra'"),
    "missing dataset": (_delete(f"{FIRST_LIF}/offset"), "dataset 'offset' missing"),
    "missing layer": (_delete(FIRST_LIF), "indices are not"),
    "dataset outside a layer": (_create("spikegpt/layers/x", zeros16), "outside a layer"),
    "empty group": (lambda f: f.create_group("spikegpt/layers/x"), "empty group"),
    "too deep": (lambda f: f.create_group("spikegpt/layers/" + "a/" * 12), "too deeply"),
    "hard link loop": (_self_link, "two names"),
    "index an array": (_set(FIRST_LIF, "index", np.full(7000, 0x41)), "must be an integer"),
    "kind an array": (_set(FIRST_LIF, "kind", ["lif", "lif"]), "unknown kind None"),
    "inputs an array": (_set(FIRST_LIF, "inputs", ["[]"] * 900), "is not JSON"),
    "index twice": (_set(FIRST_LIF, "index", 3), "is taken by"),
    "index not whole": (_set(FIRST_LIF, "index", "x"), "must be an integer"),
    "index huge": (_set(FIRST_LIF, "index", 2**40), "indices are not"),
    "order broken": (_swap_indices, "no earlier layer provides"),
    "wrong dtype": (_data(f"{FIRST_LIF}/offset", np.zeros(16)), "dtype float64, must be int32"),
    "wide weights": (
        _data(f"{FIRST_DENSE}/weight", np.zeros((16, 16), np.int64)), "dtype int64, must be int8",
    ),
    "big-endian": (_data(f"{FIRST_LIF}/offset", zeros16.astype(">i4")), "must be int32"),
    "wrong shape": (_data(f"{FIRST_LIF}/offset", np.zeros(15, np.int32)), "shape (15,)"),
    "wrong dimensions": (_data(f"{FIRST_LIF}/offset", np.zeros((4, 4), np.int32)), "2 dimensions"),
    "empty array": (_data(f"{FIRST_LIF}/offset", np.zeros(0, np.int32)), "shape (0,)"),
    "out of range": (_data(f"{FIRST_LIF}/shift", np.full(16, 63, np.int32)), "allowed 0..62"),
    "negative shift": (_data(f"{FIRST_LIF}/shift", np.full(16, -1, np.int32)), "allowed 0..62"),
    "chunked": (_data(f"{FIRST_LIF}/offset", zeros16, chunks=(4,)), ""),
    "compressed": (_data(f"{FIRST_LIF}/offset", zeros16, compression="gzip"), ""),
    "external storage": (_external_layout, "in other files"),
    "virtual": (_virtual, "in other files"),
    "huge chunked": (_huge, "declares"),
    "huge contiguous": (_huge_contiguous, "declares"),
    "soft link to a layer": (
        _link(FIRST_LIF, h5py.SoftLink("/spikegpt/layers/head")), "is a link"),
    "external link to a layer": (
        _link(FIRST_LIF, h5py.ExternalLink("/etc/passwd", "/x")), "is a link"),
    "external link to a dataset": (
        _link(f"{FIRST_LIF}/offset", h5py.ExternalLink("other.net", "/x")), "is a link"),
    "soft link to a dataset": (
        _link(f"{FIRST_LIF}/offset", h5py.SoftLink(f"/{FIRST_LIF}/multiplier")), "is a link"),
    "link for the vocabulary": (
        _link("spikegpt/vocabulary", h5py.SoftLink("/spikegpt/layers")), "is a link"),
    "link for everything": (_link("spikegpt", h5py.ExternalLink("x.net", "/")), "is a link"),
    "scale NaN": (_json(FIRST_LIF, "output", scale=float("nan")), "must be finite"),
    "scale infinite": (_json(FIRST_LIF, "output", scale=float("inf")), "must be finite"),
    "scale negative": (_json(FIRST_LIF, "output", scale=-1.0), "must be finite"),
    "scale text": (_json(FIRST_LIF, "output", scale="1"), "must be a number"),
    "scale beyond float": (_json(FIRST_LIF, "output", scale=10**400), "must be finite"),
    "unknown payload": (_json(FIRST_LIF, "output", payload="analogue"), "payload 'analogue'"),
    "no bits": (_json(FIRST_LIF, "output", bits=0), "must be 1..31"),
    "too many bits": (_json(FIRST_LIF, "output", bits=33, signed=True), "must be 2..32"),
    "unsigned 32 bits": (_json(FIRST_LIF, "output", payload="graded", bits=32), "must be 1..31"),
    "bits true": (_json(FIRST_LIF, "output", bits=True), "must be an integer"),
    "bits huge": (_json(FIRST_LIF, "output", bits=4 * 10**9), "must be 1..31"),
    "size zero": (_json(FIRST_LIF, "output", size=0), "size is 0"),
    "size huge": (_json(FIRST_LIF, "output", size=2**62), "must be <= 67108864"),
    "unknown port key": (_json(FIRST_LIF, "output", colour=1), "unknown key 'colour'"),
    "output not an object": (_set(FIRST_LIF, "output", "3"), "must be a JSON object"),
    "unknown scalar": (_json(FIRST_LIF, "scalars", colour=1), "unknown key 'colour'"),
    "scalar out of range": (_json(FIRST_LIF, "scalars", threshold=0), "allowed 1..131071"),
    "scalar true": (_json(FIRST_LIF, "scalars", threshold=True), "must be an integer"),
    "scalar float": (_json(FIRST_LIF, "scalars", threshold=1.5), "must be an integer"),
    "levels beyond the port": (_json(FIRST_LIF, "scalars", levels=2), "levels do not fit"),
    "inputs unknown": (_set(FIRST_LIF, "inputs", '["nowhere"]'), "no earlier layer provides"),
    "inputs missing": (_set(FIRST_LIF, "inputs", "[]"), "0 inputs"),
    "inputs not a list": (_set(FIRST_LIF, "inputs", "4"), "must be a list of names"),
    "a norm of the token": (_set(NORM, "inputs", '["token"]'), "no earlier layer provides"),
    "a norm too wide": (_json(NORM, "scalars", input_shift=16), ""),
    "a stream of other bits": (_json(NORM, "output", bits=30), "a layer_norm gives 24 bits"),
    "operands too wide": (
        _json("spikegpt/layers/blocks/0/srwkv/shift_key", "output", bits=25), "at most 24 signed"),
    "sums beyond 32 bits": (_sums_beyond_32_bits, "allowed 0..2147483647"),
    "stock size missing": (_delete(f"{FIRST_DENSE}/inFeatures"), "'inFeatures' missing"),
    "transposed table": (
        _data("spikegpt/layers/embedding/table/table", np.zeros((2, 11), np.uint8)), "11 bytes a"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_error(name: str, first: Path, tmp_path: Path) -> None:
    edit, expected = HOSTILE[name]
    path = tmp_path / "hostile.net"
    shutil.copy(first, path)
    with h5py.File(path, "r+") as file:
        edit(file)
    if not expected:  # legal: 1 bit and 16 of shift still fit; how values are stored is free
        read_network(path)
        return
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_listed_at_once(first: Path, tmp_path: Path) -> None:
    path = tmp_path / "hostile.net"
    shutil.copy(first, path)
    with h5py.File(path, "r+") as file:
        file[FIRST_LIF].attrs["colour"] = 1
        _replace_dataset(file, f"{FIRST_DENSE}/weight", np.zeros((16, 16)))
        _edit_json(file, NORM, "scalars", epsilon="x")
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 10))
def test_a_truncated_file_is_one_clear_error(share: float, first: Path, tmp_path: Path) -> None:
    content = first.read_bytes()
    path = tmp_path / "short.net"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError):
        read_network(path)


def test_a_file_one_byte_short_is_one_clear_error(first: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.net"
    path.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(InputError):
        read_network(path)


def test_a_stock_netx_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "stock.net"
    with h5py.File(path, "w") as file:
        group = file.create_group("layer/0")
        group["type"] = np.array([b"input"], "S10")
    with pytest.raises(InputError, match="stock NetX"):
        read_network(path)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.net", tmp_path / "no" / "folder.net"):
        with pytest.raises(InputError, match=r"is a folder|does not exist"):
            read_network(path)
    (tmp_path / "empty.net").touch()
    with pytest.raises(InputError, match="not HDF5"):
        read_network(tmp_path / "empty.net")
    (tmp_path / "text.net").write_text("not HDF5")
    with pytest.raises(InputError, match="not HDF5"):
        read_network(tmp_path / "text.net")


def test_what_version_1_stored_beside_the_weights_is_computed_from_them(tmp_path: Path) -> None:
    path = tmp_path / "first.net"
    shutil.copy(GOLDEN, path)
    with h5py.File(path, "r+") as file:
        groups: list[str] = []
        file.visititems(
            lambda name, item: groups.append(name) if item.attrs.get("kind") == "dense" else None
        )
        assert len(groups) == 15
        for name in groups:
            file[name]["fan_out"][:] = 0
            _edit_json(file, name, "scalars", bound=0)
    read = read_network(path)
    for layer in read.layers:
        if isinstance(layer, Dense):
            wide = layer.weight.astype(np.int64)
            np.testing.assert_array_equal(layer.fan_out, (wide != 0).sum(axis=0))
            operand = read[layer.inputs[0]].output.high
            assert read.bound(layer) == np.abs(wide).sum(axis=1).max() * operand > 0


def test_flipped_bytes_give_a_valid_network_or_one_clear_error(tmp_path: Path) -> None:
    """Version 1 has no checksum: a flipped weight is another valid network."""
    content, rng = GOLDEN.read_bytes(), np.random.default_rng(0)
    path = tmp_path / "flipped.net"
    for _ in range(15):
        flipped = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 5)):
            flipped[position] ^= rng.integers(1, 256)
        path.write_bytes(flipped)
        try:
            network = read_network(path)
        except InputError:
            continue
        assert isinstance(network, Network)
