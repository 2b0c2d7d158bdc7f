"""What of a network stock Loihi 2 processes hold, what needs programs, and what fits where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.backends.lava.decomposition import fine_problems
from spikegpt_neuro.backends.lava.neuron_programs import (
    LAYER_NORM,
    OWN_NEURONS,
    PROGRAMS,
    SEEN_LIF,
    SEEN_SIGMA_DELTA,
    ProgramUse,
    programs_of,
    to_dict,
)
from spikegpt_neuro.backends.lava.neuron_specification import StockProgram
from spikegpt_neuro.backends.lava.schedule import Schedule, schedule, without_embedding
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import check_rules, describes_cores, map_network
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer

Need = Literal["stock", "own", "routing", "host", "none"]
SignMode = Literal["mixed", "excitatory", "inhibitory"]

DENDRITE_BITS = 24
"""Accumulators of stock chains, whose layers declare no width of their own."""
PACKING = "middle"

CHAIN_PROCESSES: Mapping[str, tuple[Need, tuple[str, ...], str]] = {
    "raster_input": ("host", (), ""),
    "delay": ("routing", (), ""),
    "channel_delay": ("routing", (), ""),
    "netx_dense": ("stock", ("lava.proc.dense.Dense",), SEEN_LIF),
    "netx_convolution": ("stock", ("lava.proc.conv.Conv",), SEEN_LIF),
    "cuba": ("stock", ("lava.proc.lif.LIF", "lava.proc.lif.LIFReset"), SEEN_LIF),
    "recurrent_cuba": ("stock", ("lava.proc.lif.LIF", "lava.proc.dense.Dense"),
                       f"the two processes, not joined: {SEEN_LIF}"),
    "alif": ("stock", ("lava.proc.atrlif.ATRLIF",), ""),
    "recurrent_alif": ("stock", ("lava.proc.atrlif.ATRLIF", "lava.proc.dense.Dense"), ""),
    "sigma": ("stock", ("lava.proc.sdn.Sigma",), SEEN_SIGMA_DELTA),
    "delta": ("stock", ("lava.proc.sdn.Delta",), ""),
    "sigma_delta": ("stock", ("lava.proc.sdn.SigmaDelta",), SEEN_SIGMA_DELTA),
}  # fmt: skip
"""Kinds of layers of a stock chain: what they are, the processes, and where those are seen on
Loihi 2. ``LIFReset`` holds neurons that are reset on the chip."""


@dataclass(frozen=True)
class KindNeed:
    """All layers of one kind: what they are to the chip.

    ``processes``: stock processes, by class, and own neurons, by name, that compute the kind.
    ``need``: ``own`` if an own neuron is among them, so that it needs microcode; ``stock``;
    ``routing`` where axons do all; ``host``; ``none`` where the network has no fine graph.
    ``evidence``: public code that runs the stock processes on Loihi 2.
    """

    kind: str
    need: Need
    processes: tuple[str, ...]
    evidence: tuple[str, ...]
    layers: int
    neurons: int


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
    """The whole report for one network. ``programs``: what its fine graph is built of."""

    kinds: tuple[KindNeed, ...]
    programs: Mapping[str, ProgramUse]
    synapses: tuple[SynapseReport, ...]
    verdicts: tuple[Verdict, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``programs`` with their whole specification."""
        values = asdict(self)
        programs = {name: to_dict(name) | asdict(use) for name, use in self.programs.items()}
        return {**values, "programs": programs}


def deployability(network: Network, profiles: Sequence[Profile]) -> Deployability:
    """Look at every layer. Raises InputError for a kind nothing is known of, never skips it."""
    problems: list[str] = []
    programs: Mapping[str, ProgramUse] = {}
    if network.takes_raster:
        kinds = tuple(_kinds_of_chain(network))
    else:
        problems = fine_problems(network)
        planned = None if problems else schedule(network)
        kinds = tuple(_kinds(network, planned))
        programs = {} if planned is None else _on_chip(planned)
    synapses = tuple(_synapses(network))
    verdicts = (_verdict(network, p, programs, synapses, problems) for p in profiles)
    return Deployability(kinds, programs, synapses, tuple(verdicts))


def _on_chip(planned: Schedule) -> dict[str, ProgramUse]:
    """The programs of the fine graph without the embedding, which is the host's."""
    first, *others = planned.stages
    return programs_of(replace(planned, stages=(without_embedding(first), *others)))


def _kinds(network: Network, planned: Schedule | None) -> Iterator[KindNeed]:
    used: dict[str, set[str]] = {}
    for element in () if planned is None else planned.elements:
        parts = LAYER_NORM if element.program == "layer_norm" else (element.program,)
        used.setdefault(element.layer, set()).update(parts)
    for kind, layers in _by_kind(network).items():
        found = set().union(*(used.get(layer.name, set()) for layer in layers))
        programs = {name: entry for name, entry in PROGRAMS.items() if name in found}
        stock = [entry for entry in programs.values() if isinstance(entry, StockProgram)]
        need: Need
        if layers[0] is network.layers[0]:
            need, programs, stock = "host", {}, []
        elif planned is None:
            need = "none"
        elif not programs:
            need = "routing"
        else:
            need = "own" if len(stock) < len(programs) else "stock"
        yield KindNeed(
            kind, need,
            tuple(e.process if isinstance(e, StockProgram) else n for n, e in programs.items()),
            tuple(f"{entry.process}: {entry.evidence}" for entry in stock if entry.evidence),
            len(layers), sum(layer.output.size for layer in layers),
        )  # fmt: skip


def _kinds_of_chain(network: Network) -> Iterator[KindNeed]:
    kinds = _by_kind(network)
    unknown = sorted(set(kinds) - set(CHAIN_PROCESSES))
    if unknown:
        raise InputError("no statement can be made about these kinds of layers:", unknown)
    for kind, layers in kinds.items():
        need, processes, evidence = CHAIN_PROCESSES[kind]
        yield KindNeed(
            kind, need, processes, (evidence,) if evidence else (), len(layers),
            sum(layer.output.size for layer in layers),
        )  # fmt: skip


def _by_kind(network: Network) -> dict[str, list[Layer]]:
    found: dict[str, list[Layer]] = {}
    for layer in network.layers:
        found.setdefault(layer.kind, []).append(layer)
    return found


def _sign_mode(weight: np.ndarray) -> SignMode:
    """As ``lava.utils.weightutils.determine_sign_mode`` finds it from the data."""
    if (weight >= 0).all():
        return "excitatory"
    return "inhibitory" if (weight <= 0).all() else "mixed"


def _bound(layer: Layer, weight: np.ndarray, network: Network) -> int:
    """Proven largest |sum|: the layer's own, or the largest row of |weight| x largest operand."""
    if isinstance(layer, Dense):
        return network.bound(layer)
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
        weight = np.asarray(layer.weight)  # type: ignore[attr-defined]
        mode = _sign_mode(weight)
        odd = int(np.count_nonzero(weight & 1))
        bits = max(abs(int(weight.min())), int(weight.max())).bit_length() + (mode == "mixed")
        width = getattr(layer, "accumulator_bits", DENDRITE_BITS)
        bound = _bound(layer, weight, network)
        passed = "as they are"
        if mode == "mixed" and odd:
            passed = "doubled, exponent -1"
        if isinstance(layer, Dense) and layer.weight_bits < MOST_BITS:
            bits = layer.weight_bits
            left = MOST_BITS - bits + (mode == "mixed")
            passed = f"{bits} weight bits, times {1 << left}, exponent {-left}"
        yield SynapseReport(
            layer.name, layer.kind, int(weight.size), bits, mode, odd, passed, width, bound,
            width - 1 - bound.bit_length(),
        )  # fmt: skip


def _verdict(
    network: Network, profile: Profile, programs: Mapping[str, ProgramUse],
    synapses: Sequence[SynapseReport], problems: Sequence[str],
) -> Verdict:  # fmt: skip
    """Design rules of a target; for Loihi 2 also what its stock processes leave to be written."""
    parts = []
    if profile.name == "loihi2":
        if problems:
            return Verdict(profile.name, False, "loihi2: has no fine graph", tuple(problems))
        own = [name for name in programs if name in OWN_NEURONS]
        parts.append(f"needs neuron programs for {', '.join(own)}" if own else "stock throughout")
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
