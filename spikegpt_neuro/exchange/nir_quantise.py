"""The scale of a layer of neurons, and how its real parameters round to integers.

A neuron's voltage, current, weights, bias and threshold can all be multiplied by one number, as it
resets to 0. So each neuron ``j`` has a scale ``S[j]``, integers to a real 1, for which all
thresholds of the layer are the one integer ``T``::

    S[j] = T / threshold[j],  weight[j, k] -> round(S[j] * gain[j] * weight[j, k])

``T`` is the largest for which every weight fits its bits and every bias its 16: the threshold is
then exact and the weights carry the rounding. A layer that a power of two makes whole is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_neurons import FLOAT32, Dynamics, FloatArray, is_whole
from spikegpt_neuro.network.slayer_layers import LARGEST_WEIGHT

LARGEST_THRESHOLD = (1 << 17) - 1
"""Thresholds are compared at 24 bits, 6 of them below the weights' unit."""
LARGEST_BIAS = (1 << 15) - 1
FINEST_POWER, COARSEST_POWER = 16, -10
"""Powers of two tried as exact scales."""
ONLY_WHOLE = "must be whole numbers"


@dataclass(frozen=True, eq=False)
class Scale:
    """``factor``: S, [n]. ``threshold``: T, None for neurons that never fire."""

    factor: FloatArray
    threshold: int | None
    is_exact: bool


@dataclass(frozen=True, eq=False)
class Parameters:
    """Real parameters of a layer with the input's gain in them.

    ``weights``: by node, [n, ...]; ``names``: what each is called in the file. ``biases``: by name,
    [n], each of which is rounded on its own. ``threshold``: [n] or None.
    """

    weights: Sequence[tuple[str, FloatArray]]
    biases: Sequence[tuple[str, FloatArray]]
    threshold: FloatArray | None
    size: int

    def largest(self) -> FloatArray:
        """Largest |weight| of each neuron, [n]."""
        rows = [np.zeros(self.size)]
        for _, weight in self.weights:
            channel = np.abs(weight).reshape(len(weight), -1).max(axis=1)
            rows.append(np.repeat(channel, self.size // len(channel)))
        return np.max(rows, axis=0)


def largest_weight(bits: int) -> int:
    """Largest magnitude of signed weights of ``bits`` bits."""
    return (1 << (bits - 1)) - 1


def choose_scale(parameters: Parameters, gains: FloatArray, name: str, bits: int | None) -> Scale:
    """The scale of the neurons ``name``; without ``bits`` only 1, and everything has to be whole.

    ``gains``: the input's gain, which an error names where it is what leaves no whole numbers.
    Raises ``InputError`` listing what is not whole, and what fits no integer of its width.
    """
    limit = LARGEST_WEIGHT if bits is None else largest_weight(bits)
    if bits is None:
        problems = list(_fractions(parameters, gains, name))
        if problems:
            raise InputError(f"{name} is not whole.", problems)
    for power in [0] if bits is None else sorted(range(COARSEST_POWER, FINEST_POWER + 1), key=abs):
        found = _exact(parameters, 2.0**power, limit)
        if found is not None:
            return found
    if bits is None:
        problems = list(_too_large(parameters, name))
        raise InputError("", problems or [f"{name}: does not fit the integers of its layer"])
    return _rounded(parameters, limit)


def _exact(parameters: Parameters, factor: float, limit: int) -> Scale | None:
    every = np.full(parameters.size, factor)
    threshold = None
    if parameters.threshold is not None:
        units = parameters.threshold * factor
        if not is_whole(units) or np.ptp(np.round(units)) or units.max() > LARGEST_THRESHOLD:
            return None
        threshold = round(float(units[0]))
    if any(not is_whole(w * factor) for _, w in (*parameters.weights, *parameters.biases)):
        return None
    if (parameters.largest() * factor > limit + FLOAT32 * limit).any():
        return None
    if any(np.abs(b * factor).max(initial=0) > LARGEST_BIAS for _, b in parameters.biases):
        return None
    return Scale(every, threshold, True)


def _rounded(parameters: Parameters, limit: int) -> Scale:
    largest, real = parameters.largest(), parameters.threshold
    bias = np.max([np.zeros(parameters.size), *(np.abs(b) for _, b in parameters.biases)], axis=0)
    with np.errstate(divide="ignore"):
        most = np.minimum(limit / largest, LARGEST_BIAS / bias)  # integers to a real 1
    if real is None:
        factor = float(most.min()) if np.isfinite(most.min()) else 1.0
        return Scale(np.full(parameters.size, factor), None, False)
    if (real > 0).all():
        units = int(min(float((most * real).min()), LARGEST_THRESHOLD))
        if units >= 1:
            return Scale(units / real, units, False)
    # thresholds of 0, or weights so far beyond them that one input decides
    factor = float(most.min()) if np.isfinite(most.min()) else 1.0
    held = round(min(factor * float(real.max()), LARGEST_THRESHOLD))
    return Scale(np.full(parameters.size, factor), held, False)


def _fractions(parameters: Parameters, gains: FloatArray, name: str) -> Iterator[str]:
    """What is not whole, one line a parameter."""
    for what, weight in (*parameters.weights, *parameters.biases):
        if is_whole(weight):
            continue
        rows = gains[:: parameters.size // len(weight)].reshape(-1, *[1] * (weight.ndim - 1))
        bare = weight / np.where(rows == 0, 1.0, rows)
        if is_whole(bare):
            yield (
                f"{name}: an input gain of {gains[gains != 1][0]:.6g} leaves {what} not whole; "
                "fold it into the weights, or quantise"
            )
        else:
            yield f"{what}: {ONLY_WHOLE}"
    if parameters.threshold is not None:
        if not is_whole(parameters.threshold):
            worst = parameters.threshold[np.argmax(parameters.threshold % 1)]
            yield f"{name}/threshold: {worst:.6g}, {ONLY_WHOLE}"
        elif np.ptp(parameters.threshold):
            yield f"{name}/threshold: differs from neuron to neuron"


def _too_large(parameters: Parameters, name: str) -> Iterator[str]:
    """What is whole but too large for its width."""
    for what, weight in parameters.weights:
        if np.abs(weight).max() > LARGEST_WEIGHT:
            yield (
                f"{what}: {weight.min():.6g}..{weight.max():.6g}; weights have 9 bits signed, "
                f"-{LARGEST_WEIGHT}..{LARGEST_WEIGHT}"
            )
    for what, bias in parameters.biases:
        if np.abs(bias).max() > LARGEST_BIAS:
            yield f"{what}: up to {np.abs(bias).max():.6g}; biases have 16 bits signed"
    if parameters.threshold is not None and parameters.threshold.max() > LARGEST_THRESHOLD:
        yield f"{name}/threshold: {parameters.threshold.max():.6g}; at most {LARGEST_THRESHOLD}"


def zero_dynamics(size: int) -> Dynamics:
    """What values that no neurons read go through: nothing."""
    one = np.ones(size)
    return Dynamics(one, one, one, np.zeros(size), None)
