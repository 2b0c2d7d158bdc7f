"""``model.net``: round trips, and files that are wrong in every way we could think of."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.file import network_writer, read_network, write_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Port

SHAPES = {
    "upstream": RandomShape(n_embd=16, vocabulary_size=11),
    "real embedding and ffnPre": RandomShape(
        n_embd=12, vocabulary_size=300, binary_embedding=False, ffn_pre=True
    ),
    "spike-driven binary": RandomShape("spike-driven", n_embd=20, vocabulary_size=7),
    "spike-driven graded": RandomShape("spike-driven", 1, n_embd=9, vocabulary_size=5, levels=3),
    "ternary": RandomShape(n_embd=20, vocabulary_size=7, weight_bits=2),
    "6 bits": RandomShape("spike-driven", n_embd=36, vocabulary_size=7, weight_bits=6),
}
VOCABULARY = json.dumps({"0": "a", "1": "\u00e9", "2": "\U0001f409"}, ensure_ascii=False)


def _network(name: str = "upstream") -> Network:
    network = random_network(SHAPES[name])
    return dataclasses.replace(network, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "model.net"
    write_network(_network(), path)
    return path


def _assert_equal(first: Network, second: Network) -> None:
    assert first.info == second.info
    assert first.vocabulary == second.vocabulary
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    for one, other in zip(first.layers, second.layers, strict=True):
        assert type(one) is type(other)
        assert one.inputs == other.inputs
        assert one.output == other.output
        for name in one.array_specs():
            assert getattr(one, name).dtype == getattr(other, name).dtype
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        for name in one.scalar_ranges():
            assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("name", SHAPES)
def test_a_network_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    network = _network(name)
    write_network(network, tmp_path / "model.net")
    read = read_network(tmp_path / "model.net")
    _assert_equal(network, read)
    write_network(read, tmp_path / "again.net")
    assert (tmp_path / "again.net").read_bytes() == (tmp_path / "model.net").read_bytes()


@pytest.mark.parametrize(("bits", "share"), [(4, 1 / 2), (2, 1 / 4)])
def test_weights_of_few_bits_take_few_bytes(bits: int, share: float, tmp_path: Path) -> None:
    sizes = {}
    for width in (8, bits):
        shape = RandomShape(n_layer=1, n_embd=256, vocabulary_size=7, weight_bits=width)
        write_network(random_network(shape), tmp_path / "model.net")
        read = read_network(tmp_path / "model.net")
        dense = [layer for layer in read.layers if isinstance(layer, Dense)]
        assert {layer.weight_bits for layer in dense} == {width}
        stored = sum(layer.weight.nbytes for layer in dense)
        sizes[width] = stored
        assert (tmp_path / "model.net").stat().st_size < stored + 250_000
    assert sizes[bits] == share * sizes[8]


@pytest.mark.parametrize("inputs", [0, -1, 17, 10**12])
def test_packed_rows_must_hold_their_inputs(inputs: int, tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(_network("ternary"), path)
    with h5py.File(path, "r+") as file:
        file[f"{FIRST_DENSE}/inFeatures"][()] = inputs * 5
    with pytest.raises(InputError, match=r"weight_2bit|inFeatures"):
        read_network(path)


def test_writing_over_the_file_a_network_is_mapped_from(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(_network(), path)
    network = read_network(path)
    write_network(network, path)
    _assert_equal(network, read_network(path))
    assert [p.name for p in tmp_path.iterdir()] == ["model.net"]


def test_weights_are_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(random_network(RandomShape(n_embd=64, vocabulary_size=70)), path)
    network = read_network(path)
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    assert len(dense) == 2 * 7 + 1
    for layer in dense:
        assert not layer.weight.flags.owndata
        assert not layer.weight.flags.writeable
        assert layer.weight.ctypes.data % 64 == 0


# --- hostile files ------------------------------------------------------------------------------

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


def _huge_stock(file: h5py.File) -> None:
    del file[f"{FIRST_DENSE}/shape"]
    file.create_dataset(f"{FIRST_DENSE}/shape", (1 << 40,), "int64", chunks=(1024,))


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
    "other version": (_set("/", "format_version", 3), "format version 3"),
    "unknown root attribute": (_set("/", "extra", 1), "unknown attribute 'extra'"),
    "unknown root group": (lambda f: f.create_group("layer"), "unknown group 'layer'"),
    "unknown member": (lambda f: f.create_group("spikegpt/more"), "unknown member 'more'"),
    "n_layer not whole": (_set("/", "n_layer", 2.5), "must be an integer"),
    "n_layer NaN": (_set("/", "n_layer", float("nan")), "must be an integer"),
    "n_layer wrong": (_set("/", "n_layer", 3), "n_layer is 3"),
    "n_embd wrong": (_set("/", "n_embd", 17), "n_embd is 17"),
    "vocabulary size wrong": (_set("/", "vocabulary_size", 12), "the vocabulary has 12"),
    "source not an object": (_set("/", "source", "[1]"), "must be a JSON object"),
    "source not JSON": (_set("/", "source", "{"), "cannot be read"),
    "source nested": (_set("/", "source", "[" * 50_000), "cannot be read"),
    "vocabulary not UTF-8": (_data("spikegpt/vocabulary", np.full(4, 0xFF, np.uint8)), "cannot be"),
    "vocabulary of floats": (_data("spikegpt/vocabulary", np.zeros(4)), "dtype float64"),
    "vocabulary a group": (
        lambda f: (f.__delitem__("spikegpt/vocabulary"), f.create_group("spikegpt/vocabulary")),
        "must be a dataset",
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
    "chunked": (_data(f"{FIRST_LIF}/offset", zeros16, chunks=(4,)), "contiguously"),
    "compressed": (_data(f"{FIRST_LIF}/offset", zeros16, compression="gzip"), "contiguously"),
    "external storage": (_external_layout, "contiguously"),
    "virtual": (_virtual, "contiguously"),
    "huge chunked": (_huge, "contiguously"),
    "huge contiguous": (_huge_contiguous, "beyond the end"),
    "huge stock dataset": (_huge_stock, "must be a dataset of one value"),
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
    "scale beyond float": (_json(FIRST_LIF, "output", scale=10**400), "cannot be read"),
    "unknown payload": (_json(FIRST_LIF, "output", payload="analogue"), "payload 'analogue'"),
    "no bits": (_json(FIRST_LIF, "output", bits=0), "must be 1..31"),
    "too many bits": (_json(FIRST_LIF, "output", bits=33, signed=True), "must be 2..32"),
    "unsigned 32 bits": (_json(FIRST_LIF, "output", payload="graded", bits=32), "must be 1..31"),
    "bits true": (_json(FIRST_LIF, "output", bits=True), "must be int"),
    "size zero": (_json(FIRST_LIF, "output", size=0), "size is 0"),
    "size huge": (_json(FIRST_LIF, "output", size=2**62), "shape (16,)"),
    "unknown port key": (_json(FIRST_LIF, "output", colour=1), "unknown key 'colour'"),
    "output not an object": (_set(FIRST_LIF, "output", "3"), "cannot be read"),
    "unknown scalar": (_json(FIRST_LIF, "scalars", colour=1), "unknown key 'colour'"),
    "scalar out of range": (_json(FIRST_LIF, "scalars", threshold=0), "allowed 1..131071"),
    "scalar true": (_json(FIRST_LIF, "scalars", threshold=True), "must be an integer"),
    "scalar float": (_json(FIRST_LIF, "scalars", threshold=1.5), "must be an integer"),
    "levels beyond the port": (_json(FIRST_LIF, "scalars", levels=2), "levels do not fit"),
    "inputs unknown": (_set(FIRST_LIF, "inputs", '["nowhere"]'), "no earlier layer provides"),
    "inputs missing": (_set(FIRST_LIF, "inputs", "[]"), "0 inputs"),
    "inputs not a list": (_set(FIRST_LIF, "inputs", "4"), "cannot be read"),
    "a norm of the token": (_set(NORM, "inputs", '["token"]'), "no earlier layer provides"),
    "a norm too wide": (_json(NORM, "scalars", input_shift=16), ""),
    "a stream of other bits": (_json(NORM, "output", bits=30), "a layer_norm gives 24 bits"),
    "operands too wide": (
        _json("spikegpt/layers/blocks/0/srwkv/shift_key", "output", bits=17), "at most 16 signed"),
    "a stored bound": (_json(FIRST_DENSE, "scalars", bound=7), "unknown key 'bound'"),
    "sums beyond 32 bits": (_sums_beyond_32_bits, "allowed 0..2147483647"),
    "stock type": (_data(f"{FIRST_DENSE}/type", np.array([b"conv"], "S10")), "must be b'dense'"),
    "stock size": (_data(f"{FIRST_DENSE}/inFeatures", np.int64(17)), "must be 16"),
    "a stored fan-out": (_create(f"{FIRST_DENSE}/fan_out", zeros16), "unknown dataset 'fan_out'"),
    "transposed table": (
        _data("spikegpt/layers/embedding/table/table", np.zeros((2, 11), np.uint8)), "11 bytes a"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_clear_error(name: str, written: Path, tmp_path: Path) -> None:
    edit, expected = HOSTILE[name]
    path = tmp_path / "hostile.net"
    shutil.copy(written, path)
    with h5py.File(path, "r+") as file:
        edit(file)
    if name == "a norm too wide":  # 1 bit and 16 of shift still fit; this one is legal
        read_network(path)
        return
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_listed_at_once(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "hostile.net"
    shutil.copy(written, path)
    with h5py.File(path, "r+") as file:
        file[FIRST_LIF].attrs["colour"] = 1
        _replace_dataset(file, f"{FIRST_DENSE}/weight", np.zeros((16, 16)))
        _edit_json(file, NORM, "scalars", epsilon="x")
    with pytest.raises(InputError) as caught:
        read_network(path)
    assert len(caught.value.problems) == 3


def _as_version_1(path: Path, bound: int, fan_out: int) -> None:
    """What the first release wrote: with facts that follow from the weights."""
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
        groups: list[str] = []
        file.visititems(
            lambda name, item: groups.append(name) if item.attrs.get("kind") == "dense" else None
        )
        for name in groups:
            inputs = file[name]["weight"].shape[1]
            file[name]["fan_out"] = np.full(inputs, fan_out, np.int32)
            _edit_json(file, name, "scalars", bound=bound)


def test_what_version_1_stored_beside_the_weights_is_computed_from_them(
    written: Path, tmp_path: Path
) -> None:
    path = tmp_path / "first.net"
    shutil.copy(written, path)
    _as_version_1(path, bound=0, fan_out=0)
    read = read_network(path)
    _assert_equal(_network(), read)
    for layer in read.layers:
        if isinstance(layer, Dense):
            wide = layer.weight.astype(np.int64)
            np.testing.assert_array_equal(layer.fan_out, (wide != 0).sum(axis=0))
            operand = read[layer.inputs[0]].output.high
            assert read.bound(layer) == np.abs(wide).sum(axis=1).max() * operand > 0
    write_network(read, path)
    assert path.read_bytes() == written.read_bytes()


@pytest.mark.parametrize("outputs", [1, 254, 255, 256, 511, 700])
def test_facts_of_weights_do_not_depend_on_the_rows_handled_at_a_time(outputs: int) -> None:
    weight = np.full((outputs, 3), -128, np.int8)
    weight[:, 1] = np.random.default_rng(outputs).integers(-127, 128, outputs)
    weight[:, 2] = 0
    layer = Dense("a", ("b",), Port(outputs, "accumulator", 32, True, 0.0), weight, 24)
    assert layer.fan_out.tolist() == [outputs, np.count_nonzero(weight[:, 1]), 0]
    assert layer.largest_row_sum == 128 + np.abs(weight[:, 1].astype(int)).max()


@pytest.mark.parametrize("share", np.linspace(0, 0.999, 40))
def test_a_truncated_file_is_one_clear_error(share: float, written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    path = tmp_path / "short.net"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError):
        read_network(path)


def test_a_file_one_byte_short_is_one_clear_error(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.net"
    path.write_bytes(written.read_bytes()[:-1])
    with pytest.raises(InputError):
        read_network(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bytes_give_a_valid_network_or_one_clear_error(
    data: st.DataObject, written: Path
) -> None:
    content = bytearray(written.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= data.draw(st.integers(1, 255))
    path = written.with_name("flipped.net")
    path.write_bytes(content)
    try:
        network = read_network(path)
    except InputError:
        return
    assert isinstance(network, Network)  # a flipped weight is another valid network


def test_a_user_block_is_refused(written: Path, tmp_path: Path) -> None:
    path = tmp_path / "block.net"
    with h5py.File(path, "w", userblock_size=512) as file, h5py.File(written) as source:
        source.copy("spikegpt", file)
        file.attrs.update(source.attrs)
    with pytest.raises(InputError, match="user block"):
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
        with pytest.raises(InputError, match="is not a file"):
            read_network(path)
    (tmp_path / "empty.net").touch()
    with pytest.raises(InputError, match="cannot be read"):
        read_network(tmp_path / "empty.net")
    (tmp_path / "text.net").write_text("not HDF5")
    with pytest.raises(InputError, match="cannot be read"):
        read_network(tmp_path / "text.net")


# --- writing ------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_network(_network(), path)
    before = path.read_bytes()
    network = _network("spike-driven binary")
    broken = dataclasses.replace(network.layers[1], epsilon=0)
    with pytest.raises(InputError, match="epsilon"), network_writer(path) as writer:
        writer.add(network.layers[0])
        writer.add(broken)
    assert path.read_bytes() == before
    with pytest.raises(KeyboardInterrupt), network_writer(path) as writer:
        writer.add(network.layers[0])
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.net"]


def test_an_unfinished_network_is_never_put_in_place(tmp_path: Path) -> None:
    network = _network()
    path = tmp_path / "model.net"
    with pytest.raises(InputError), network_writer(path) as writer:
        for layer in network.layers[:-1]:
            writer.add(layer)
        writer.finish(network.info, "")
    with pytest.raises(InputError), network_writer(path) as writer:
        for layer in network.layers:
            writer.add(layer)
    assert not list(tmp_path.iterdir())


def test_writing_to_a_folder_or_into_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_network(_network(), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        write_network(_network(), tmp_path / "no" / "model.net")


def test_a_layer_reports_all_its_problems_at_once() -> None:
    lif = _network()["blocks.0.srwkv.lif"]
    broken = dataclasses.replace(
        lif, output=Port(16, "graded", 40, True, -1.0), offset=np.zeros(3, np.int32), threshold=0,
        levels=99, inputs=(),
    )  # fmt: skip
    assert len(list(broken.problems())) == 6


def test_a_network_reports_the_problems_of_all_layers_at_once() -> None:
    network = _network()
    layers = list(network.layers)
    layers[1] = dataclasses.replace(layers[1], epsilon=0)
    layers[-1] = dataclasses.replace(layers[-1], inputs=("nowhere",))
    with pytest.raises(InputError) as caught:
        dataclasses.replace(network, layers=tuple(layers))
    assert len(caught.value.problems) == 2
