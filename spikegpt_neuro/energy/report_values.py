"""An energy report as plain JSON values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.parts import PricedPart
from spikegpt_neuro.energy.timing import CLOSED_LOOP, Mode, Timing
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.mapping import Mapping
from spikegpt_neuro.network import Chain, LanguageModel, Network

if TYPE_CHECKING:
    from spikegpt_neuro.energy.report import EnergyReport

_OF_THE_HOST = (
    "look-up of the embedding, which the host does",
    "tokenisation, sampling and everything else the host does",
)
_OF_THE_HOST_OF_A_LOOP = (
    "the prompt, which the host sends, and reading the chosen tokens, one spike each",
    "tokenisation and everything else the host does",
)
_OF_EVERYTHING = (
    "loading weights, configuration and start-up",
    "off-chip memory, voltage conversion, cooling, boards",
    "queues in routers: a link's own time is counted, waiting behind other packets is not",
)


def never_counted(mode: Mode) -> tuple[str, ...]:
    """What no profile prices in that mode."""
    host = _OF_THE_HOST_OF_A_LOOP if mode == CLOSED_LOOP else _OF_THE_HOST
    return host + _OF_EVERYTHING


def report_values(report: EnergyReport) -> dict[str, Any]:
    """Plain JSON values. Keys carry their unit; see docs/energy.md."""
    energy = report.energy
    return {
        "profile": report.profile.name,
        "profile_title": report.profile.title,
        "method": report.profile.method,
        "mode": report.mode,
        **_shape(report.network),
        "tokens": report.counters.tokens,
        "energy_joules_per_token": None if energy is None else energy.value,
        "energy_joules_per_token_low": None if energy is None else energy.low,
        "energy_joules_per_token_high": None if energy is None else energy.high,
        "energy_note": "estimate from counts and published coefficients, not a measurement"
        if energy is not None
        else "no per-operation data",
        "energy_joules_per_sequence": report.joules_per_sequence,
        "power_watts": report.power_watts,
        "energy_joules_per_token_by_category": {
            category: e.to_dict() for category, e in report.by_category.items()
        },
        "time": None
        if report.timing is None
        else _timing_dict(report.timing, report.counters.tokens),
        "synaptic_operations_per_token": report.per_token("synaptic_operations"),
        "accumulates_per_token": report.per_token("accumulates"),
        "multiply_accumulates_per_token": report.per_token("multiply_accumulates"),
        "dense_operations_per_token": report.per_token("dense_operations"),
        "spikes_per_token": sum(layer.output_events for layer in report.layers if layer.fires)
        / report.counters.tokens,
        "event_bits_per_token": report.per_token("event_bits"),
        "spike_statement": list(report.statement),
        "per_layer": [_layer_dict(report, layer) for layer in report.layers],
        "bill": [
            {
                "category": line.category,
                "event": line.event,
                "count_per_token": line.count,
                "coefficient": line.coefficient,
                "status": line.status,
                "energy_joules_per_token": line.energy.value,
                "energy_joules_per_token_low": line.energy.low,
                "energy_joules_per_token_high": line.energy.high,
            }
            for line in report.lines
        ],
        "parts": [_part_dict(p) for p in report.parts],
        "sensitivity": [
            {
                "coefficient": s.coefficient,
                "elasticity": s.elasticity,
                "energy_joules_per_token_at_low": s.at_low,
                "energy_joules_per_token_at_high": s.at_high,
            }
            for s in report.sensitivity
        ],
        "coefficients": coefficient_rows(report.profile),
        "not_counted": [
            {"what": n.what, "count_per_token": n.count_per_token, "why": n.why}
            for n in report.not_counted
        ],
        "never_counted": list(never_counted(report.mode)),
        "unpublished": list(report.profile.unpublished),
        "warnings": list(report.warnings),
        "violations": [v.to_dict() for v in report.violations],
        "mapping": None if report.mapping is None else _mapping_summary(report.mapping),
        "machine": None if report.mapping is None else _machine_dict(report, report.mapping),
    }


def _machine_dict(report: EnergyReport, mapping: Mapping) -> dict[str, Any]:
    """What the target runs, and what of it is synaptic work."""
    populations = [unit for unit in report.units if unit.role == "neuron"]
    return {
        "graph": "fine" if mapping.machine.is_fine else "layers",
        "populations": len(populations),
        "neurons": sum(unit.size for unit in populations),
        "time_steps_per_token": mapping.machine.steps,
        "synaptic_operations_per_token": sum(u.synaptic_operations for u in report.units)
        / report.counters.tokens,
    }


def _layer_dict(report: EnergyReport, layer: LayerActivity) -> dict[str, Any]:
    energy = report.by_layer.get(layer.name)
    packets, hops = None, None
    if report.mapping is not None:
        sent = [
            found
            for name, found in report.mapping.transport.items()
            if report.mapping.machine.owners[name] == layer.name
        ]
        packets = math.fsum(number for number, _ in sent)
        if report.mapping.has_mesh:
            hops = math.fsum(travelled.total for _, travelled in sent)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "stage": layer.stage,
        "operand": layer.operand,
        "operand_bits": layer.payload_bits,
        "input_rate": layer.input_rate,
        "output_rate": layer.output_rate,
        "energy_joules_per_token": None if energy is None else energy.value,
        "accumulates": layer.accumulates,
        "multiply_accumulates": layer.multiply_accumulates,
        "dense_operations": layer.dense_operations,
        "unit_additions": layer.unit_additions,
        "elementwise_operations": dict(layer.elementwise),
        "neuron_updates_active": layer.active_updates,
        "neuron_updates_idle": layer.idle_updates,
        "input_events": layer.input_events,
        "output_events": layer.output_events,
        "output_bits": layer.output_bits,
        "event_bits": layer.event_bits,
        "weights_read": layer.weights_read,
        "state_words_read": layer.state_words_read,
        "state_words_written": layer.state_words_written,
        "parameter_words_read": layer.parameter_words_read,
        "activation_words_read": layer.activation_words_read,
        "activation_words_written": layer.activation_words_written,
        "packets_per_token": packets,
        "hops_per_token": hops,
        "saturations": layer.saturations,
        "overflows": layer.overflows,
    }


def _shape(network: Network) -> dict[str, Any]:
    """What a report says of a network's size; a chain has values in and out, and no blocks."""
    if isinstance(network, LanguageModel):
        info = network.info
        return {
            "layout": info.layout,
            "layers": info.n_layer,
            "width": info.n_embd,
            "vocabulary_size": info.vocabulary_size,
        }
    assert isinstance(network, Chain)
    return {
        "layout": network.info.layout,
        "inputs": network.input_size,
        "outputs": network.output_size,
    }


def coefficient_rows(profile: Profile) -> list[dict[str, Any]]:
    """Every coefficient and curve of a profile with range, unit, status, source and note."""
    figures = [figure.to_dict() for figure in profile.coefficients.values()]
    return figures + [curve.to_dict() for curve in profile.curves.values()]


def _timing_dict(timing: Timing, tokens: int) -> dict[str, Any]:
    return {
        "seconds_per_sequence": timing.seconds(tokens),
        "seconds_per_token": timing.value,
        "seconds_per_token_low": timing.low,
        "seconds_per_token_high": timing.high,
        "latency_seconds": timing.latency,
        "tokens_per_second": 1.0 / timing.value if timing.value else None,
        "time_steps_per_token": 1 if timing.mode == "pipelined" else timing.steps,
        "busiest_core": timing.busiest_core,
        "busiest_core_layers": list(timing.busiest_layers),
        "overhead_share": timing.overhead_share,
        "host_seconds_per_token": timing.host_seconds,
        "seconds_per_token_by_bottleneck": timing.bottlenecks,
        "steps": [
            {
                "step": step.number,
                "seconds": step.seconds,
                "bottleneck": step.bottleneck,
                "busiest_core_layers": list(step.layers),
            }
            for step in timing.each_step
        ],
    }


def _part_dict(priced: PricedPart) -> dict[str, Any]:
    part = priced.part
    return {
        "layer": part.layer,
        "category": part.category,
        "event": part.event,
        "count_per_token": float(part.count),
        "coefficient": part.coefficient,
        "status": part.status,
        "energy_joules_per_token": priced.energy.value,
        "energy_joules_per_token_low": priced.energy.low,
        "energy_joules_per_token_high": priced.energy.high,
    }


def _mapping_summary(mapping: Mapping) -> dict[str, Any]:
    values = mapping.to_dict()
    return {k: v for k, v in values.items() if k not in ("core_utilisation", "violations")}
