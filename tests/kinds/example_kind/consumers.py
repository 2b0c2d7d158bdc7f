"""What the kind is to each consumer."""

# numba types what it compiles itself, from ``STEP_SIGNATURE``
# mypy: disable-error-code="arg-type,attr-defined,no-untyped-def"

from __future__ import annotations

from example_kind.arithmetic import leaky_average
from example_kind.layer import LeakyAverage
from spikegpt_neuro.backends.execution import Column
from spikegpt_neuro.backends.instructions import instruction, operand, places, result, words
from spikegpt_neuro.decomposition.elements import FINE_FORMS
from spikegpt_neuro.decomposition.stock_plan import STOCK_FORMS
from spikegpt_neuro.exchange.nir_export import NIR_FORMS, marked_subgraph

_Average = places(LeakyAverage)


@instruction(LeakyAverage)
def _step(row, token, parameters, state, values, counters, begin, end):
    leaky_average(
        operand(row, values, Column.FIRST, begin, end),
        words(row, parameters, Column.PARAMETERS, _Average.gain, begin, end),
        words(row, parameters, Column.PARAMETERS, _Average.shift, begin, end),
        row[_Average.keep], row[_Average.least],
        words(row, state, Column.STATE, _Average.average, begin, end),
        result(row, values, begin, end), counters,
    )  # fmt: skip


FINE_FORMS.refuse(LeakyAverage, why="no own neuron was written for it")
STOCK_FORMS.refuse(LeakyAverage, why="no stock process averages")
NIR_FORMS.add(LeakyAverage, entry=marked_subgraph)
