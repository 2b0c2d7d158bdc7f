"""What of a network stock Loihi 2 processes can hold, and what needs neuron programs of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import map_network
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Dense, Layer, Lif

Need = Literal["stock", "routing", "microcode"]

SPECIFICATION = "docs/arithmetic.md and the docstring in spikegpt_neuro/arithmetic"

_NEEDS: dict[str, tuple[Need, str]] = {
    "binary_embedding": ("microcode", "a table of bits read by the token; or sent by the host"),
    "real_embedding": ("microcode", "a table read by the token; or sent by the host"),
    "layer_norm": ("microcode", "sum, sum of squares, reciprocal square root by table"),
    "delay": ("routing", "axonal delay of one token"),
    "token_shift": ("microcode", "two factors a channel, rounding shift"),
    "requantise": ("microcode", "factor and rounding shift"),
    "readout": ("microcode", "factor and rounding shift; or read by the host"),
    "dense": ("stock", "lava.proc.dense.Dense"),
    "sigmoid": ("microcode", "table of 257 entries, interpolated"),
    "squared_relu": ("microcode", "square and rounding shift"),
    "wkv": ("microcode", "three states a channel, exp2 and reciprocal by table"),
    "product": ("microcode", "product of two graded values, rounding shift"),
    "lif": ("microcode", "rescaled input, then the stock LIF's update, once a token"),
    "residual": ("microcode", "sum of two graded values, rescaled"),
    "raster_input": ("stock", "spikes sent by the host"),
    "netx_dense": ("stock", "lava.proc.dense.Dense"),
    "netx_convolution": ("stock", "lava.proc.conv.Conv"),
    "channel_delay": ("routing", "axonal delays a channel"),
    "cuba": ("stock", "lava.proc.lif.LIF"),
    "recurrent_cuba": ("stock", "lava.proc.lif.LIF with a recurrent lava.proc.dense.Dense"),
    "sigma": ("stock", "lava.proc.sdn.Sigma"),
    "delta": ("stock", "lava.proc.sdn.Delta"),
    "sigma_delta": ("stock", "lava.proc.sdn.SigmaDelta"),
}  # fmt: skip


@dataclass(frozen=True)
class KindNeed:
    """All layers of one kind: what they are to the chip.

    ``operations_per_neuron``: element-wise operations a token, the most of any layer of the kind.
    ``payload_bits`` / ``state_words``: the largest port and the words of state a neuron.
    """

    kind: str
    need: Need
    how: str
    layers: int
    neurons: int
    operations_per_neuron: float
    state_words: int
    payload_bits: int


@dataclass(frozen=True)
class SynapseReport:
    """A dense layer's weights and accumulators.

    ``mixed_sign``: has weights of both signs; stock hardware then keeps even weights only, so odd
    ones (``odd_weights``) are passed doubled with exponent -1, which is exact for -127..127.
    ``headroom_bits``: bits between the proven bound and the accumulator's width; negative: not
    proven, overflows are counted in every run.
    """

    name: str
    weights: int
    mixed_sign: bool
    odd_weights: int
    headroom_bits: int


@dataclass(frozen=True)
class Deployability:
    """The whole report for one network and one target."""

    profile: str
    kinds: tuple[KindNeed, ...]
    synapses: tuple[SynapseReport, ...]
    violations: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """One sentence."""
        programs = [kind.kind for kind in self.kinds if kind.need == "microcode"]
        unproven = sum(report.headroom_bits < 0 for report in self.synapses)
        parts = [
            f"needs neuron programs for {', '.join(programs)}" if programs else "stock throughout",
            f"{unproven} accumulators not proven" if unproven else "all accumulators proven",
            f"breaks {len(self.violations)} design rules" if self.violations else "fits",
        ]
        return f"{self.profile}: {'; '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "verdict": self.verdict, "specification": SPECIFICATION}


def deployability(network: Network, profile: Profile) -> Deployability:
    """Look at every layer. Raises InputError for a kind nothing is known of, never skips it."""
    unknown = sorted({layer.kind for layer in network.layers} - set(_NEEDS))
    if unknown:
        raise InputError("no statement can be made about these kinds of layers:", unknown)
    mapping = map_network(network, profile)
    return Deployability(
        profile.name, tuple(_kinds(network)), tuple(_synapses(network)),
        tuple(str(violation) for violation in mapping.violations),
    )  # fmt: skip


def _kinds(network: Network) -> Iterator[KindNeed]:
    for kind, (need, how) in _NEEDS.items():
        layers = [layer for layer in network.layers if layer.kind == kind]
        if not layers:
            continue
        if kind == "token_shift" and all(layer.is_hard for layer in layers):  # type: ignore[attr-defined]
            need, how = "routing", "axonal delay on some channels"
        if kind == "lif" and all(_is_memoryless(layer) for layer in layers):
            how += "; memoryless, so levels 1..L are also exactly L stock binary LIFs"
        yield KindNeed(
            kind, need, how, len(layers), sum(layer.output.size for layer in layers),
            max(sum(layer.operations().values()) / layer.output.size for layer in layers),
            max(-(-layer.state_words // layer.output.size) for layer in layers),
            max(layer.output.bits for layer in layers),
        )  # fmt: skip


def _is_memoryless(layer: Layer) -> bool:
    return isinstance(layer, Lif) and layer.voltage_decay == 4096


def _synapses(network: Network) -> Iterator[SynapseReport]:
    for layer in network.layers:
        if isinstance(layer, Dense):
            weight = layer.weight
            yield SynapseReport(
                layer.name, int(weight.size), bool((weight < 0).any() and (weight > 0).any()),
                int(np.count_nonzero(weight & 1)),
                layer.accumulator_bits - 1 - layer.bound.bit_length(),
            )  # fmt: skip
