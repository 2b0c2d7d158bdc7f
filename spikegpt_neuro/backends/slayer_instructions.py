"""Instructions of the layers of stock NetX chains; see ``backends.instructions``."""

# numba types what it compiles itself, from ``STEP_SIGNATURE``
# mypy: disable-error-code="arg-type,attr-defined,call-arg,no-untyped-def,unreachable"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from spikegpt_neuro.arithmetic import slayer_neurons
from spikegpt_neuro.arithmetic.compiler import inline_kernel
from spikegpt_neuro.arithmetic.intrinsics import address_to_pointer
from spikegpt_neuro.arithmetic.varied_neurons import varied_cuba
from spikegpt_neuro.backends.execution import Column, Count, Share
from spikegpt_neuro.backends.instructions import instruction, operand, places, result, words
from spikegpt_neuro.network import slayer_layers as slayer
from spikegpt_neuro.network.layers import RecurrentVariedCuba, VariedCuba
from spikegpt_neuro.network.schema import Array

_ChannelDelay, _Sigma = places(slayer.ChannelDelay), places(slayer.Sigma)
_Integrator = places(slayer.LeakyIntegrator)
_Cuba, _RecurrentCuba = places(slayer.Cuba), places(slayer.RecurrentCuba)
_Alif, _RecurrentAlif = places(slayer.Alif), places(slayer.RecurrentAlif)
_Delta, _SigmaDelta = places(slayer.Delta), places(slayer.SigmaDelta)
_VariedCuba, _RecurrentVariedCuba = places(VariedCuba), places(RecurrentVariedCuba)
_P, _S = Column.PARAMETERS, Column.STATE


def _by_input(layer: Any) -> Array:
    return layer.weight.T


@inline_kernel
def _synapses(row: Any, operands: Any, total: Any, counters: Any) -> None:
    """Add the sums of the row's weights over ``operands`` to ``total``."""
    weight = carray(address_to_pointer(row[Column.ADDRESS]), (operands.size, total.size), np.int16)
    slayer_neurons.by_input(weight, operands, total, counters[Count.OPERATIONS : Count.OVERFLOWS])


@instruction(slayer.RasterInput, share=Share.WHOLE)
def _raster_input(row, token, parameters, state, values, counters, begin, end):
    pass  # whoever runs the program has put the raster's row there


@instruction(slayer.NetxDense, share=Share.WHOLE, table=_by_input)
def _netx_dense(row, token, parameters, state, values, counters, begin, end):
    total = result(row, values, begin, end)
    total[:] = 0
    _synapses(row, operand(row, values, Column.FIRST, 0, row[Column.INPUT_SIZE]), total, counters)


@instruction(slayer.NetxConvolution, share=Share.WHOLE, table=lambda layer: layer.weight)
def _netx_convolution(row, token, parameters, state, values, counters, begin, end):
    total = result(row, values, begin, end)
    total[:] = 0
    weights = carray(address_to_pointer(row[Column.ADDRESS]), (row[Column.ELEMENTS],), np.int16)
    geometry = row[_P]
    slayer_neurons.convolution(
        weights,
        parameters[geometry : geometry + GEOMETRY_WORDS],
        operand(row, values, Column.FIRST, 0, row[Column.INPUT_SIZE]),
        total,
        counters[Count.OPERATIONS : Count.OVERFLOWS],
    )


GEOMETRY_WORDS = len(slayer.GEOMETRY)


@instruction(slayer.ChannelDelay, share=Share.WHOLE)
def _channel_delay(row, token, parameters, state, values, counters, begin, end):
    depth, n = row[_ChannelDelay.depth], row[Column.SIZE]
    line = state[row[_S] : row[_S] + depth * n].reshape(depth, n)
    slayer_neurons.channel_delay(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _ChannelDelay.delay, begin, end),
        line,
        result(row, values, begin, end),
    )


@instruction(slayer.Cuba)
def _cuba(row, token, parameters, state, values, counters, begin, end):
    slayer_neurons.cuba(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _Cuba.bias, begin, end), row[_Cuba.current_decay],
        row[_Cuba.voltage_decay], row[_Cuba.threshold],
        words(row, state, _S, _Cuba.current, begin, end),
        words(row, state, _S, _Cuba.voltage, begin, end), result(row, values, begin, end), counters,
    )  # fmt: skip


@instruction(slayer.LeakyIntegrator)
def _leaky_integrator(row, token, parameters, state, values, counters, begin, end):
    slayer_neurons.leaky_integrator(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _Integrator.bias, begin, end), row[_Integrator.current_decay],
        row[_Integrator.voltage_decay], words(row, state, _S, _Integrator.current, begin, end),
        words(row, state, _S, _Integrator.voltage, begin, end), result(row, values, begin, end),
        counters,
    )  # fmt: skip


@instruction(slayer.RecurrentCuba, share=Share.WHOLE, table=_by_input)
def _recurrent_cuba(row, token, parameters, state, values, counters, begin, end):
    last = words(row, state, _S, _RecurrentCuba.last_spikes, begin, end)
    total = operand(row, values, Column.FIRST, begin, end).copy()
    _synapses(row, last, total, counters)
    spikes = result(row, values, begin, end)
    slayer_neurons.cuba(
        total, words(row, parameters, _P, _RecurrentCuba.bias, begin, end),
        row[_RecurrentCuba.current_decay], row[_RecurrentCuba.voltage_decay],
        row[_RecurrentCuba.threshold], words(row, state, _S, _RecurrentCuba.current, begin, end),
        words(row, state, _S, _RecurrentCuba.voltage, begin, end), spikes, counters,
    )  # fmt: skip
    last[:] = spikes


@instruction(VariedCuba)
def _varied_cuba(row, token, parameters, state, values, counters, begin, end):
    varied_cuba(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _VariedCuba.bias, begin, end),
        words(row, parameters, _P, _VariedCuba.current_decay, begin, end),
        words(row, parameters, _P, _VariedCuba.voltage_decay, begin, end),
        row[_VariedCuba.threshold], words(row, state, _S, _VariedCuba.current, begin, end),
        words(row, state, _S, _VariedCuba.voltage, begin, end), result(row, values, begin, end),
        counters,
    )  # fmt: skip


@instruction(RecurrentVariedCuba, share=Share.WHOLE, table=_by_input)
def _recurrent_varied_cuba(row, token, parameters, state, values, counters, begin, end):
    last = words(row, state, _S, _RecurrentVariedCuba.last_spikes, begin, end)
    total = operand(row, values, Column.FIRST, begin, end).copy()
    _synapses(row, last, total, counters)
    spikes = result(row, values, begin, end)
    varied_cuba(
        total, words(row, parameters, _P, _RecurrentVariedCuba.bias, begin, end),
        words(row, parameters, _P, _RecurrentVariedCuba.current_decay, begin, end),
        words(row, parameters, _P, _RecurrentVariedCuba.voltage_decay, begin, end),
        row[_RecurrentVariedCuba.threshold],
        words(row, state, _S, _RecurrentVariedCuba.current, begin, end),
        words(row, state, _S, _RecurrentVariedCuba.voltage, begin, end), spikes, counters,
    )  # fmt: skip
    last[:] = spikes


@inline_kernel
def _adapt(
    row: Any, driving: Any, parameters: Any, state: Any, spikes: Any, counters: Any,
    begin: int, end: int,
) -> None:  # fmt: skip
    """``alif``; recurrent neurons have the same parameters and states in the same places."""
    decays = np.array(
        [
            row[_Alif.current_decay],
            row[_Alif.voltage_decay],
            row[_Alif.threshold_decay],
            row[_Alif.refractory_decay],
        ]
    )
    slayer_neurons.alif(
        driving, words(row, parameters, _P, _Alif.bias, begin, end), decays, row[_Alif.threshold],
        row[_Alif.threshold_step], words(row, state, _S, _Alif.current, begin, end),
        words(row, state, _S, _Alif.voltage, begin, end),
        words(row, state, _S, _Alif.raised, begin, end),
        words(row, state, _S, _Alif.refractory, begin, end), spikes, counters,
    )  # fmt: skip


@instruction(slayer.Alif)
def _alif(row, token, parameters, state, values, counters, begin, end):
    _adapt(
        row, operand(row, values, Column.FIRST, begin, end), parameters, state,
        result(row, values, begin, end), counters, begin, end,
    )  # fmt: skip


@instruction(slayer.RecurrentAlif, share=Share.WHOLE, table=_by_input)
def _recurrent_alif(row, token, parameters, state, values, counters, begin, end):
    last = words(row, state, _S, _RecurrentAlif.last_spikes, begin, end)
    total = operand(row, values, Column.FIRST, begin, end).copy()
    _synapses(row, last, total, counters)
    spikes = result(row, values, begin, end)
    _adapt(row, total, parameters, state, spikes, counters, begin, end)
    last[:] = spikes


@instruction(slayer.Sigma)
def _sigma(row, token, parameters, state, values, counters, begin, end):
    slayer_neurons.sigma(
        operand(row, values, Column.FIRST, begin, end),
        words(row, state, _S, _Sigma.total, begin, end),
        result(row, values, begin, end),
        counters,
    )


@instruction(slayer.Delta)
def _delta(row, token, parameters, state, values, counters, begin, end):
    slayer_neurons.delta(
        operand(row, values, Column.FIRST, begin, end), row[_Delta.threshold],
        row[_Delta.spike_bits], words(row, state, _S, _Delta.last, begin, end),
        words(row, state, _S, _Delta.residue, begin, end), result(row, values, begin, end),
        counters,
    )  # fmt: skip


@instruction(slayer.SigmaDelta)
def _sigma_delta(row, token, parameters, state, values, counters, begin, end):
    slayer_neurons.sigma_delta(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, _P, _SigmaDelta.bias, begin, end), row[_SigmaDelta.threshold],
        row[_SigmaDelta.spike_bits], words(row, state, _S, _SigmaDelta.total, begin, end),
        words(row, state, _S, _SigmaDelta.last, begin, end),
        words(row, state, _S, _SigmaDelta.residue, begin, end), result(row, values, begin, end),
        counters,
    )  # fmt: skip
