"""Export a checkpoint to ``model.net``, block by block, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.converters import model_layers
from spikegpt_neuro.converters.builder import FloatArray, QuantisationSettings
from spikegpt_neuro.converters.calibration import (
    CalibrationTokens,
    RangeRecorder,
    calibration_tokens,
)
from spikegpt_neuro.converters.checkpoint import (
    RELEASED_LAYOUTS,
    RWKV,
    UPSTREAM,
    Checkpoint,
    read_checkpoint,
)
from spikegpt_neuro.converters.export_report import ExportOptions, ExportReport, Summary
from spikegpt_neuro.converters.model_layers import Quantisation
from spikegpt_neuro.converters.moments import Moments, sample_windows
from spikegpt_neuro.converters.reduction import Choice, ReducedLayer, reduce_network
from spikegpt_neuro.converters.sensitivity import divergences_alone, fewest_bits
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.blocks import Block, embed, make_block
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import network_writer, write_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import ModelInfo
from spikegpt_neuro.network.schema import Layer

TRIAL_TOKENS = 1024
"""Tokens on which the readings of a file are compared that its names cannot tell apart."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the step and the number of steps."""


def export_checkpoint(
    checkpoint: Checkpoint | Path,
    output_path: Path,
    *,
    vocabulary: str = "",
    calibration: Sequence[int] | None = None,
    options: ExportOptions | None = None,
    characters_per_token: float = 1.0,
    progress: Progress = lambda what, step, steps: None,
) -> ExportReport:
    """Calibrate, quantise and write; ``output_path`` is replaced only at the very end.

    ``vocabulary``: text of the vocabulary file to embed. ``calibration``: tokens of a text like
    those the model was trained on, ``characters_per_token`` of it, to speak of bits per character.
    Raises ``InputError`` listing what is wrong with the input.
    """
    options = options or ExportOptions()
    if options.weight_bits == "auto" and calibration is None:
        raise InputError("weight bits auto need a calibration text: losses are of a text.")
    read = checkpoint if isinstance(checkpoint, Checkpoint) else read_checkpoint(checkpoint)
    export = _Export(read, calibration, options, characters_per_token)
    path, summary = Path(output_path), Summary()
    if options.reduces:
        allowed = options.max_loss * characters_per_token
        with torch.inference_mode():
            network, reduced = _reduced(export, calibration, options, allowed, vocabulary, progress)
        write_network(network, path)
        for layer in network.layers:
            summary.add(layer)
        return summary.report(path, network.info, export.notes, reduced)
    with network_writer(path) as writer, torch.inference_mode():
        for layer, what, step in export.layers():
            writer.add(layer)
            summary.add(layer)
            progress(what, step, export.steps)
        info = export.info()
        writer.finish(info, vocabulary)
    progress("done", export.steps, export.steps)
    return summary.report(path, info, export.notes)


def _reduced(
    export: _Export, calibration: Sequence[int] | None, options: ExportOptions, max_loss: float,
    vocabulary: str, progress: Progress,
) -> tuple[LanguageModel, tuple[ReducedLayer, ...]]:  # fmt: skip
    """The network in 8 bits, then rounded and pruned by what its projections see on the text."""
    layers = []
    for layer, what, step in export.layers():
        layers.append(layer)
        progress(what, step, export.steps)
    network = LanguageModel(export.info(), tuple(layers), vocabulary)
    windows = sample_windows(network, export.tokens if calibration is None else calibration)
    moments = Moments(network, windows)
    names = [layer.name for layer in layers if isinstance(layer, Dense)]
    if options.weight_bits == "auto":
        choices = fewest_bits(network, windows, moments, max_loss, progress)
    else:
        choice = Choice(options.weight_bits, options.pruned, options.pattern)
        choices = dict.fromkeys(names, choice)
    reduction = reduce_network(network, choices, moments, progress)
    reduced = reduction.layers
    wider = sum(layer.bits > choices[layer.name].bits for layer in reduced)
    if wider:
        export.notes.append(
            f"{wider} projections keep more weight bits: the unit of fewer would be too large"
        )
    if options.losses:
        losses = divergences_alone(network, reduction.chosen, windows, progress)
        reduced = tuple(replace(layer, divergence=losses[layer.name]) for layer in reduced)
    quantisation = {
        **network.info.quantisation, "weight_bits": options.weight_bits,
        "pruned": options.pruned, "pattern": options.pattern and list(options.pattern),
        "rounding": "error-compensating", "rounding_tokens": int(windows.size),
    }  # fmt: skip
    info = replace(network.info, quantisation=quantisation)
    return replace(reduction.network, info=info), reduced


def float_configuration(checkpoint: Checkpoint) -> SpikeGPTConfiguration:
    """The float model's configuration: the checkpoint's own, or from its names and shapes."""
    if checkpoint.configuration:
        return SpikeGPTConfiguration.from_dict(checkpoint.configuration)
    architecture = checkpoint.architecture
    return SpikeGPTConfiguration(
        layout=architecture.layout,  # type: ignore[arg-type]
        n_layer=architecture.n_layer,
        n_embd=architecture.n_embd,
        vocab_size=architecture.vocabulary_size,
        hidden_size=architecture.n_hidden,
        ffn_pre=architecture.ffn_pre,
        **{key: value for key, value in architecture.known.items() if key != "layout"},
    )


def float_model(
    checkpoint: Checkpoint, configuration: SpikeGPTConfiguration | None = None
) -> SpikeGPT:
    """The float model of a checkpoint, in evaluation mode; ``configuration``: another than its own.

    Raises InputError where a value is not finite.
    """
    checkpoint.check_values()
    model = SpikeGPT(configuration or float_configuration(checkpoint))
    model.load_state_dict(dict(checkpoint.tensors))
    return model.eval()


def _stored_quantisation(checkpoint: Checkpoint, options: ExportOptions) -> Quantisation | None:
    """The scales and bits of a checkpoint whose training ran the export's integers, if it did."""
    if not checkpoint.quantisation:
        return None
    stored = Quantisation.from_dict(checkpoint.quantisation)
    settings, defaults = stored.settings, ExportOptions()
    problems = [
        f"{name.replace('_', ' ')} {asked} asked for, trained with {trained}"
        for name, asked, trained, default in (
            ("activation_bits", options.activation_bits, settings.activation_bits,
             defaults.activation_bits),
            ("accumulator_bits", options.accumulator_bits, settings.accumulator_bits,
             defaults.accumulator_bits),
            ("weight_bits", options.weight_bits,
             MOST_BITS if stored.weights is None else stored.weights.bits, defaults.weight_bits),
        )
        if asked not in (trained, default)
    ]  # fmt: skip
    if problems:
        raise InputError(
            f"{checkpoint.path} was trained in integers of other widths:",
            problems,
            "Leave the widths out, or calibrate anew with --calibration.",
        )
    return stored


class _Export:
    """One export on its way: the float stream after the blocks done so far, and notes."""

    def __init__(
        self, checkpoint: Checkpoint, calibration: Sequence[int] | None, options: ExportOptions,
        characters_per_token: float,
    ) -> None:  # fmt: skip
        self._checkpoint = checkpoint
        self._options = options
        # hashing releases the interpreter: it runs beside the conversion
        self._sha256 = ThreadPoolExecutor(1).submit(lambda: checkpoint.sha256)
        self.notes = list(checkpoint.notes)
        self._configuration = float_configuration(checkpoint)
        self._has_text = calibration is not None
        self._characters_per_token = characters_per_token
        self._stored = None if self._has_text else _stored_quantisation(checkpoint, options)
        self._calibration: CalibrationTokens = calibration_tokens(
            calibration, self._configuration.vocab_size, checkpoint.architecture.parameters
        )
        if self._stored is not None:
            self.notes.append("integers as in its training: the scales are the checkpoint's own")
        elif checkpoint.quantisation:
            self.notes.append("the checkpoint's own scales are not used: a text calibrates it anew")
        elif not self._has_text:
            self.notes.append(
                "calibrated on random tokens: give --calibration a text for better scales"
            )
        self._later_block: Block | None = None
        self._recorder = RangeRecorder()
        self._quantisation = self._stored or Quantisation(
            self._recorder.ranges,
            QuantisationSettings(options.activation_bits, options.accumulator_bits),
        )
        self._configuration = self._with_options()
        self.steps = self._configuration.n_layer + 2

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Calibration tokens, one window after the other."""
        return self._calibration.tokens.reshape(-1)

    def _tensor(self, name: str) -> FloatArray:
        return self._checkpoint.array(name)

    def _with_options(self) -> SpikeGPTConfiguration:
        values = self._configuration.to_dict()
        options, path = self._options, self._checkpoint.path
        known = bool(self._checkpoint.configuration) or values["layout"] == RWKV
        told = self._checkpoint.architecture.known
        if options.layout not in ("auto", values["layout"]) and (
            known or "layout" in told or options.layout not in RELEASED_LAYOUTS
        ):
            raise InputError(
                f"{path} is in the {values['layout']} layout, not in {options.layout}."
            )
        if options.rescale_every and values["layout"] not in RELEASED_LAYOUTS:
            raise InputError("--rescale-every is not for the spike-driven layout.")
        values["rescale_every"] = options.rescale_every or values["rescale_every"]
        if known:
            if values["layout"] == RWKV and not self._checkpoint.configuration:
                values["embedding"] = told.get("embedding", "real")
            if options.embedding != "auto":
                values["embedding"] = options.embedding
            return SpikeGPTConfiguration.from_dict(values)
        return self._most_likely(values)

    def _most_likely(self, values: dict[str, Any]) -> SpikeGPTConfiguration:
        """The reading of a file with the released names: asked for, or told by its predictions."""
        options, known = self._options, self._checkpoint.architecture.known
        layouts, embeddings = (
            every if asked == "auto" else (asked,)
            for asked, every in (
                (options.layout, (known["layout"],) if "layout" in known else RELEASED_LAYOUTS),
                (
                    options.embedding,
                    (known["embedding"],) if "embedding" in known else ("binary", "real"),
                ),
            )
        )
        readings = [
            SpikeGPTConfiguration.from_dict({**values, "layout": layout, "embedding": embedding})
            for layout in layouts
            for embedding in embeddings
            # plain RWKV-4 has no binary embedding
            if layout != RWKV or embedding == "real" or options.embedding == "binary"
        ]
        if len(readings) == 1:
            return readings[0]
        if not self._has_text:
            self.notes += self._assumptions(readings[0])
            return readings[0]
        bits = [self._trial(reading) / self._characters_per_token for reading in readings]
        found = sorted(zip(bits, range(len(readings)), strict=True))
        chance = math.log2(values["vocab_size"]) / self._characters_per_token
        if len(layouts) > 1 and found[0][0] >= chance:
            # a model that predicts nothing cannot tell what it is
            self.notes += self._assumptions(readings[0])
            found = [(value, i) for value, i in found if readings[i].layout == UPSTREAM]
        best = readings[found[0][1]]
        listed = ", ".join(
            f"{readings[i].layout} with {readings[i].embedding} embedding {value:.3f}"
            for value, i in found
        )
        self.notes.append(
            f"read as {best.layout} with {best.embedding} embedding, by its bits per character on "
            f"the calibration text ({listed}); --layout and --embedding decide otherwise"
        )
        return best

    def _assumptions(self, reading: SpikeGPTConfiguration) -> Iterator[str]:
        """What is assumed where no text tells, or none that the model predicts."""
        known = self._checkpoint.architecture.known
        if self._options.layout == "auto" and "layout" not in known:
            yield (
                "assumed to be a SpikeGPT: a plain RWKV-4 has the same names; --layout rwkv says "
                "that it is one, and --calibration with a text it can predict tells them apart"
            )
        if self._options.embedding == "auto" and "embedding" not in known and not self._has_text:
            yield (
                f"embedding assumed {reading.embedding}: without a calibration text nothing tells; "
                "use --embedding to say"
            )

    def _trial(self, configuration: SpikeGPTConfiguration) -> float:
        tokens = torch.from_numpy(self._calibration.tokens)
        count = max(1, TRIAL_TOKENS // tokens.shape[1])
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
            tokens,
            self._checkpoint.tensors["emb.weight"],
            binary=configuration.embedding == "binary",
        )

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
        part = model_layers.embedding_layers(self._tensor, configuration)
        for layer in part.layers:
            yield layer, "embedding", 1
        stream = part.layers[-1].name
        del part, layer  # a table of real values may be as large as the head
        x = self._embedded(torch.from_numpy(self._calibration.tokens), configuration)
        for index in range(configuration.n_layer):
            block = self._block(index, configuration)
            if self._stored is None:
                x, _ = block(x, None, self._recorder)
            for part in model_layers.block_layers(
                index, stream, self._tensor, self._quantisation, configuration
            ):
                for layer in part.layers:
                    yield layer, f"block {index}", 2 + index
                stream = part.layers[-1].name
        if self._stored is None:
            self._recorder("head.norm", self._normed(x))
        head = model_layers.head_layers(stream, self._tensor, self._quantisation, configuration)
        for layer in head.layers:
            yield layer, "head", self.steps

    def info(self) -> ModelInfo:
        """What the file says about itself."""
        configuration, settings = self._configuration, self._quantisation.settings
        calibration = {
            "calibration": self._calibration.origin,
            "calibration_tokens": self._calibration.count,
            "calibration_sha256": self._calibration.sha256,
        }
        if self._stored is not None:
            calibration = {"calibration": "the checkpoint's own scales, as trained"}
            if self._stored.weights is not None:
                calibration["weight_bits"] = self._stored.weights.bits
        return ModelInfo(
            layout=configuration.layout, n_layer=configuration.n_layer,
            n_embd=configuration.n_embd, vocabulary_size=configuration.vocab_size,
            labels=configuration.labels, pooling=configuration.pooling,
            source={
                "checkpoint": self._checkpoint.path.name, "sha256": self._sha256.result(),
                "format": self._checkpoint.format, "configuration": configuration.to_dict(),
            },
            quantisation={
                "activation_bits": settings.activation_bits,
                "accumulator_bits": settings.accumulator_bits, **calibration,
                "notes": self.notes,
            },
        )  # fmt: skip
