"""What the bill holds beside matrix products, and what a network computed densely pays.

Norms, WKV, neurons, parameters, states and activations are the same whether products are skipped
or not: opponents of the same network pay them too. A transformer pays its own, in integers of the
same kind (assumed: nobody published such a network of these sizes):

    norms          2 n + 1 layer norms, by the equation that this package's norms have
    softmax        of max(1, d / 64) heads: per score a scaling (multiply, shift), a comparison, two
                   additions, a table and a multiplication; per head a table for the reciprocal
    requantising   of every matrix's outputs, 10 d a block: multiply, add, shift
    feed-forward   4 d table reads; residual sums 2 d additions
    memory         parameters of norms, activations read and written by all of these and by the
                   matrices, two rows of the cache written
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from spikegpt_neuro.arithmetic.equations import operations
from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.arithmetic import SMALL_MEMORY_BYTES, price_arithmetic
from spikegpt_neuro.energy.parts import Part
from spikegpt_neuro.hardware_profiles import Profile
from spikegpt_neuro.network import LanguageModel
from spikegpt_neuro.network.neurons import LayerNorm

_HEAD_WIDTH = 64
_NORM_PARAMETERS = len(LayerNorm.array_specs())


def of_products(part: Part) -> bool:
    """Whether a part is of matrix products: their arithmetic, or the reading of weights."""
    return part.category == "synaptic" or part.event == "weights read"


def computed_densely(layer: LayerActivity, passes: int) -> LayerActivity:
    """The same layer with every product computed as a MAC, and every weight, of a byte at most,
    read once a pass."""
    if not layer.operand:
        return layer
    return replace(
        layer,
        operand="graded",
        synaptic_operations=layer.dense_operations,
        weights_read=layer.dense_operations // layer.tokens * passes,
        weight_bits=min(layer.weight_bits, 8),
    )


def beside_products(layers: tuple[LayerActivity, ...], profile: Profile) -> Fraction:
    """Picojoules a token of everything in an arithmetic bill but products."""
    parts, _ = price_arithmetic(layers, profile)
    return _picojoules(part.value for part in parts if not of_products(part))


def _picojoules(joules: Iterable[Fraction]) -> Fraction:
    return sum(joules, Fraction(0)) * 10**12


def transformer_counts(network: LanguageModel, context: int) -> Counter[str]:
    """Operations by kind of a transformer as deep and wide, a token, matrix products left out."""
    blocks, width = network.info.n_layer, network.info.n_embd
    heads = max(1, width // _HEAD_WIDTH)
    scores = heads * context
    constants = frozenset(
        {*LayerNorm.array_specs(), *LayerNorm.scalar_ranges(), "low", "high", "size"}
    )
    norm = Counter({k: n * width for k, n in operations(LayerNorm.equation, constants).items()})
    norm.update(operations(LayerNorm.once, constants))
    block = Counter(
        multiply=2 * scores + 10 * width, shift=scores + 10 * width, compare=scores,
        add=2 * scores + 10 * width + 2 * width, table=scores + heads + 4 * width,
    )  # fmt: skip
    found = Counter({kind: n * blocks for kind, n in block.items()})
    found.update({kind: n * (2 * blocks + 1) for kind, n in norm.items()})
    return found


def transformer_beside_products(network: LanguageModel, profile: Profile, context: int) -> Fraction:
    """Picojoules a token of all that, and of its memory where the profile prices memory."""
    blocks, width = network.info.n_layer, network.info.n_embd
    scores = max(1, width // _HEAD_WIDTH) * context
    cost = Fraction(0)
    for kind, count in transformer_counts(network, context).items():
        figure = profile.coefficients.get(f"elementwise_{kind}")
        cost += 0 if figure is None else count * figure.value
    curve = profile.curves.get("sram_access")
    if curve is None:
        return cost
    norms = (2 * blocks + 1) * width
    cost += _NORM_PARAMETERS * norms * curve.at(SMALL_MEMORY_BYTES) * Fraction(32, 64)
    # by the vector they go to: words read, and words written, of 16 bits
    vectors = {
        width: (blocks * (2 + 3 + 1 + 1 + 4) + 2, blocks * (2 + 3 + 1 + 1 + 1 + 2) + 1),
        4 * width: (2 * blocks, 2 * blocks),
        scores: (2 * blocks, 2 * blocks),
    }
    for size, (read, written) in vectors.items():
        cost += (read + written) * size * curve.at(2 * size) * Fraction(16, 64)
    return cost + blocks * 2 * width * curve.at(2 * context * width) * Fraction(8, 64)
