"""What each process of the fine graph is: a stock Lava process, or an own neuron's specification.

The tests execute the equations with Python integers against the process models. Imports nothing of
Lava.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spikegpt_neuro.decomposition.elements import FLAGS
from spikegpt_neuro.decomposition.neuron_specification import NeuronProgram, StockProgram, Word
from spikegpt_neuro.decomposition.schedule import Schedule, schedule
from spikegpt_neuro.decomposition.stock_plan import SEEN_LIF
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import Delay, Lif, Product, Sigmoid, SquaredRelu, Wkv

_ACCUMULATOR = Word("a", 32, True, "accumulators")
_FACTOR = (
    Word("multiplier", 16, True, "mantissa of a factor"),
    Word("shift", 6, False, "its power of two"),
)

PROGRAMS: Mapping[str, StockProgram | NeuronProgram] = {
    "dense": StockProgram(
        "lava.proc.dense.Dense",
        "weights doubled with exponent -1 where signs are mixed (else they become even); "
        "`num_message_bits` 0 for binary spikes, 24 for graded ones",
        "projections; embedding tables, read by the token's spike (16-bit rows as two bytes)",
        SEEN_LIF,
    ),
    "sparse": StockProgram(
        "lava.proc.sparse.Sparse",
        "as Dense",
        "projections behind a hard token shift (one on the spikes, one on the held spikes); a "
        "residual's whole factors; sums and copies of a layer norm; a delay of one step",
    ),
    "delay": StockProgram(
        "lava.proc.sparse.DelaySparse",
        "identity, delay 1..63 (a plain Sparse for one step)",
        "waiting for the longer way, so that operands of one token meet",
    ),
    "gate_lines": StockProgram(
        "lava.proc.dense.DelayDense",
        "weights 1, delays up to the stage's depth",
        "the token's two flags, delayed to each step of a stage in which a state moves on",
    ),
    "lif": StockProgram(
        "lava.proc.lif.LIFReset",
        "`du` 4095, `dv` 4095, `reset_interval` 1, `bias_exp` 6; threshold and bias proven equal",
        "a level of memoryless LIF neurons",
        SEEN_LIF,
    ),
    "graded": StockProgram(
        "lava.proc.graded.GradedVec",
        "`vth` 0; |sum| < 2^23 proven",
        "the residual stream",
    ),
    "rescale": NeuronProgram(
        "change of scale and payload, of one value or of the sum of two",
        "stock neurons shift by one exponent a population and floor; here factors are a channel's, "
        "rounding is to nearest and the result is clipped to its payload",
        (_ACCUMULATOR, Word("b", 32, True, "second value, or 0")),
        (Word("s", 32, True, "clipped to low..high"),),
        (),
        (
            Word("first", 32, True, "factor of a"), Word("second", 32, True, "factor of b"),
            Word("shift", 6, False, "common power of two"), Word("low", 32, True, "least result"),
            Word("high", 32, True, "largest result"),
        ),
        "s = clip(round_shift(a * first + b * second, shift), low, high)",
        64,
    ),
    "sigmoid": NeuronProgram(
        "a gate",
        "no stock neuron has a table",
        (_ACCUMULATOR,),
        (Word("s", 15, False, "sigmoid, 15 fraction bits"),),
        (),
        _FACTOR,
        Sigmoid.equation,
        48,
        gated=True,
    ),
    "scaled_product": NeuronProgram(
        "gate times value",
        "stock ProdNeuron multiplies in 32 bits, shifts by one exponent a population and floors: "
        "own neurons would have to scale before and behind it",
        (Word("a", 16, True, "gate"), Word("b", 32, True, "value")),
        (Word("s", 24, True, "clipped to low..high"),),
        (),
        (*_FACTOR, Word("low", 32, True, "least result"), Word("high", 32, True, "largest result")),
        Product.equation,
        64,
    ),
    "squared_relu": NeuronProgram(
        "the squared ReLU",
        "as for products: the root is scaled before and the square behind",
        (_ACCUMULATOR,),
        (Word("s", 16, False, "the square"),),
        (),
        (
            *_FACTOR, Word("square_shift", 6, False, "power of two of the square"),
            Word("high", 32, True, "largest result"),
        ),
        SquaredRelu.equation,
        64,
    ),
    "hold": NeuronProgram(
        "the previous token's vector",
        "a stock delay counts time steps; tokens are one step apart when a text is scored, as many "
        "as the graph is deep when text is generated",
        (Word("a", 24, True, "this token's value"),),
        (Word("s", 24, True, "the previous token's value"),),
        (Word("held", 24, True, "this token's value"),),
        (),
        Delay.equation,
        24,
        gated=True,
    ),
    "memoryless_lif": NeuronProgram(
        "memoryless LIF neurons that send graded spikes, need a scale first or fire without input",
        "a stock LIF sends one level, takes its input as it is, and fires in idle steps too",
        (_ACCUMULATOR,),
        (Word("s", 4, False, "spike, 0..levels"),),
        (),
        (
            *_FACTOR, Word("offset", 24, True, "added to the current"),
            Word("threshold", 17, False, "of a level"), Word("bias", 13, True, "2^-6 of a current"),
            Word("levels", 4, False, "largest spike"),
        ),
        Lif.memoryless_equation,
        48,
        gated=True,
    ),
    "leaky_lif": NeuronProgram(
        "leaky LIF neurons, binary or graded, once a token",
        "stock LIF leaks in every time step, also in those without a token; memoryless binary ones "
        "are stock",
        (_ACCUMULATOR,),
        (Word("s", 4, False, "spike, 0..levels"),),
        (Word("v", 24, True, "membrane potential"),),
        (
            *_FACTOR, Word("offset", 24, True, "added to the current"),
            Word("voltage_decay", 13, False, "part of 4096 that leaks away"),
            Word("threshold", 17, False, "of a level"), Word("bias", 13, True, "2^-6 of a current"),
            Word("levels", 4, False, "largest spike"), Word("soft_reset", 1, False, "subtract"),
        ),
        Lif.equation,
        48,
        gated=True,
    ),
    "wkv": NeuronProgram(
        "the SRWKV recurrence, once a token",
        "exponentials, a running maximum and a division; three states that move on with the token",
        (Word("a", 32, True, "key accumulator"), Word("b", 32, True, "value accumulator")),
        (Word("s", 16, True, "weighted average, 4 fraction bits"),),
        (
            Word("numerator", 32, True, "weighted sum of values"),
            Word("denominator", 21, False, "sum of weights"),
            Word("exponent", 24, True, "their common power of two, 16 fraction bits"),
        ),
        (
            Word("key_multiplier", 16, True, "mantissa of the key's factor"),
            Word("key_shift", 6, False, "its power of two"),
            Word("value_multiplier", 16, True, "mantissa of the value's factor"),
            Word("value_shift", 6, False, "its power of two"),
            Word("decay", 24, True, "added to the exponent a token, <= 0"),
            Word("first", 24, True, "the present token's bonus"),
        ),
        Wkv.equation,
        48,
        gated=True,
    ),
    "normalise": NeuronProgram(
        "a channel of a layer norm, after the manner of stock NormVecDelay",
        "NormVecDelay squares in 32 bits (exact to 15-bit inputs only), removes no mean and shifts "
        "by no power of its own; the stream has 24 bits",
        (
            Word("a", 24, True, "value"), Word("mean", 24, True, "comes back after two steps"),
            Word("root", 17, False, "likewise"), Word("drop", 7, True, "likewise"),
        ),
        (
            Word("s", 24, True, "normalised value"), Word("m0", 12, False, "value, lower limb"),
            Word("m1", 12, True, "value, upper limb"), Word("m2", 12, False, "square, limb 0"),
            Word("m3", 12, False, "square, limb 1"), Word("m4", 12, False, "square, limb 2"),
            Word("m5", 12, False, "square, limb 3"),
        ),
        (Word("x1", 24, True, "value of one step ago"), Word("x2", 24, True, "of two steps ago")),
        (
            Word("input_shift", 5, False, "alignment of the input"), *_FACTOR,
            Word("offset", 24, True, "the norm's bias"),
        ),
        """\
x = a << input_shift
m1 = x >> 12
m0 = x & 4095
square = x * x
m2 = square & 4095
m3 = (square >> 12) & 4095
m4 = (square >> 24) & 4095
m5 = (square >> 36) & 4095
t = scale_by_power(((x2 << input_shift) - mean) * root, drop)
s = clip(round_shift(t * multiplier, shift) + offset, -8388607, 8388607)
x2 = x1
x1 = a""",
        48,
    ),
    "reciprocal_root": NeuronProgram(
        "mean and reciprocal root of a layer norm; one neuron a norm, in place of stock InvSqrt",
        "InvSqrt takes one sum of 24 bits, iterates five times in its own fixed point and fails on "
        "0; the sum of squares here needs up to 59 bits and the mean is removed from it",
        (
            Word("m0", 24, False, "sums of the channels' limbs"), Word("m1", 24, True, "likewise"),
            Word("m2", 24, False, "likewise"), Word("m3", 24, False, "likewise"),
            Word("m4", 24, False, "likewise"), Word("m5", 24, False, "likewise"),
        ),
        (
            Word("mean", 24, True, "of the values"), Word("root", 17, False, "mantissa"),
            Word("drop", 7, True, "its power of two"),
        ),
        (),
        (
            Word("n", 14, False, "channels"), Word("mean_multiplier", 16, False, "mantissa of 1/n"),
            Word("mean_shift", 6, False, "its power of two"), Word("epsilon", 60, False, "added"),
        ),
        """\
total = m0 + (m1 << 12)
squares = m2 + (m3 << 12) + (m4 << 24) + (m5 << 36)
mean = round_shift(total * mean_multiplier, mean_shift)
spread = squares - 2 * mean * total + n * mean * mean + epsilon
half_power = (bit_length(spread) - 31) >> 1
down = max(2 * half_power, 0)
up = max(-2 * half_power, 0)
root = reciprocal_square_root((spread >> down) << up) if squares > 0 else 0
drop = half_power + 11 if squares > 0 else 0""",
        64,
    ),
    "feedback": NeuronProgram(
        "the way back of a graph that chooses its tokens itself: a neuron for every token",
        "passes a spike within its time step, where a stock neuron would add one to every token, "
        "and only while the loop is open",
        (
            Word("a", 1, False, "the winner's spike"), Word("opens", 1, False, "flag of the host"),
            Word("closes", 1, False, "flag of the host"),
        ),
        (Word("s", 1, False, "the same spike, to the embedding's synapses"),),
        (Word("is_open", 1, False, "whether spikes pass"),),
        (),
        """\
is_open = max(is_open, opens)
is_open = min(is_open, 1 - closes)
s = min(a, is_open)""",
        2,
    ),
}  # fmt: skip
"""Every process a fine graph can hold, by the name its elements have."""
OWN_NEURONS: Mapping[str, NeuronProgram] = {
    name: entry for name, entry in PROGRAMS.items() if isinstance(entry, NeuronProgram)
}
"""Those that need microcode on a chip."""
LAYER_NORM = ("normalise", "reciprocal_root", "sparse")
"""What the element ``layer_norm`` consists of."""


@dataclass(frozen=True)
class ProgramUse:
    """How much of a graph is one program."""

    processes: int = 0
    neurons: int = 0

    def __add__(self, other: ProgramUse) -> ProgramUse:
        return ProgramUse(self.processes + other.processes, self.neurons + other.neurons)


def programs_of(network: Network | Schedule) -> dict[str, ProgramUse]:
    """Which programs the fine graph of ``network`` holds. Synapses count their outputs."""
    planned = network if isinstance(network, Schedule) else schedule(network)
    found: dict[str, ProgramUse] = {}
    loop = planned.stages[-1].layers[-1] if planned.chooses else None

    def add(program: str, neurons: int, processes: int = 1) -> None:
        found[program] = found.get(program, ProgramUse()) + ProgramUse(processes, neurons)

    for stage in planned.stages:
        add("gate_lines", 2 * len(stage.gates))
    for element in planned.elements:
        if element.program == "layer_norm":
            add("normalise", element.size)
            add("reciprocal_root", 1)
            add("sparse", 6 + 3 * element.size, processes=2)
        else:
            add(element.program, element.size)
    if loop is not None:
        add("feedback", loop.output.size)
        add("delay", FLAGS, processes=planned.flag_delays)
    return found


def to_dict(program: str) -> dict[str, Any]:
    """Plain JSON values of one entry, for reports."""
    entry = PROGRAMS[program]
    if isinstance(entry, StockProgram):
        return {
            "stock": True,
            "process": entry.process,
            "settings": entry.settings,
            "evidence": entry.evidence,
        }
    words = {
        "inputs": entry.inputs,
        "outputs": entry.outputs,
        "states": entry.states,
        "parameters": entry.parameters,
    }
    return {
        "stock": False, "purpose": entry.purpose, "why": entry.why, "once_a_token": entry.gated,
        **{key: [asdict(word) for word in found] for key, found in words.items()},
        "state_bits": entry.state_bits, "payload_bits": entry.payload_bits,
        "equation": entry.equation, "operations": entry.operations,
        "widest_intermediate_bits": entry.widest,
    }  # fmt: skip


def table() -> str:
    """The own neurons as a table in Markdown, as docs/backends.md has it."""
    rows = [
        "| own neuron | state | receives | sends | add / multiply / shift / compare / table |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, entry in OWN_NEURONS.items():
        cells = [
            ", ".join(map(str, words)) or "-"
            for words in (entry.states, entry.inputs, entry.outputs)
        ]
        counts = " / ".join(str(n) for n in entry.operations.values())
        rows.append(f"| `{name}` | {' | '.join(cells)} | {counts} |")
    return "\n".join(rows)
