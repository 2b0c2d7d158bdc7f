"""Export a checkpoint to ``model.net``, block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.converters import model_layers
from spikegpt_neuro.converters.builder import FloatArray, QuantisationSettings
from spikegpt_neuro.converters.calibration import (
    CalibrationTokens,
    RangeRecorder,
    calibration_tokens,
)
from spikegpt_neuro.converters.checkpoint import Checkpoint, read_checkpoint
from spikegpt_neuro.converters.export_report import ExportOptions, ExportReport, Summary
from spikegpt_neuro.converters.float_parts import FloatParts
from spikegpt_neuro.converters.model_layers import Quantisation
from spikegpt_neuro.converters.moments import Moments, sample_windows
from spikegpt_neuro.converters.reading import Reading
from spikegpt_neuro.converters.reduction import Choice, ReducedLayer, reduce_network
from spikegpt_neuro.converters.sensitivity import divergences_alone, fewest_bits
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.model.configuration import SpikeGPTConfiguration
from spikegpt_neuro.model.spikegpt import SpikeGPT
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.file import network_writer, write_network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.network import ModelInfo
from spikegpt_neuro.network.schema import Layer

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
        # hashing releases the interpreter: it runs beside the conversion
        self._sha256 = ThreadPoolExecutor(1).submit(lambda: checkpoint.sha256)
        self.notes = list(checkpoint.notes)
        self._configuration = float_configuration(checkpoint)
        has_text = calibration is not None
        self._stored = None if has_text else _stored_quantisation(checkpoint, options)
        self._calibration: CalibrationTokens = calibration_tokens(
            calibration, self._configuration.vocab_size, checkpoint.architecture.parameters
        )
        if self._stored is not None:
            self.notes.append("integers as in its training: the scales are the checkpoint's own")
        elif checkpoint.quantisation:
            self.notes.append("the checkpoint's own scales are not used: a text calibrates it anew")
        elif not has_text:
            self.notes.append(
                "calibrated on random tokens: give --calibration a text for better scales"
            )
        self._recorder = RangeRecorder()
        self._quantisation = self._stored or Quantisation(
            self._recorder.ranges,
            QuantisationSettings(options.activation_bits, options.accumulator_bits),
        )
        self._parts = FloatParts(checkpoint)
        windows = self._calibration.tokens if has_text else None
        reading = Reading(
            checkpoint, self._configuration, options, self._parts, windows, characters_per_token
        )
        self._configuration = reading.configuration
        self.notes += reading.notes
        self.steps = self._configuration.n_layer + 2

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Calibration tokens, one window after the other."""
        return self._calibration.tokens.reshape(-1)

    def _tensor(self, name: str) -> FloatArray:
        return self._checkpoint.array(name)

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
        x = self._parts.embedded(torch.from_numpy(self._calibration.tokens), configuration)
        for index in range(configuration.n_layer):
            block = self._parts.block(index, configuration)
            if self._stored is None:
                x, _ = block(x, None, self._recorder)
            for part in model_layers.block_layers(
                index, stream, self._tensor, self._quantisation, configuration
            ):
                for layer in part.layers:
                    yield layer, f"block {index}", 2 + index
                stream = part.layers[-1].name
        if self._stored is None:
            self._recorder("head.norm", self._parts.normed(x))
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
