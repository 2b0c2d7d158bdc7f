"""Integer-true training: the forward pass is the export's integer arithmetic, exactly.

In every step the current weights are quantised as the export quantises them, the integer network is
executed by the emulator with every layer's values kept, and the float model takes those values
in place of its own::

    value = integer * unit + (float value - its constant copy)

so that losses, spikes and operands are the deployed network's, and gradients are the float
model's at these values (straight-through: rounding and saturation have derivative 1). The ranges
that decide the scales are measured once, at the beginning of the phase, and stored with the model.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikegpt_neuro.backends.program import Program
from spikegpt_neuro.converters.builder import QuantisationSettings
from spikegpt_neuro.converters.calibration import RangeRecorder, calibration_tokens
from spikegpt_neuro.converters.model_layers import Quantisation, model_layers
from spikegpt_neuro.converters.trained_weights import TrainedWeights
from spikegpt_neuro.model.spikegpt import SpikeGPT

WINDOWS_AT_ONCE = 8
"""Calibration windows the float model computes together."""


@torch.no_grad()
def calibrate(model: SpikeGPT, tokens: Tensor, settings: QuantisationSettings) -> Quantisation:
    """Ranges of ``model`` on windows spread over ``tokens`` [N], as the export measures them."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    vocabulary = model.configuration.vocab_size
    windows = torch.from_numpy(calibration_tokens(tokens.numpy(), vocabulary, parameters).tokens)
    recorder = RangeRecorder()
    training = model.training
    model.eval()
    for part in torch.split(windows, WINDOWS_AT_ONCE):
        model(part.to(model.emb.weight.device), observe=recorder)
    model.train(training)
    return Quantisation(recorder.ranges, settings)


class IntegerForward:
    """The integer network of a float model, made anew from its weights at every call."""

    def __init__(self, quantisation: Quantisation) -> None:
        self.quantisation = quantisation

    def take(self, weights: TrainedWeights) -> None:
        """Round weights like that from now on."""
        settings = replace(self.quantisation.settings, rounding=weights)
        self.quantisation = replace(self.quantisation, settings=settings)

    @torch.no_grad()
    def __call__(self, model: SpikeGPT, tokens: Tensor) -> dict[str, Tensor]:
        """Real values of every layer's integers, float32 [B, T, size] by layer name.

        ``tokens`` int64 [B, T]; state starts afresh in each row. The values, on the tokens' device,
        are what ``SpikeGPT.forward`` takes as ``exact``. Delays are left out: they repeat others.
        """
        tensors = {name: value.cpu() for name, value in model.state_dict().items()}
        parts = list(
            model_layers(
                lambda name: tensors[name].float().numpy(), self.quantisation, model.configuration
            )
        )
        layers = [layer for part in parts for layer in part.layers]
        units: dict[str, npt.NDArray[np.float64]] = {}
        for part in parts:
            units |= part.units
        wanted = {
            layer.name: np.asarray(units.get(layer.name, layer.output.scale))
            for layer in layers
            if layer.kind != "delay"
        }
        program = Program(layers, keep=wanted)
        batch, length = tokens.shape
        found = {
            name: np.empty((batch, length, program.sizes[name]), np.float32) for name in wanted
        }
        for row, text in enumerate(tokens.cpu().numpy()):
            program.reset()
            program.run(text)
            for name, unit in wanted.items():
                np.multiply(program.value(name), unit, out=found[name][row], casting="same_kind")
        return {name: torch.from_numpy(value).to(tokens.device) for name, value in found.items()}
