"""The formats that are read: a good file of each, its reader, and how its meaning is changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attacks import mutations
from attacks.mutations import Random

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/network/golden"
EXAMPLE = ROOT / "examples/kjv-4x192"
Change = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Format:
    """``make`` writes a good file; ``read`` gives a digest of what was read, or raises.

    ``change``: changes of meaning, besides those of bytes. ``sealed``: every byte is covered by a
    checksum, so that changed bytes must be refused or read as what they were.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], str]
    change: Change
    sealed: bool = False


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        is_array = isinstance(part, np.ndarray)
        digest.update(np.ascontiguousarray(part).tobytes() if is_array else repr(part).encode())
    return digest.hexdigest()


def _network(path: Path) -> str:
    from spikegpt_neuro.cli.inputs import open_network

    network = open_network(path)
    parts: list[Any] = [network.info, network.vocabulary]
    for layer in network.layers:
        parts += [layer.name, layer.kind, layer.inputs, layer.output]
        parts += [getattr(layer, name) for name in layer.array_specs()]
        parts += [getattr(layer, name) for name in layer.scalar_ranges()]
    return _digest(*parts)


def _make_netx(path: Path) -> None:
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        for index, (outputs, inputs) in enumerate(((6, 5), (4, 6))):
            group = file.create_group(f"layer/{index}")
            group["type"], group["shape"] = np.array([b"dense"]), np.array([outputs])
            group["inFeatures"], group["outFeatures"] = inputs, outputs
            group["weight"] = (rng.integers(-40, 60, (outputs, inputs)) * 2).astype(np.float32)
            group["neuron/type"] = b"CUBA"
            for key, value in (("iDecay", 1024), ("vDecay", 128), ("vThMant", 80), ("refDelay", 1)):
                group[f"neuron/{key}"] = value


def _make_nir(path: Path) -> None:
    import nir

    ones = np.ones(5)
    nodes = {
        "input": nir.Input({"input": np.array([4])}),
        "fc": nir.Linear(np.arange(-10.0, 10.0).reshape(5, 4)),
        "lif": nir.LIF(
            tau=ones * 8e-4, r=ones * 8, v_leak=0 * ones, v_threshold=ones * 90, v_reset=0 * ones
        ),
        "output": nir.Output({"output": np.array([5])}),
    }
    nir.write(path, nir.NIRGraph(nodes, [("input", "fc"), ("fc", "lif"), ("lif", "output")]))


def _nir(path: Path) -> str:
    from spikegpt_neuro.exchange.nir_import import import_nir

    network = import_nir(path)
    return _digest(network.info, [(layer.name, layer.kind) for layer in network.layers])


def _model() -> Any:
    import torch

    from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
    from spikegpt_neuro.model.spikegpt import SpikeGPT, initialise

    torch.manual_seed(0)
    model = SpikeGPT(SpikeGPTConfiguration("upstream", 1, 8, 11))
    initialise(model)
    return model


def _make_pth(path: Path) -> None:
    import torch

    torch.save(_model().state_dict(), path)


def _make_own(path: Path) -> None:
    from spikegpt_neuro.training import checkpoint

    checkpoint.save(path, checkpoint.model_content(_model(), ""))


def _make_safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in _model().state_dict().items()}, path)


def _checkpoint(path: Path) -> str:
    from spikegpt_neuro.converters.checkpoint import read_checkpoint

    found = read_checkpoint(path)
    found.check_values()
    parts = [part for name in sorted(found.tensors) for part in (name, found.array(name))]
    return _digest(found.architecture, found.vocabulary, *parts)


def _trainer(path: Path) -> Any:
    import torch

    from spikegpt_neuro.training.loop import Trainer
    from spikegpt_neuro.training.settings import TrainingSettings

    settings = TrainingSettings(steps=2, batch=1, context=8, save_every=1, evaluate_every=2)
    text = torch.arange(64) % 11
    return Trainer(_model(), settings, text, None, path, "")


def _make_resume(path: Path) -> None:
    trainer = _trainer(path.with_name("model.pt"))
    trainer.run()
    shutil.move(trainer.resume_path, path)


def _resume(path: Path) -> str:
    output = path.with_name(f"{path.name}.model")
    shutil.copy(path, output.with_name(f"{output.name}.resume"))
    trainer = _trainer(output)
    trainer.resume()
    values = [value.numpy() for value in trainer.model.state_dict().values()]
    return _digest(trainer.step, *values)


def _vocabulary(path: Path) -> str:
    from spikegpt_neuro.vocabulary import read_vocabulary

    vocabulary = read_vocabulary(path)
    tokens = vocabulary.encode(ENCODED) if vocabulary.kind != "characters" else []
    stream = vocabulary.stream()
    written = b"".join(stream.push(int(token)) for token in tokens) + stream.finish()
    return _digest(vocabulary.size, vocabulary.text, list(tokens), written)


ENCODED = "to be or not to be"


def _make_pieces(path: Path) -> None:
    """GPT-2's vocab.json; its merges.txt lies beside it."""
    trained = path.with_name("trained.json")
    _make_tokenizer(trained)
    model = json.loads(trained.read_text("utf-8"))["model"]
    path.write_text(json.dumps(model["vocab"]), "utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    path.with_name("merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")


def _make_merges(path: Path) -> None:
    _make_pieces(path.with_name("pieces.json"))
    path.with_name("merges.txt").rename(path)


def _merges(path: Path) -> str:
    folder = path.with_name(f"{path.name}.folder")
    folder.mkdir(exist_ok=True)
    shutil.copy(path.with_name("pieces.json"), folder / "vocab.json")
    shutil.copy(path, folder / "merges.txt")
    return _vocabulary(folder)


def _make_added(path: Path) -> None:
    _make_pieces(path.with_name("vocab.json"))
    path.write_text(json.dumps({"<|pad|>": 70, "<|im_start|>": 71}), "utf-8")


def _added(path: Path) -> str:
    folder = path.with_name(f"{path.name}.folder")
    folder.mkdir(exist_ok=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(path.with_name(name), folder / name)
    shutil.copy(path, folder / "added_tokens.json")
    return _vocabulary(folder)


def _make_sentencepiece(path: Path, *, algorithm: str) -> None:
    import sentencepiece

    # two rules of normalisation: those that are usual take 240,000 bytes
    rules = path.with_name(f"{path.name}.rules")
    rules.write_text("41\t61\nC4 B0\t69\n", "utf-8")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{ENCODED} {i}" for i in range(99)]), vocab_size=300,
        model_prefix=str(path), model_type=algorithm, byte_fallback=True, minloglevel=2,
        user_defined_symbols=["<user>"], num_threads=1, hard_vocab_limit=False,
        normalization_rule_tsv=str(rules),
    )  # fmt: skip
    path.with_name(f"{path.name}.model").rename(path)


def _make_world(path: Path) -> None:
    tokens: list[Any] = [bytes([i]) if i > 127 else chr(i) for i in range(256)]
    tokens += ["to", " to", " be", "or", " not", "\u00e9", b"\xe4\xbd"]
    lines = [
        f"{i} {token!r} {len(token.encode() if isinstance(token, str) else token)}"
        for i, token in enumerate(tokens, 1)
    ]
    path.write_text("\n".join(lines), "utf-8")


def _make_tokenizer(path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(["to be or not to be"] * 9, trainers.BpeTrainer(vocab_size=60))
    tokenizer.save(str(path))


def _text(path: Path) -> str:
    from spikegpt_neuro.texts import read_text

    return _digest(read_text(path))


def _chain() -> Any:
    from spikegpt_neuro.converters.netx import read_netx

    path = Path(__file__).with_name(".chain.net")
    try:
        _make_netx(path)
        return read_netx(path)
    finally:
        path.unlink(missing_ok=True)


def _make_raster(path: Path) -> None:
    with path.open("wb") as stream:  # a path would get another suffix
        np.save(stream, np.eye(5, dtype=np.int64)[[0, 3, 1, 4] * 9])


def _raster(path: Path) -> str:
    from spikegpt_neuro.backends.raster import check_raster
    from spikegpt_neuro.readers.arrays import read_array

    return _digest(check_raster(read_array(path), _once("chain", _chain)))


_KEPT: dict[str, Any] = {}


def _once(name: str, make: Callable[[], Any]) -> Any:
    """What many reads need, made once a process."""
    if name not in _KEPT:
        _KEPT[name] = make()
    return _KEPT[name]


def _golden() -> Any:
    from spikegpt_neuro.network.file import read_network

    return read_network(GOLDEN / "version-2.net")


def _make_state(path: Path) -> None:
    from spikegpt_neuro.backends.emulator import Emulator
    from spikegpt_neuro.generation import SavedState, network_digest, save_state
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.sampling_settings import SamplingSettings

    network = _golden()
    with Emulator().open(network) as session:
        logits = session.score([1, 2, 3])[-1].copy()
        sampler = Sampler(SamplingSettings(seed=1), network.logit_scale, 11)
        saved = SavedState(network_digest(network), session.state, logits, sampler.state, 3)
        save_state(path, saved)


def _state(path: Path) -> str:
    from spikegpt_neuro.backends.emulator import Emulator
    from spikegpt_neuro.generation import load_state
    from spikegpt_neuro.sampling import Sampler
    from spikegpt_neuro.sampling_settings import SamplingSettings

    network = _once("golden", _golden)
    saved = load_state(path, network)
    session = _once("session", lambda: Emulator().open(network))
    session.state = saved.state
    sampler = Sampler(SamplingSettings(seed=1), network.logit_scale, 11)
    sampler.state = saved.sampler
    return _digest(saved.state, saved.logits, sampler.state, saved.tokens_seen)


def _profile(path: Path) -> str:
    from spikegpt_neuro.hardware_profiles import load_profile

    return _digest(load_profile(path))


def _make_counts(path: Path) -> None:
    from spikegpt_neuro.backends.emulator import Emulator

    network = _golden()
    with Emulator().open(network) as session:
        session.score([1, 2, 3])
        path.write_text(json.dumps({"counters": session.counters.to_dict()}))


def _counts(path: Path) -> str:
    from spikegpt_neuro.energy.study import read_counted_run

    return _digest(read_counted_run(path, _once("golden", _golden)).counters.to_dict())


def _make_measurement(path: Path) -> None:
    from spikegpt_neuro.events.measurement import SCHEMA, Measurement

    measured = Measurement(
        "board", "sdk", "mode", 30, 10, 1e-6, {"total": 0.5}, {"spikes_in": 3}, 4, 0.5, ("a",)
    )
    values = dict(measured.__dict__)
    path.write_text(json.dumps({"measurements": [{"measurement": {**values, "schema": SCHEMA}}]}))


def _measurement(path: Path) -> str:
    from spikegpt_neuro.events.measurement import read_measurements

    return _digest([found.to_dict() for found in read_measurements(path)])


def _copy(source: Path) -> Callable[[Path], object]:
    return lambda path: shutil.copy(source, path)


FORMATS: dict[str, Format] = {
    "network": Format(
        _copy(GOLDEN / "version-2.net"), _network, mutations.change_index, sealed=True
    ),
    "network-1": Format(_copy(GOLDEN / "version-1.net"), _network, mutations.change_hdf5),
    "netx": Format(_make_netx, _network, mutations.change_hdf5),
    "nir": Format(_make_nir, _nir, mutations.change_hdf5),
    "pth": Format(
        _make_pth, _checkpoint,
        mutations.change_zip(mutations.change_bytes, "data.pkl"), sealed=True,
    ),
    "own": Format(
        _make_own, _checkpoint,
        mutations.change_zip(mutations.change_bytes, "data.pkl"), sealed=True,
    ),
    "resume": Format(
        _make_resume, _resume,
        mutations.change_zip(mutations.change_bytes, "data.pkl"), sealed=True,
    ),
    "safetensors": Format(_make_safetensors, _checkpoint, mutations.change_safetensors),
    "vocabulary": Format(
        _copy(EXAMPLE / "kjv-4x192.vocab.json"), _vocabulary, mutations.change_tokens
    ),
    "tokenizer": Format(_make_tokenizer, _vocabulary, mutations.change_json_file),
    "gpt2-vocab": Format(_make_pieces, _vocabulary, mutations.change_json_file),
    "gpt2-merges": Format(_make_merges, _merges, mutations.change_tokens),
    "gpt2-added": Format(_make_added, _added, mutations.change_json_file),
    "sentencepiece-unigram": Format(
        partial(_make_sentencepiece, algorithm="unigram"), _vocabulary, mutations.change_message
    ),
    "sentencepiece-bpe": Format(
        partial(_make_sentencepiece, algorithm="bpe"), _vocabulary, mutations.change_message
    ),
    "world": Format(_make_world, _vocabulary, mutations.change_tokens),
    "text": Format(
        lambda path: path.write_text("to be \u00e9 \U0001f409\n" * 40), _text,
        mutations.change_tokens,
    ),
    "raster": Format(
        _make_raster, _raster,
        mutations.change_tokens,
    ),
    "state": Format(
        _make_state, _state, mutations.change_zip(mutations.change_bytes, ".npy"), sealed=True
    ),
    "profile": Format(
        _copy(ROOT / "hardware_profiles/loihi2.toml"), _profile, mutations.change_tokens
    ),
    "counters": Format(_make_counts, _counts, mutations.change_json_file),
    "measurement": Format(_make_measurement, _measurement, mutations.change_json_file),
}  # fmt: skip
