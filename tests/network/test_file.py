"""``model.net``: round trips, and files that are wrong in every way we could think of."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegpt_neuro.backends import get_backend
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.network import Chain, ChainInfo, Network
from spikegpt_neuro.network.container import Region, seal
from spikegpt_neuro.network.file import (
    FORMAT_VERSION,
    network_writer,
    read_network,
    write_network,
)
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.random_networks import RandomShape, random_network
from spikegpt_neuro.network.schema import Port
from spikegpt_neuro.network.slayer_connections import ChannelDelay, NetxDense, RasterInput
from spikegpt_neuro.network.slayer_layers import Cuba

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


def test_a_chain_comes_back_as_it_was(tmp_path: Path) -> None:
    spikes = ("binary", 1, False, 1.0)
    first = RasterInput("input.raster", (), Port(3, *spikes))
    held = ChannelDelay("a.delay", (first.name,), first.output, np.ones(3, np.int32), 1)
    weight = np.array([[1, -256, 7], [256, 0, 5]], np.int16)
    synapse = NetxDense("a.synapse", (held.name,), Port(2, "accumulator", 32, True, 1.0), weight)
    bias = np.array([5, -32768], np.int32)
    neuron = Cuba("a.neuron", (synapse.name,), Port(2, *spikes), bias, 4096, 128, 131072)
    info = ChainInfo(source={"file": "other.net"})
    write_network(Chain(info, (first, held, synapse, neuron)), tmp_path / "chain.net")
    read = read_network(tmp_path / "chain.net")
    assert isinstance(read, Chain)
    assert read.info == info
    assert [layer.kind for layer in read.layers] == [
        "raster_input", "channel_delay", "netx_dense", "cuba",
    ]  # fmt: skip
    cuba = read["a.neuron"]
    assert isinstance(cuba, Cuba)
    assert cuba.bias.tolist() == [5, -32768]
    assert (cuba.current_decay, cuba.voltage_decay, cuba.threshold) == (4096, 128, 131072)
    assert np.asarray(read["a.synapse"].weight).tolist() == weight.tolist()  # type: ignore[attr-defined]


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


@pytest.mark.parametrize("version", [1, 2])
def test_golden_files_of_every_version_are_read(version: int) -> None:
    """Bytes that releases wrote, never written again: what they hold must not change."""
    golden = read_network(Path(__file__).with_name("golden") / f"version-{version}.net")
    golden.check_contents()
    assert golden.vocabulary == VOCABULARY
    assert (len(golden.layers), golden.info.layout) == (58, "upstream")
    digest = hashlib.sha256()
    for layer in golden.layers:
        digest.update(f"{layer.name} {layer.kind} {layer.inputs} {layer.output.bits}".encode())
        for name in sorted(layer.array_specs()):
            digest.update(np.ascontiguousarray(getattr(layer, name)))
        digest.update(str([getattr(layer, n) for n in sorted(layer.scalar_ranges())]).encode())
    assert digest.hexdigest() == "c77c243037a84c42f7be1bc57b0fe93d55f1749b3db7308f33fe3df2bc01500f"


@pytest.mark.parametrize("outputs", [1, 254, 255, 256, 511, 700])
def test_facts_of_weights_do_not_depend_on_the_rows_handled_at_a_time(outputs: int) -> None:
    weight = np.full((outputs, 3), -128, np.int8)
    weight[:, 1] = np.random.default_rng(outputs).integers(-127, 128, outputs)
    weight[:, 2] = 0
    layer = Dense("a", ("b",), Port(outputs, "accumulator", 32, True, 0.0), weight, 24)
    assert layer.fan_out.tolist() == [outputs, np.count_nonzero(weight[:, 1]), 0]
    assert layer.largest_row_sum == 128 + np.abs(weight[:, 1].astype(int)).max()


def _index(content: bytes) -> dict[str, Any]:
    """The index, found as docs/file-format.md says, without the reader."""
    offset, length = struct.unpack_from("<QQ", content, 32)
    return dict(json.loads(content[offset : offset + length]))


def _bytes_of(entry: dict[str, Any]) -> int:
    """As docs/file-format.md says; 0 of what is no entry."""
    dtype, shape = entry["dtype"], entry["shape"]
    if dtype.startswith("packed"):
        if len(shape) != 2 or shape[1] < 1:
            return 0
        bits = int(dtype[6:])
        planes = (bits,) if bits <= 5 else (4, bits - 4)
        words = sum(math.ceil(math.ceil(shape[1] / (16 // plane)) / 8) * 8 for plane in planes)
        return int(shape[0] * words * 2)
    return int(math.prod(shape) * np.dtype(dtype).itemsize)


def _sealed(content: bytes, index: object) -> bytes:
    """The file with another index behind it, and all hashes true again: hostile, not damaged."""
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    regions = []
    if isinstance(index, dict):
        entries = [a for layer in index["layers"] for a in layer["arrays"].values()]
        for entry in [*entries, index["vocabulary"]]:
            size = _bytes_of(entry)
            size = size if entry["offset"] + size <= len(content) else 0
            regions.append(Region("", entry["offset"], size, ""))
    stream = io.BytesIO(content + text)
    seal(stream, FORMAT_VERSION, (len(content), len(text)), regions)
    return stream.getvalue()


def test_the_header_is_as_documented(written: Path) -> None:
    content = written.read_bytes()
    assert content[:16] == b"spikegpt-neuro\r\n"
    assert struct.unpack_from("<IIQ", content, 16) == (2, 0, len(content))
    offset, length = struct.unpack_from("<QQ", content, 32)
    assert content[48:80] == hashlib.sha256(content[offset : offset + length]).digest()
    assert content[480:512] == hashlib.sha256(content[:480]).digest()
    with h5py.File(written) as file:  # HDF5 programs see the same index and the same arrays
        assert file["spikegpt/index"][()] == content[offset : offset + length]
        for layer in _index(content)["layers"]:
            for name, entry in layer["arrays"].items():
                dataset = file[f"spikegpt/layers/{layer['name'].replace('.', '/')}/{name}"]
                assert dataset.id.get_offset() == entry["offset"]
                digest = hashlib.sha256(np.ascontiguousarray(dataset[()])).hexdigest()
                assert digest == entry["sha256"]


def test_the_structure_s_hash_is_of_all_that_lies_between() -> None:
    stream = io.BytesIO(bytes(512) + b"x" * 512 + b"array" + b"y" * 2000 + b"{}")
    seal(stream, FORMAT_VERSION, (3029, 2), [Region("", 1024, 5, "")])
    content = stream.getvalue()
    assert content[80:112] == hashlib.sha256(b"x" * 512 + b"y" * 2000).digest()
    assert content[48:80] == hashlib.sha256(b"{}").digest()
    assert content[480:512] == hashlib.sha256(content[:480]).digest()


def test_no_fact_that_follows_from_weights_is_stored(written: Path) -> None:
    assert b"fan_out" not in written.read_bytes()
    assert b"bound" not in written.read_bytes()


def _read_whole(path: Path) -> Network:
    network = read_network(path)
    network.check_contents()
    return network


def test_an_index_that_is_not_the_written_one_is_found_before_it_is_read(written: Path) -> None:
    content = written.read_bytes()
    offset, length = struct.unpack_from("<QQ", content, 32)
    for at in range(offset, offset + length, length // 20):
        changed = bytearray(content)
        changed[at] ^= 4
        path = written.with_name("index.net")
        path.write_bytes(changed)
        with pytest.raises(InputError, match="index does not have the SHA-256 of its header"):
            read_network(path)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(data: st.DataObject, written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = written.with_name("flipped.net")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|says format version 2|not HDF5"):
        _read_whole(path)


@pytest.mark.parametrize("size", [512, 4096])
def test_a_zeroed_sector_or_page_is_found(size: int, written: Path) -> None:
    content = written.read_bytes()
    path = written.with_name("zeroed.net")
    for begin in range(0, len(content), size):
        zeroed = content[:begin] + bytes(min(size, len(content) - begin)) + content[begin + size :]
        if zeroed == content:
            continue
        path.write_bytes(zeroed)
        with pytest.raises(InputError):
            _read_whole(path)


def test_a_truncated_or_longer_file_is_found(written: Path) -> None:
    content = written.read_bytes()
    path = written.with_name("short.net")
    for length in [*range(0, 600, 37), *range(600, len(content), 4999), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_network(path)
    path.write_bytes(content + b"x")
    with pytest.raises(InputError, match="bytes, of"):
        read_network(path)


def test_the_error_names_the_damaged_arrays(written: Path) -> None:
    content = bytearray(written.read_bytes())
    layers = {layer["name"]: layer for layer in _index(bytes(content))["layers"]}
    for name, part in (("blocks.0.srwkv.key", "weight"), ("embedding.table", "table")):
        content[layers[name]["arrays"][part]["offset"]] ^= 1
    path = written.with_name("two.net")
    path.write_bytes(content)
    with pytest.raises(InputError, match="2 of its") as caught:
        _read_whole(path)
    assert set(caught.value.problems) == {"blocks.0.srwkv.key/weight", "embedding.table/table"}


@pytest.mark.parametrize("name", ["emulator", "lava", "lava-fine", "loihi2"])
def test_damaged_weights_are_found_before_a_backend_answers(name: str, written: Path) -> None:
    content = bytearray(written.read_bytes())
    index = _index(bytes(content))
    content[index["layers"][-2]["arrays"]["weight"]["offset"]] ^= 1
    path = written.with_name("damaged.net")
    path.write_bytes(content)
    network = read_network(path)  # its arrays are not read yet
    with pytest.raises(InputError, match=r"head\.projection/weight"):
        get_backend(name).open(network)
    changed = dataclasses.replace(network, vocabulary="")
    with pytest.raises(InputError, match=r"head\.projection/weight"):
        get_backend(name).open(changed)
    with pytest.raises(InputError, match=r"head\.projection/weight"):
        write_network(network, written.with_name("other.net"))


def _at(*path: str | int) -> Callable[[Any, Any], None]:
    def edit(index: Any, value: Any) -> None:
        for key in path[:-1]:
            index = index[key]
        index[path[-1]] = value

    return edit


DENSE = 5
WEIGHT = ("layers", DENSE, "arrays", "weight")
HOSTILE: dict[str, tuple[Callable[[Any, Any], None], Any, str]] = {
    "other format": (_at("format"), "x", "must be 'spikegpt-neuro'"),
    "other version": (_at("format_version"), 3, "must be 2"),
    "unknown key": (_at("extra"), 3, "unknown key 'extra'"),
    "n_layer text": (_at("n_layer"), "2", "must be an integer"),
    "n_layer true": (_at("n_layer"), True, "must be an integer"),
    "n_layer huge": (_at("n_layer"), 10**9, "n_layer is 1000000000"),
    "n_embd huge": (_at("n_embd"), 10**30, "n_embd is 1"),
    "vocabulary size huge": (_at("vocabulary_size"), 10**12, "the vocabulary has 1000000000000"),
    "source a list": (_at("source"), [], "must be a JSON object"),
    "vocabulary floats": (_at("vocabulary", "dtype"), "float64", "unknown dtype"),
    "unknown kind": (_at("layers", 3, "kind"), "magic", "unknown kind 'magic'"),
    "kind a list": (_at("layers", 3, "kind"), [1] * 999, "unknown kind"),
    "a layer no object": (_at("layers", 3), 7, "layer 3: 7, must be a JSON object"),
    "unknown layer key": (_at("layers", 3, "colour"), 7, "unknown key 'colour'"),
    "an array too many": (_at("layers", 3, "arrays", "more"), {}, "key 'dtype' missing"),
    "arrays no object": (_at("layers", 3, "arrays"), [], "must be a JSON object"),
    "bits huge": (_at("layers", 3, "output", "bits"), 4 * 10**9, "must be 2..32"),
    "size huge": (_at("layers", 3, "output", "size"), 10**12, "must be <= 67108864"),
    "scale text": (_at("layers", 3, "output", "scale"), "1", "must be a number"),
    "scale infinite": (_at("layers", 3, "output", "scale"), 10**400, "must be finite"),
    "scale NaN": (_at("layers", 3, "output", "scale"), float("nan"), "must be finite"),
    "inputs text": (_at("layers", 3, "inputs"), "embedding", "must be a list of names"),
    "a stored bound": (_at("layers", DENSE, "scalars", "bound"), 0, "unknown key 'bound'"),
    "shape huge": (_at(*WEIGHT, "shape"), [10**12, 10**12], "beyond the end"),
    "shape negative": (_at(*WEIGHT, "shape"), [-1, -1], "shape of a wrong type"),
    "shape of floats": (_at(*WEIGHT, "shape"), [16.0, 16], "shape of a wrong type"),
    "offset in the header": (_at(*WEIGHT, "offset"), 8, "beyond the end"),
    "offset huge": (_at(*WEIGHT, "offset"), 10**25, "beyond the end"),
    "objects": (_at(*WEIGHT, "dtype"), "O", "unknown dtype 'O'"),
    "other dtype": (_at(*WEIGHT, "dtype"), "uint8", "dtype uint8, must be int8"),
    "flat": (_at(*WEIGHT, "shape"), [256], "1 dimensions, must have 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_one_clear_error(name: str, written: Path) -> None:
    edit, value, expected = HOSTILE[name]
    content = written.read_bytes()
    index = _index(content)
    assert index["layers"][DENSE]["kind"] == "dense"
    edit(index, value)
    path = written.with_name("hostile.net")
    try:
        path.write_bytes(_sealed(content, index))
    except Exception:  # what cannot be sealed is refused before its hashes matter
        path.write_bytes(_sealed(content, json.dumps(index).encode()))
    with pytest.raises(InputError) as caught:
        _read_whole(path)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("dtype", "shape", "said"),
    [
        ("packed2", [20, 21], "reads 20 values, must be 21|operand"),
        ("packed2", [19, 20], "shape"),
        ("packed4", [20, 4 * 10**9], "unknown dtype|beyond the end"),
        ("packed2", [20], "unknown dtype"),
        ("packed2", [20, -1], "shape of a wrong type"),
        ("packed9", [20, 20], "unknown dtype"),
        ("uint16", [20, 8], "unknown dtype 'uint16'"),
    ],
)
def test_packed_weights_are_what_the_index_says(
    dtype: str, shape: list[int], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.net"
    write_network(_network("ternary"), path)
    content = path.read_bytes()
    index = _index(content)
    layer = next(layer for layer in index["layers"] if layer["kind"] == "dense")
    entry = layer["arrays"]["weight"]
    assert (entry["dtype"], entry["shape"]) == ("packed2", [20, 20])
    assert entry["offset"] % 64 == 0 or _bytes_of(entry) < 1024
    entry["dtype"], entry["shape"] = dtype, shape
    path.write_bytes(_sealed(content, index))
    with pytest.raises(InputError, match=f"{said}|structure|damaged"):
        read_network(path)


def test_arrays_that_share_bytes_are_refused(written: Path) -> None:
    content = written.read_bytes()
    index = _index(content)
    first, other = (index["layers"][i]["arrays"]["weight"] for i in (DENSE, DENSE + 2))
    other.update(offset=first["offset"], sha256=first["sha256"])
    path = written.with_name("shared.net")
    path.write_bytes(_sealed(content, json.dumps(index).encode()))
    with pytest.raises(InputError, match="two parts share"):
        read_network(path)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"7", b"[]", b"\xff", b"1" * 9999])
def test_an_index_that_is_no_object(text: bytes, written: Path) -> None:
    path = written.with_name("no.net")
    path.write_bytes(_sealed(written.read_bytes(), text))
    with pytest.raises(InputError):
        read_network(path)


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
