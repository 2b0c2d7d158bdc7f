"""One NIR node at a time: linear nodes wait as drives, neurons make layers of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from spikegpt_neuro.errors import InputError
from spikegpt_neuro.exchange.nir_format import UNIT
from spikegpt_neuro.exchange.nir_graph import Node
from spikegpt_neuro.exchange.nir_layers import LayerBuilder, rounded, spikes
from spikegpt_neuro.exchange.nir_loops import FeedbackWeights
from spikegpt_neuro.exchange.nir_marked import own_port
from spikegpt_neuro.exchange.nir_neurons import (
    FLOAT32,
    Dynamics,
    FloatArray,
    decay_units,
    dynamics,
    is_exact_decay,
    is_whole,
)
from spikegpt_neuro.exchange.nir_quantise import (
    LARGEST_THRESHOLD,
    ONLY_WHOLE,
    Parameters,
    Scale,
    choose_scale,
)
from spikegpt_neuro.exchange.nir_report import ImportReport, LayerReport
from spikegpt_neuro.exchange.nir_synapses import Drive, Signal, flattened, identity, pool, synapse
from spikegpt_neuro.exchange.nir_told import STATE_STEP, tell_neurons
from spikegpt_neuro.network import Port
from spikegpt_neuro.network.schema import Array
from spikegpt_neuro.network.slayer_layers import LeakyIntegrator, Sigma
from spikegpt_neuro.network.varied_neurons import current_based

Term = Signal | Drive

SUM_BITS = (32, 24)
"""Width of the sums of dense synapses, and of a convolution."""


class NodeReader:
    """Reads nodes into a builder's layers and tells the report what became of them."""

    def __init__(self, builder: LayerBuilder, report: ImportReport) -> None:
        self._builder, self._report = builder, report
        self._bits, self._time_step = report.bits, report.time_step

    def linear(self, name: str, node: Node, terms: list[Term]) -> list[Term]:
        """What a node without neurons makes of its inputs; layers follow where they are read."""
        if node.kind == "Flatten":
            return [replace(term, shape=flattened(node, term.shape)) for term in terms]
        if node.kind == "Delay":
            return [self._delayed(name, node, term) for term in terms]
        if node.kind == "Scale":
            return [self._scaled(name, node, term) for term in terms]
        found: list[Term] = []
        for signal in [self._settled(term) for term in terms]:
            if node.kind in ("SumPool2d", "AvgPool2d"):
                drive, unit = pool(name, node, signal)
                placed, _ = self._builder.place(drive, rounded(drive.weight), None, None)
                self._report.layers.append(LayerReport(placed, node.kind))
                found.append(Signal(placed, drive.shape, unit))
            else:
                drive = synapse(name, node, signal)
                # what is added has one bias, whatever it is added from
                found.append(replace(drive, bias=None) if found else drive)
        return found

    def _scaled(self, name: str, node: Node, term: Term) -> Term:
        factor = node.array("scale").reshape(-1)
        if factor.size not in (1, term.size):
            raise InputError("", [f"{name}: {factor.size} factors for {term.size} values"])
        if isinstance(term, Drive):
            return term.scaled(factor, name)
        return replace(term, unit=term.unit * factor)

    def _delayed(self, name: str, node: Node, term: Term) -> Term:
        exact = node.array("delay").reshape(-1) / self._time_step
        if self._bits is None and not is_whole(exact):
            raise InputError(
                "", [f"{name}/delay: must be whole time steps, a multiple of {self._time_step:g} s"]
            )
        if isinstance(term, Drive):
            return replace(term, delays=(*term.delays, (name, exact)))
        layer, error = self._builder.delay(name, term.layer, exact)
        self._report.layers.append(
            LayerReport(layer, "Delay", delay_error=0.0 if error <= FLOAT32 * 62 else error)
        )
        return replace(term, layer=layer)

    def _settled(self, term: Term) -> Signal:
        """A signal of integers; a drive that no neurons read is given a scale of its own."""
        return term if isinstance(term, Signal) else self._summed([term], term.name)

    def _summed(self, terms: Sequence[Term], name: str) -> Signal:
        """The sum of ``terms`` as one layer of accumulators with one scale."""
        drives = self._drives(terms, name)
        size = drives[0].size
        one = np.ones(size)
        biases = [(f"{d.name}/bias", d.bias) for d in drives if d.bias is not None]
        parameters = Parameters(
            [(f"{d.name}/weight", d.weight) for d in drives], biases, None, size
        )
        scale = choose_scale(parameters, one, name, self._bits)
        report = LayerReport(drives[0].name, _kind_of(drives[0]))
        layer = self._placed(drives, scale, report, one, with_biases=True)
        factor = float(scale.factor[0])
        self._builder.with_scale(layer, 1 / factor)
        self._report.layers.append(report)
        return Signal(layer, drives[0].shape, np.array([1 / factor]))

    def _drives(self, terms: Sequence[Term], name: str) -> list[Drive]:
        return [t if isinstance(t, Drive) else identity(f"{name}_synapse", t) for t in terms]

    def _placed(
        self, drives: Sequence[Drive], scale: Scale, report: LayerReport, unit: FloatArray, *,
        with_biases: bool, beside: FloatArray | None = None,
    ) -> str:  # fmt: skip
        """Synapses for ``drives``, added, with their errors in ``unit`` [n]; the last layer.

        ``with_biases``: biases are added here, not by the neurons; one of a drive with delays
        always is. ``beside``: another bias [n], in real numbers.
        """
        parts: list[str] = []
        report.scale = (float(scale.factor.min()), float(scale.factor.max()))
        report.synapses += [drive.name for drive in drives if drive.name != report.node]
        undelayed = np.zeros(drives[0].size) if beside is None else beside.copy()
        for drive in drives:
            scaled = drive.scaled(scale.factor, f"{report.node}/v_threshold")
            weight = rounded(scaled.weight)
            own = None
            if drive.bias is not None and drive.delays:
                own = rounded(drive.bias * scale.factor)
                self._note_bias(report, drive.bias, own, scale, unit)
            elif drive.bias is not None and with_biases:
                undelayed += drive.bias
            layer, late = self._builder.place(drive, weight, own, self._time_step)
            parts.append(layer)
            report.delay_error = max(report.delay_error, 0.0 if late <= FLOAT32 * 62 else late)
            report.bits = max(report.bits, int(np.abs(weight).max()).bit_length() + 1)
            if not scale.is_exact:
                error = replace(scaled, weight=weight - scaled.weight).rows() / scale.factor / unit
                report.weight_error = max(report.weight_error, float(error.max()))
            width = SUM_BITS[drive.geometry is not None]
            if self._builder.bounds[layer] >= 1 << (width - 1):
                report.notes.append(
                    f"sums wrap at {width} bits; all inputs at once could leave them"
                )
        if undelayed.any():
            bias = rounded(undelayed * scale.factor)
            self._note_bias(report, undelayed, bias, scale, unit)
            parts.append(self._builder.constant(drives[0].name, bias))
        return self._builder.sums(parts, f"{drives[0].name}_sum")

    def _note_bias(
        self, report: LayerReport, real: FloatArray, bias: Array, scale: Scale, unit: FloatArray
    ) -> None:
        if not scale.is_exact:
            error = np.abs(bias / scale.factor - real) / unit
            report.bias_error += float(error.max())

    def neuron(
        self, name: str, node: Node, terms: list[Term], feedback: FeedbackWeights | None
    ) -> list[Term]:
        """The layer of a node of neurons, with the synapses that wait before it."""
        size = terms[0].size
        try:
            step = dynamics(name, node, terms[0].shape, self._time_step)
        except InputError as error:
            fractions = self._fractions(terms)
            raise InputError("", [*fractions, *error.problems]) from error
        if node.kind == "I":
            return [self._integrator(name, step, terms)]
        problems = list(self._decay_problems(name, node, step))
        drives, layer = self._weighted(name, step, terms, feedback is not None)
        parameters = _parameters(name, drives, step, feedback)
        try:
            scale = choose_scale(parameters, step.gain, name, self._bits)
        except InputError as error:
            raise InputError("", [*problems, *error.problems]) from error
        problems += _lost(name, parameters, scale)
        if problems:
            raise InputError("", problems)
        decays = decay_units(step.current_decay), decay_units(step.voltage_decay)
        report = LayerReport(name, node.kind)
        bias = step.leak.copy()
        extra = np.zeros(size) if feedback is None else feedback.bias * step.gain
        in_current = bool((decays[0] != UNIT).any())
        if not in_current:
            bias += extra + sum(
                (d.bias for d in drives if d.bias is not None and not d.delays), 0.0
            )
        unit = np.ones(size)  # of the voltage, where nothing is fired at
        if step.threshold is not None:
            least = np.maximum(parameters.largest(), 1e-300)
            unit = np.where(step.threshold > 0, step.threshold, least)
        if drives:
            layer = self._placed(
                drives, scale, report, unit, with_biases=in_current,
                beside=extra if in_current else None,
            )  # fmt: skip
        elif in_current and extra.any():  # neurons that read a layer as it is, and hear a bias
            held = rounded(extra * scale.factor)
            self._note_bias(report, extra, held, scale, unit)
            constant = self._builder.constant(name, held)
            layer = self._builder.sum(layer, constant, f"{name}_sum")
        integers = rounded(bias * scale.factor)
        self._note_bias(report, bias, integers, scale, unit)
        recurrent = None
        if feedback is not None:
            real = feedback.weight * (step.gain * scale.factor)[:, None]
            recurrent = rounded(real)
            report.synapses.append(feedback.name)
            if not scale.is_exact:
                missed = np.abs(recurrent - real) / (scale.factor * unit)[:, None]
                report.weight_error = max(report.weight_error, float(missed.max()))
            report.bits = max(report.bits, int(np.abs(recurrent).max()).bit_length() + 1)
        tell_neurons(report, node, step, scale, decays, self._reach(layer, integers, recurrent))
        self._report.layers.append(report)
        port = own_port(name, node) or spikes(size)
        held = integers.astype(np.int32)
        if step.threshold is None:
            values = held, int(decays[0][0]), int(decays[1][0])
            return [self._sent_voltage(name, node, terms[0].shape, layer, values, scale)]
        weight = None if recurrent is None else recurrent.astype(np.int16)
        threshold = int(scale.threshold or 0)
        self._builder.add(current_based(name, layer, port, held, decays, threshold, weight), 1)
        return [Signal(name, terms[0].shape, np.ones(1))]

    def _sent_voltage(
        self, name: str, node: Node, shape: tuple[int, ...], source: str,
        values: tuple[Array, int, int], scale: Scale,
    ) -> Signal:  # fmt: skip
        """The layer of neurons that do not fire."""
        unit = STATE_STEP / scale.factor
        port = own_port(name, node) or Port(len(unit), "graded", 24, True, float(unit[0]))
        self._builder.add(LeakyIntegrator(name, (source,), port, *values), port.high)
        return Signal(name, shape, unit if np.ptp(unit) else unit[:1])

    def _fractions(self, terms: list[Term]) -> Iterator[str]:
        """What is not whole before neurons that cannot be held themselves."""
        for term in terms if self._bits is None else []:
            if isinstance(term, Drive):
                values = (("weight", term.weight), ("bias", term.bias))
                for what, array in values:
                    if array is not None and not is_whole(array):
                        yield f"{term.name}/{what}: {ONLY_WHOLE}"

    def _weighted(
        self, name: str, step: Dynamics, terms: list[Term], hears_itself: bool
    ) -> tuple[list[Drive], str]:
        """Drives with the input's gain in them; or none, and the layer neurons read as it is."""
        single = terms[0]
        # as it is only at a scale of 1, which weights between the neurons could rule out
        free = len(terms) == 1 and not (hears_itself and self._bits is not None)
        if free and isinstance(single, Signal) and _is_one(single.unit * step.gain):
            whole = Parameters([], [("", step.leak)], step.threshold, single.size)
            try:
                choose_scale(whole, step.gain, name, None)
            except InputError:
                if self._bits is None:
                    return [], single.layer
            else:
                return [], single.layer
        return [
            d.scaled(step.gain, f"{name}: the gain of its input") for d in self._drives(terms, name)
        ], ""

    def _decay_problems(self, name: str, node: Node, step: Dynamics) -> Iterator[str]:
        """Decays that are no multiples of 1/4096, where nothing is to be rounded."""
        membrane = "tau_mem" if node.kind.startswith("Cuba") else "tau"
        for key, decay in (("tau_syn", step.current_decay), (membrane, step.voltage_decay)):
            if self._bits is None and not is_exact_decay(decay):
                yield (
                    f"{name}/{key}: a decay of {decay[0]:.6g} a step of {self._time_step:g} s is "
                    "not a multiple of 1/4096"
                )
            elif step.threshold is None and np.ptp(decay_units(decay)):
                yield f"{name}/{key}: differs within the layer, whose integrators share one decay"

    def _reach(self, layer: str, bias: Array, recurrent: Array | None) -> float:
        """Largest |input| of the neurons in units of the weights, if all that can arrives."""
        own = 0 if recurrent is None else int(np.abs(recurrent).sum(axis=1).max())
        return float(self._builder.bounds[layer] + own + int(np.abs(bias).max()))

    def _integrator(self, name: str, step: Dynamics, terms: list[Term]) -> Signal:
        """``I`` as a running sum of its input."""
        single = terms[0]
        if len(terms) == 1 and isinstance(single, Signal) and _is_one(single.unit * step.gain):
            signal = replace(single, unit=np.ones(1))  # the gain undoes the unit
        else:
            where = f"{name}: the gain of its input"
            drives = [d.scaled(step.gain, where) for d in self._drives(terms, name)]
            signal = self._summed(drives, name)
        unit = float(signal.unit.flat[0])
        port = Port(signal.size, "graded", 32, True, unit)
        self._builder.add(Sigma(name, (signal.layer,), port), port.high)
        self._report.layers.append(LayerReport(name, "I", scale=(1 / unit, 1 / unit)))
        return Signal(name, signal.shape, signal.unit)

    def output(self, name: str, terms: list[Term]) -> str:
        """The layer the graph's output node reads."""
        if not terms:
            return ""
        if len(terms) > 1:
            return self._summed(terms, name).layer
        signal = self._settled(terms[0])
        if np.ptp(signal.unit):
            return self._summed([signal], name).layer
        if not _is_one(signal.unit):
            self._builder.with_scale(signal.layer, float(signal.unit.flat[0]))
        return signal.layer


def _parameters(
    name: str, drives: Sequence[Drive], step: Dynamics, feedback: FeedbackWeights | None
) -> Parameters:
    weights = [(f"{d.name}/weight", d.weight) for d in drives]
    biases = [(f"{d.name}/bias", d.bias) for d in drives if d.bias is not None]
    if feedback is not None:
        weights.append((f"{feedback.name}/weight", feedback.weight * step.gain[:, None]))
        if feedback.bias.any():
            biases.append((f"{feedback.name}/bias", feedback.bias * step.gain))
    if step.leak.any():
        biases.append((f"{name}/v_leak", step.leak))
    return Parameters(weights, biases, step.threshold, len(step.gain))


def _lost(name: str, parameters: Parameters, scale: Scale) -> Iterator[str]:
    """Neurons whose every weight rounds to 0 because it is so far below their threshold."""
    largest = parameters.largest()
    if parameters.threshold is None:
        return
    if largest.any() and not np.round(largest * scale.factor).any():
        yield (
            f"{name}: one input moves the voltage by at most {largest.max():.3g} a step, of a "
            f"threshold of {parameters.threshold.max():.3g}; integers resolve "
            f"1/{LARGEST_THRESHOLD}. Is the time step that of the file?"
        )


def _is_one(values: FloatArray) -> bool:
    return bool((np.abs(values - 1) <= FLOAT32).all())


def _kind_of(drive: Drive) -> str:
    if drive.geometry is None:
        return "Linear"
    return "Conv2d" if len(drive.shape) == 3 else "Conv1d"
