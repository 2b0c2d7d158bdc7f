"""What of a network stock Loihi 2 processes hold, what needs programs, and what fits where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.decomposition.decomposition import fine_problems
from spikegpt_neuro.decomposition.neuron_programs import (
    LAYER_NORM,
    OWN_NEURONS,
    PROGRAMS,
    ProgramUse,
    programs_of,
    to_dict,
)
from spikegpt_neuro.decomposition.neuron_specification import StockProgram
from spikegpt_neuro.decomposition.schedule import Schedule, schedule, without_embedding
from spikegpt_neuro.decomposition.stock_plan import STOCK_FORMS
from spikegpt_neuro.errors import InputError
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import check_rules, describes_cores, map_network
from spikegpt_neuro.network import Chain, Network
from spikegpt_neuro.network.layers import Dense
from spikegpt_neuro.network.schema import Layer

Need = Literal["stock", "own", "routing", "host", "none"]
SignMode = Literal["mixed", "excitatory", "inhibitory"]

PACKING = "middle"


@dataclass(frozen=True)
class KindNeed:
    """All layers of one kind: what they are to the chip.

    ``processes``: stock processes, by class, and own neurons, by name, that compute the kind.
    ``need``: ``own`` if an own neuron is among them, so that it needs microcode; ``stock``;
    ``routing`` where axons do all; ``host``; ``none`` where the network has no fine graph. A
    chain's layers without a stock process need an own neuron that is not written: no process is
    named.
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
    if isinstance(network, Chain):
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
            kind,
            need,
            tuple(e.process if isinstance(e, StockProgram) else n for n, e in programs.items()),
            tuple(f"{entry.process}: {entry.evidence}" for entry in stock if entry.evidence),
            len(layers),
            sum(layer.output.size for layer in layers),
        )


def _kinds_of_chain(network: Network) -> Iterator[KindNeed]:
    for kind, layers in _by_kind(network).items():
        size = sum(layer.output.size for layer in layers)
        if STOCK_FORMS.refusal(layers[0]):  # an own neuron, which nobody has written
            yield KindNeed(kind, "own", (), (), len(layers), size)
            continue
        form = STOCK_FORMS(layers[0])
        yield KindNeed(
            kind, form.need, form.processes, (form.evidence,) if form.evidence else (), len(layers),
            size,
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


def _synapses(network: Network) -> Iterator[SynapseReport]:
    for layer in network.layers:
        if layer.rows is None:
            continue
        weight = np.asarray(layer.rows)
        mode = _sign_mode(weight)
        odd = int(np.count_nonzero(weight & 1))
        bits = max(abs(int(weight.min())), int(weight.max())).bit_length() + (mode == "mixed")
        width, bound = layer.sum_bits, network.bound(layer)
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
        if isinstance(network, Chain):
            own = sorted({x.kind for x in network.layers if STOCK_FORMS.refusal(x)})
        parts.append(f"needs neuron programs for {', '.join(own)}" if own else "stock throughout")
        unproven = sum(report.headroom_bits < 0 for report in synapses)
        parts.append(
            f"{unproven} accumulators not proven" if unproven else "all accumulators proven"
        )
    try:
        violations = (
            map_network(network, profile, PACKING).violations
            if describes_cores(profile)
            else check_rules(network, profile, PACKING, ())
        )
    except InputError as error:
        return Verdict(
            profile.name,
            False,
            f"{profile.name}: {'; '.join([*parts, 'not mapped'])}",
            (f"not mapped: {error.summary}",),
        )
    rules = sorted({violation.rule for violation in violations})
    if rules:
        parts.append(f"breaks {len(violations)} design rules ({', '.join(rules)})")
    elif profile.limits or profile.features:
        parts.append("fits")
    else:
        parts.append("has no limits: nothing to fit")
    return Verdict(
        profile.name,
        not rules,
        f"{profile.name}: {'; '.join(parts)}",
        tuple(str(violation) for violation in violations),
    )
