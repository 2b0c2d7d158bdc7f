"""What of a network stock Loihi 2 processes hold, what needs programs, and what fits where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from spikegpt_neuro.backends.loihi2.specification import SPECIFICATIONS, Need
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import check_rules, describes_cores, map_network
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Dense, Layer, Lif, TokenShift

SignMode = Literal["mixed", "excitatory", "inhibitory"]

DENDRITE_BITS = 24
"""Accumulators of stock chains, whose layers declare no width of their own."""
STATE_BITS = 24
"""Widest state or parameter of a stock Loihi 2 neuron, as in Lava's models."""
PAYLOAD_BITS = 24
"""Graded spikes of Lava's processes."""
PACKING = "middle"


@dataclass(frozen=True)
class KindNeed:
    """All layers of one kind: what they are to the chip.

    ``how``: the stock process, or what the program does; its whole specification is in the report's
    ``specifications``. ``operations_per_neuron``: element-wise operations a token, the most of any
    layer of the kind. ``state_words``, ``state_bits``: words of state a neuron, and the widest.
    ``payload_bits``: the widest port. ``intermediate_bits``: the widest value inside an update.
    """

    kind: str
    need: Need
    how: str
    evidence: str
    layers: int
    neurons: int
    operations_per_neuron: float
    state_words: int
    state_bits: int
    payload_bits: int
    intermediate_bits: int


@dataclass(frozen=True)
class SynapseReport:
    """A layer's weights and accumulators.

    ``odd_weights``: those stock hardware would make even if they were passed as they are, where
    the sign mode is mixed. ``passed``: how they are passed instead; no bit is lost either way.
    ``bound``: proven largest sum. ``headroom_bits``: bits between it and the accumulator's width;
    negative: not proven, overflows are counted in every run.
    """

    name: str
    kind: str
    weights: int
    weight_bits: int
    sign_mode: SignMode
    odd_weights: int
    passed: str
    accumulator_bits: int
    bound: int
    headroom_bits: int


@dataclass(frozen=True)
class Verdict:
    """Whether the network fits one target, and every design rule it breaks there."""

    profile: str
    fits: bool
    sentence: str
    violations: tuple[str, ...]


@dataclass(frozen=True)
class Deployability:
    """The whole report for one network."""

    kinds: tuple[KindNeed, ...]
    synapses: tuple[SynapseReport, ...]
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``specifications`` of every kind that needs a program."""
        return {
            **asdict(self),
            "specifications": {
                kind.kind: SPECIFICATIONS[kind.kind].to_dict()
                for kind in self.kinds
                if kind.need == "microcode"
            },
        }


def deployability(network: Network, profiles: Sequence[Profile]) -> Deployability:
    """Look at every layer. Raises InputError for a kind nothing is known of, never skips it."""
    unknown = sorted({layer.kind for layer in network.layers} - set(SPECIFICATIONS))
    if unknown:
        raise InputError("no statement can be made about these kinds of layers:", unknown)
    kinds, synapses = tuple(_kinds(network)), tuple(_synapses(network))
    return Deployability(
        kinds, synapses, tuple(_verdict(network, p, kinds, synapses) for p in profiles)
    )


def _kinds(network: Network) -> Iterator[KindNeed]:
    for kind, specification in SPECIFICATIONS.items():
        layers = [layer for layer in network.layers if layer.kind == kind]
        if not layers:
            continue
        need, how = specification.need, specification.summary
        if all(isinstance(layer, TokenShift) and layer.is_hard for layer in layers):
            need, how = "routing", "axonal delay on some channels"
        if all(_is_memoryless(layer) for layer in layers):
            how += "; memoryless, so levels 1..L are also exactly L stock binary LIFs"
        words = max(-(-layer.state_words // layer.output.size) for layer in layers)
        bits = max((bits for _, bits, _ in specification.state), default=STATE_BITS if words else 0)
        yield KindNeed(
            kind, need, how, specification.evidence, len(layers),
            sum(layer.output.size for layer in layers),
            max(sum(layer.operations().values()) / layer.output.size for layer in layers),
            words, bits, max(layer.output.bits for layer in layers), specification.widest_bits,
        )  # fmt: skip


def _is_memoryless(layer: Layer) -> bool:
    return isinstance(layer, Lif) and layer.voltage_decay == 4096


def _sign_mode(weight: np.ndarray) -> SignMode:
    """As ``lava.utils.weightutils.determine_sign_mode`` finds it from the data."""
    if (weight >= 0).all():
        return "excitatory"
    return "inhibitory" if (weight <= 0).all() else "mixed"


def _bound(layer: Layer, weight: np.ndarray, network: Network) -> int:
    """Proven largest |sum|: the layer's own, or the largest row of |weight| x largest operand."""
    if isinstance(layer, Dense):
        return layer.bound
    # a convolution's weights are flat: the sum of one output channel's kernel
    rows = weight.reshape(weight.shape[0], -1) if weight.ndim > 1 else None
    if rows is None:
        rows = weight.reshape(int(layer.geometry[3]), -1)  # type: ignore[attr-defined]
    operand = network[layer.inputs[0]].output.high if layer.kind.startswith("netx") else 1
    return int(np.abs(rows.astype(np.int64)).sum(axis=1).max()) * operand


def _synapses(network: Network) -> Iterator[SynapseReport]:
    for layer in network.layers:
        if "weight" not in layer.array_specs():
            continue
        weight: np.ndarray = layer.weight  # type: ignore[attr-defined]
        mode = _sign_mode(weight)
        odd = int(np.count_nonzero(weight & 1))
        bits = max(abs(int(weight.min())), int(weight.max())).bit_length() + (mode == "mixed")
        width = getattr(layer, "accumulator_bits", DENDRITE_BITS)
        bound = _bound(layer, weight, network)
        passed = "as they are"
        if mode == "mixed" and odd:
            passed = "doubled, exponent -1"
        yield SynapseReport(
            layer.name, layer.kind, int(weight.size), bits, mode, odd, passed, width, bound,
            width - 1 - bound.bit_length(),
        )  # fmt: skip


def _verdict(
    network: Network, profile: Profile, kinds: Sequence[KindNeed], synapses: Sequence[SynapseReport]
) -> Verdict:
    """Design rules of a target; for Loihi 2 also what its stock processes leave to be written."""
    parts = []
    if profile.name == "loihi2":
        programs = [kind.kind for kind in kinds if kind.need == "microcode"]
        parts.append(
            f"needs neuron programs for {', '.join(programs)}" if programs else "stock throughout"
        )
        unproven = sum(report.headroom_bits < 0 for report in synapses)
        parts.append(
            f"{unproven} accumulators not proven" if unproven else "all accumulators proven"
        )
    try:
        violations = (
            map_network(network, profile, PACKING).violations if describes_cores(profile)
            else check_rules(network, profile, PACKING, ())
        )  # fmt: skip
    except InputError as error:
        return Verdict(
            profile.name, False, f"{profile.name}: {'; '.join([*parts, 'not mapped'])}",
            (f"not mapped: {error.summary}",),
        )  # fmt: skip
    rules = sorted({violation.rule for violation in violations})
    if rules:
        parts.append(f"breaks {len(violations)} design rules ({', '.join(rules)})")
    elif profile.limits or profile.features:
        parts.append("fits")
    else:
        parts.append("has no limits: nothing to fit")
    return Verdict(
        profile.name, not rules, f"{profile.name}: {'; '.join(parts)}",
        tuple(str(violation) for violation in violations),
    )  # fmt: skip
