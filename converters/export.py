"""Export a checkpoint to ``model.net``, block by block, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from spikegpt_neuro.converters import spike_driven, upstream
from spikegpt_neuro.converters.calibration import (
    CalibrationTokens,
    RangeRecorder,
    calibration_tokens,
)
from spikegpt_neuro.converters.checkpoint import Checkpoint, read_checkpoint
from spikegpt_neuro.converters.layout import FloatArray, QuantisationSettings
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.blocks import Block, embed, make_block
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.network.file import network_writer
from spikegpt_neuro.network.layers import Dense, Layer
from spikegpt_neuro.network.network import NetworkInfo

EMBEDDING_TRIAL_TOKENS = 1024
"""Tokens on which `--embedding auto` compares the binary with the real embedding."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the step and the number of steps."""


@dataclass(frozen=True)
class ExportOptions:
    """A user's wishes; the defaults suit every checkpoint that can tell.

    ``embedding`` auto: what the checkpoint's configuration says, else whichever predicts the
    calibration text better, else (no text) binary, said in the notes. ``rescale_every``: upstream's
    run-time rescaling, 0 = the training forward. ``activation_bits``: see converters/scales.py.
    """

    activation_bits: int | None = None
    accumulator_bits: int = 24
    embedding: Literal["auto", "binary", "real"] = "auto"
    rescale_every: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.activation_bits is not None and not 2 <= self.activation_bits <= 15:
            problems.append(f"activation bits {self.activation_bits}, allowed 2..15")
        if not 8 <= self.accumulator_bits <= 32:
            problems.append(f"accumulator bits {self.accumulator_bits}, allowed 8..32")
        if self.rescale_every < 0:
            problems.append(f"rescale every {self.rescale_every}, allowed 0 (off) or more")
        if problems:
            raise InputError("these export options cannot be used:", problems)


@dataclass(frozen=True)
class ExportReport:
    """What an export did."""

    path: Path
    info: NetworkInfo
    layers: int
    weights: int
    notes: tuple[str, ...] = ()
    unproven: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "path": str(self.path), "layout": self.info.layout, "n_layer": self.info.n_layer,
            "n_embd": self.info.n_embd, "vocabulary_size": self.info.vocabulary_size,
            "layers": self.layers, "weights": self.weights, "notes": list(self.notes),
            "accumulators_not_proven": list(self.unproven), "source": dict(self.info.source),
            "quantisation": dict(self.info.quantisation),
        }  # fmt: skip


def export_checkpoint(
    checkpoint_path: Path,
    output_path: Path,
    *,
    vocabulary: str = "",
    calibration: Sequence[int] | None = None,
    options: ExportOptions | None = None,
    progress: Progress = lambda what, step, steps: None,
) -> ExportReport:
    """Read, calibrate, quantise and write; ``output_path`` is replaced only at the very end.

    ``vocabulary``: text of the vocabulary file to embed. ``calibration``: tokens of a text like
    those the model was trained on. Raises ``InputError`` listing what is wrong with the input.
    """
    options = options or ExportOptions()
    export = _Export(read_checkpoint(checkpoint_path), calibration, options)
    count = weights = 0
    unproven = []
    with network_writer(Path(output_path)) as writer, torch.inference_mode():
        for layer, what, step in export.layers():
            writer.add(layer)
            progress(what, step, export.steps)
            count += 1
            if isinstance(layer, Dense):
                weights += layer.weight.size
                if layer.bound >= 1 << (layer.accumulator_bits - 1):
                    unproven.append(layer.name)
        info = export.info()
        writer.finish(info, vocabulary)
    progress("done", export.steps, export.steps)
    return ExportReport(
        Path(output_path), info, count, weights, tuple(export.notes), tuple(unproven)
    )


def float_configuration(checkpoint: Checkpoint) -> SpikeGPTConfiguration:
    """The float model's configuration: the checkpoint's own, or from its names and shapes."""
    if checkpoint.configuration:
        return SpikeGPTConfiguration.from_dict(checkpoint.configuration)
    architecture = checkpoint.architecture
    return SpikeGPTConfiguration(
        layout="upstream", n_layer=architecture.n_layer, n_embd=architecture.n_embd,
        vocab_size=architecture.vocabulary_size, hidden_size=architecture.n_hidden,
        ffn_pre=architecture.ffn_pre,
    )  # fmt: skip


class _Export:
    """One export on its way: the float stream after the blocks done so far, and notes."""

    def __init__(
        self, checkpoint: Checkpoint, calibration: Sequence[int] | None, options: ExportOptions
    ) -> None:
        self._checkpoint = checkpoint
        self._options = options
        # hashing releases the interpreter: it runs beside the conversion
        self._sha256 = ThreadPoolExecutor(1).submit(lambda: checkpoint.sha256)
        self.notes = list(checkpoint.notes)
        self._configuration = float_configuration(checkpoint)
        self._has_text = calibration is not None
        self._calibration: CalibrationTokens = calibration_tokens(
            calibration, self._configuration.vocab_size, checkpoint.architecture.parameters
        )
        if not self._has_text:
            self.notes.append(
                "calibrated on random tokens: give --calibration a text for better scales"
            )
        self._later_block: Block | None = None
        self._settings = QuantisationSettings(options.activation_bits, options.accumulator_bits)
        self._recorder = RangeRecorder()
        self._configuration = self._with_options()
        self.steps = self._configuration.n_layer + 2

    def _tensor(self, name: str) -> FloatArray:
        return self._checkpoint.array(name)

    def _with_options(self) -> SpikeGPTConfiguration:
        values = self._configuration.to_dict()
        if self._options.rescale_every and values["layout"] != "upstream":
            raise InputError("--rescale-every is for the upstream layout only.")
        values["rescale_every"] = self._options.rescale_every or values["rescale_every"]
        if self._options.embedding != "auto":
            values["embedding"] = self._options.embedding
        elif not self._checkpoint.configuration:
            values["embedding"] = self._find_embedding(values)
        return SpikeGPTConfiguration.from_dict(values)

    def _find_embedding(self, values: dict[str, Any]) -> str:
        """Whichever embedding predicts the calibration text better; names alone cannot tell."""
        if not self._has_text:
            self.notes.append(
                "embedding assumed binary: without a calibration text nothing tells; "
                "use --embedding to say"
            )
            return "binary"
        bits = {
            kind: self._trial(SpikeGPTConfiguration.from_dict({**values, "embedding": kind}))
            for kind in ("binary", "real")
        }
        best = min(bits, key=lambda kind: bits[kind])
        self.notes.append(
            f"embedding: {best}, by its bits per token on the calibration text "
            f"(binary {bits['binary']:.3f}, real {bits['real']:.3f})"
        )
        return best

    def _trial(self, configuration: SpikeGPTConfiguration) -> float:
        tokens = torch.from_numpy(self._calibration.tokens)
        count = max(1, EMBEDDING_TRIAL_TOKENS // tokens.shape[1])
        tokens = tokens[:count]
        with torch.inference_mode():
            x = self._embedded(tokens, configuration)
            for index in range(configuration.n_layer):
                x, _ = self._block(index, configuration)(x)
            logits = self._normed(x) @ self._checkpoint.tensors["head.weight"].T
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
            )
        return float(loss) / math.log(2)

    def _embedded(self, tokens: torch.Tensor, configuration: SpikeGPTConfiguration) -> torch.Tensor:
        return embed(
            tokens, self._checkpoint.tensors["emb.weight"],
            binary=configuration.embedding == "binary",
        )  # fmt: skip

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        tensors = self._checkpoint.tensors
        return nn.functional.layer_norm(
            x, (x.shape[-1],), tensors["ln_out.weight"], tensors["ln_out.bias"]
        )

    def _block(self, index: int, configuration: SpikeGPTConfiguration) -> nn.Module:
        """A float block that shares the checkpoint's memory."""
        # blocks from 1 on are alike: one module serves them all, as initialising each would cost
        # more time than quantising it (and the meta device 1.5 s of imports)
        block = self._later_block if index > 1 else None
        if block is None or block.configuration != configuration:
            block = make_block(configuration, index)
        if index > 0:
            self._later_block = block
        block.index, block.path = index, f"blocks.{index}"
        prefix = f"blocks.{index}."
        names = [name for name in self._checkpoint.tensors if name.startswith(prefix)]
        self._checkpoint.check_values(names)
        tensors = {name.removeprefix(prefix): self._checkpoint.tensors[name] for name in names}
        block.load_state_dict(tensors, assign=True)
        return block.eval()

    def layers(self) -> Iterator[tuple[Layer, str, int]]:
        """All layers in order, each with what is being done and the step."""
        configuration = self._configuration
        self._checkpoint.check_values(
            ["emb.weight", "blocks.0.ln0.weight", "blocks.0.ln0.bias", "ln_out.weight",
             "ln_out.bias", "head.weight"]
        )  # fmt: skip
        norm = (self._tensor("blocks.0.ln0.weight"), self._tensor("blocks.0.ln0.bias"))
        embedding = upstream.embedding_layers(
            self._tensor("emb.weight"), norm, binary=configuration.embedding == "binary"
        )
        for layer in embedding:
            yield layer, "embedding", 1
        last = embedding[-1].name
        del embedding  # a table of real values may be as large as the head
        x = self._embedded(torch.from_numpy(self._calibration.tokens), configuration)
        for index in range(configuration.n_layer):
            x, _ = self._block(index, configuration)(x, None, self._recorder)
            for layer in self._block_layers(index, last):
                last = layer.name
                yield layer, f"block {index}", 2 + index
        self._recorder("head.norm", self._normed(x))
        for layer in self._head_layers(last):
            yield layer, "head", self.steps

    def _block_layers(self, index: int, stream: str) -> Iterator[Layer]:
        configuration, block = self._configuration, f"blocks.{index}"
        ranges, settings = self._recorder.ranges, self._settings
        attention = (f"{block}.srwkv", f"{block}.ln1", f"{block}.att")
        feed_forward = (f"{block}.srffn", f"{block}.ln2", f"{block}.ffn")
        if configuration.layout == "spike-driven":
            for names, make in (
                (attention, spike_driven.srwkv_layers), (feed_forward, spike_driven.srffn_layers),
            ):  # fmt: skip
                path, norm, mixer = names
                layers = make(
                    path, stream, norm, mixer, self._tensor, ranges, settings, configuration
                )
                yield from layers
                stream = layers[-1].name
            return
        every = configuration.rescale_every
        divisor = 2.0 ** (index // every) if every else 1.0
        if index == 0 and configuration.ffn_pre:
            first = upstream.srffn_layers(
                f"{block}.srffn_pre", stream, f"{block}.ln1", f"{block}.ffnPre", self._tensor,
                ranges, settings, 1.0, False,
            )  # fmt: skip
        else:
            path, norm, mixer = attention
            first = upstream.srwkv_layers(
                path, stream, norm, mixer, self._tensor, ranges, settings, divisor
            )
        yield from first
        path, norm, mixer = feed_forward
        yield from upstream.srffn_layers(
            path, first[-1].name, norm, mixer, self._tensor, ranges, settings, divisor,
            bool(every) and (index + 1) % every == 0,
        )  # fmt: skip

    def _head_layers(self, stream: str) -> list[Layer]:
        configuration = self._configuration
        norm = (self._tensor("ln_out.weight"), self._tensor("ln_out.bias"))
        weight = self._tensor("head.weight")
        ranges = self._recorder.ranges
        if configuration.layout == "spike-driven" and configuration.levels_head:
            build, spikes = spike_driven.head_spikes(
                stream, norm, ranges, self._settings, configuration
            )
            build.readout(spikes, build.spike_projection(weight, configuration.levels_head))
            return build.layers
        return upstream.head_layers(stream, norm, weight, ranges, self._settings)

    def info(self) -> NetworkInfo:
        """What the file says about itself."""
        configuration, options = self._configuration, self._options
        return NetworkInfo(
            layout=configuration.layout, n_layer=configuration.n_layer,
            n_embd=configuration.n_embd, vocabulary_size=configuration.vocab_size,
            source={
                "checkpoint": self._checkpoint.path.name, "sha256": self._sha256.result(),
                "format": self._checkpoint.format, "configuration": configuration.to_dict(),
            },
            quantisation={
                "activation_bits": options.activation_bits,
                "accumulator_bits": options.accumulator_bits,
                "calibration": self._calibration.origin,
                "calibration_tokens": self._calibration.count,
                "calibration_sha256": self._calibration.sha256,
                "notes": self.notes,
            },
        )  # fmt: skip
