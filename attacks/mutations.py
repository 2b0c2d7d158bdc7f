"""Ways to change a file: of bytes, and of what the bytes mean with all checksums true again."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Random = np.random.Generator
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 255, 2**31, 2**32 - 1, 2**63, 10**12, 10**30, -(2**63), 0.5, 1e308,
    float("nan"), float("inf"), "", "x", "\u0000", "../../etc/passwd", "lif", "x" * 5000, [], {},
    [[]], [None] * 3, {"a": 1}, [10**9, 10**9],
)  # fmt: skip
_NUMBERS = (0, 1, -1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)


def change_bytes(content: bytes, rng: Random) -> bytes:
    """Flip bits, overwrite, zero, cut out, insert or truncate."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        size = len(changed)
        if not size:
            break
        at = int(rng.integers(size))
        length = int(min(size - at, rng.choice([1, 2, 8, 64, 512, 4096])))
        match int(rng.integers(8)):
            case 0 | 1:
                changed[at] ^= 1 << int(rng.integers(8))
            case 2:
                changed[at] = int(rng.integers(256))
            case 3:
                width = int(rng.choice([1, 2, 4, 8]))
                value = int(_NUMBERS[rng.integers(len(_NUMBERS))]) % (1 << 8 * width)
                changed[at : at + width] = value.to_bytes(width, "little")[: size - at]
            case 4:
                changed[at : at + length] = bytes(length)
            case 5:
                del changed[at : at + length]
            case 6:
                source = int(rng.integers(size))
                changed[at:at] = changed[source : source + length]
            case _:
                del changed[at:]
    return bytes(changed)


def change_json(value: Any, rng: Random) -> Any:
    """The value with one of its nodes replaced, removed, added or named otherwise."""
    path: list[Any] = []
    node = value
    while isinstance(node, dict | list) and node and (not path or rng.random() < 0.8):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        path.append(keys[int(rng.integers(len(keys)))])
        node = node[path[-1]]
    if not path:
        return ODD[int(rng.integers(len(ODD)))]
    owner = value
    for key in path[:-1]:
        owner = owner[key]
    key, odd = path[-1], ODD[int(rng.integers(len(ODD)))]
    match int(rng.integers(5)):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, dict):
            owner[str(odd)[:30]] = owner.pop(key)
        case 2 if isinstance(owner, list):
            owner.append(owner[key])
        case 3 if type(owner[key]) is int:
            owner[key] += int(rng.integers(-3, 4))
        case _:
            owner[key] = odd
    return value


def change_json_file(content: bytes, rng: Random) -> bytes:
    """JSON with one node changed."""
    return json.dumps(change_json(json.loads(content), rng)).encode("utf-8", "replace")


def change_tokens(content: bytes, rng: Random) -> bytes:
    """A text with one of its words replaced by an odd value or by another word."""
    words = content.split(b" ")
    at = int(rng.integers(len(words)))
    odd = str(ODD[int(rng.integers(len(ODD)))]).encode("utf-8", "replace")
    words[at] = odd if rng.random() < 0.5 else words[int(rng.integers(len(words)))]
    return b" ".join(words)


def _varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def change_message(content: bytes, rng: Random) -> bytes:
    """A protocol buffer with one field changed, removed or repeated; all lengths true again."""
    from spikegpt_neuro.vocabulary.sentencepiece import message_fields

    found = list(message_fields(content))
    # the few fields that are not pieces as often as those that are
    by_number: dict[int, list[int]] = {}
    for place, (number, _) in enumerate(found):
        by_number.setdefault(number, []).append(place)
    places = list(by_number.values())[int(rng.integers(len(by_number)))]
    at = places[int(rng.integers(len(places)))]
    number, value = found[at]
    match int(rng.integers(6)):
        case 0:
            del found[at]
        case 1:
            found.insert(at, found[int(rng.integers(len(found)))])
        case 2:
            found[at] = int(rng.integers(1, 50)), value
        case _ if isinstance(value, int):
            found[at] = number, _NUMBERS[int(rng.integers(len(_NUMBERS)))] % (1 << 64)
        case _:
            try:
                changed = change_message(value, rng)
            except ValueError:  # no message
                changed = change_bytes(value, rng)
            found[at] = number, changed
    written = b""
    for number, value in found:
        if isinstance(value, int):
            written += _varint(number << 3) + _varint(value)
        elif len(value) == 4 and number == 2:
            written += _varint(number << 3 | 5) + value
        else:
            written += _varint(number << 3 | 2) + _varint(len(value)) + value
    return written


def change_hdf5(content: bytes, rng: Random) -> bytes:
    """HDF5 with one attribute, dataset or group changed by the library itself."""
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        name = names[int(rng.integers(len(names)))]
        item = file[name]
        odd = _odd_array(rng)
        attributes = list(item.attrs)
        if attributes and rng.random() < 0.5:
            key = attributes[int(rng.integers(len(attributes)))]
            if isinstance(item.attrs[key], str) and rng.random() < 0.5:
                try:
                    item.attrs[key] = json.dumps(change_json(json.loads(item.attrs[key]), rng))
                except ValueError:
                    item.attrs[key] = odd
            else:
                item.attrs[key] = odd
        elif rng.random() < 0.15:
            del file[name]
        elif rng.random() < 0.15:
            file[f"{name}x{len(names)}"] = h5py.SoftLink("/") if rng.random() < 0.5 else item
        elif isinstance(item, h5py.Dataset):
            if item.size and item.dtype.kind in "iuf" and rng.random() < 0.5:
                place = tuple(int(rng.integers(n)) for n in item.shape)
                with np.errstate(all="ignore"):
                    item[place] = np.array(_NUMBERS[rng.integers(13)]).astype(item.dtype)
            else:
                del file[name]
                file[name] = odd
        else:
            new = f"{name}/{'more' if rng.random() < 0.5 else 'weight'}"
            if new in file:
                del file[new]
            file[new] = odd
    return stream.getvalue()


def _odd_array(rng: Random) -> Any:
    kinds = ("i8", "i1", "f4", "u2", "f8")
    shapes: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (3,), (7000,), (2, 2), (1, 2, 3, 4))
    shape = shapes[int(rng.integers(len(shapes)))]
    match int(rng.integers(5)):
        case 0:
            return np.array([b"dense", b"lif"], "S10")
        case 1:
            return "text" * int(rng.integers(1, 300))
        case 2:
            return np.full(shape, 0x41, kinds[int(rng.integers(5))])
        case 3:
            return np.array(float("nan"))
        case _:
            return np.zeros(shape, kinds[int(rng.integers(5))])


def change_zip(inner: Callable[[bytes, Random], bytes], record: str) -> Any:
    """A changer of one record of an archive, written again with true CRCs; ``record``: its end."""

    def change(content: bytes, rng: Random) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
            entries = old.infolist()
            chosen = [e.filename for e in entries if e.filename.endswith(record)]
            changed = chosen[int(rng.integers(len(chosen)))]
            for entry in entries:
                data = old.read(entry)
                new.writestr(
                    entry.filename, inner(data, rng) if entry.filename == changed else data
                )
        return stream.getvalue()

    return change


def change_safetensors(content: bytes, rng: Random) -> bytes:
    """A safetensors file with one node of its JSON header changed."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(change_json(json.loads(content[8 : 8 + length]), rng)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def change_index(content: bytes, rng: Random) -> bytes:
    """A ``model.net`` with one node of its index changed, and its header true again."""
    from spikegpt_neuro.network.container import Region, seal

    offset, length = (int.from_bytes(content[at : at + 8], "little") for at in (32, 40))
    index = change_json(json.loads(content[offset : offset + length]), rng)
    text = json.dumps(index).encode()
    regions = []
    try:
        entries = [a for layer in index["layers"] for a in layer["arrays"].values()]
        for entry in [*entries, index["vocabulary"]]:
            size = math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize
            regions.append(Region("", int(entry["offset"]), size, ""))
        stream = io.BytesIO(content + text)
        seal(stream, 2, (len(content), len(text)), regions)
    except Exception:  # the change made it unsealable; its index alone is true then
        stream = io.BytesIO(content + text)
        seal(stream, 2, (len(content), len(text)), [])
    return stream.getvalue()
