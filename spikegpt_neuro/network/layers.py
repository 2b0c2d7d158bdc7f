"""The kinds of layers that make a SpikeGPT.

What a layer computes is defined in ``spikegpt_neuro.arithmetic``; which layers make a SpikeGPT is
decided in ``converters``. What each fact means is said by ``network.schema.Layer``.
"""

from __future__ import annotations

from spikegpt_neuro.network.connections import (
    ACCUMULATOR_LIMIT,
    OPERAND_LIMIT,
    WIDEST_OPERAND,
    BinaryEmbedding,
    Delay,
    Dense,
    Embedding,
    RealEmbedding,
    TokenShift,
)
from spikegpt_neuro.network.neurons import (
    LARGEST_NORM,
    NORM_INPUT_BITS,
    LayerNorm,
    Lif,
    Product,
    Readout,
    Requantise,
    Residual,
    Sigmoid,
    SquaredRelu,
    Wkv,
)
from spikegpt_neuro.network.varied_neurons import RecurrentVariedCuba, VariedCuba, VariedLif

__all__ = [
    "ACCUMULATOR_LIMIT", "LARGEST_NORM", "NORM_INPUT_BITS", "OPERAND_LIMIT", "BinaryEmbedding",
    "Delay", "Dense", "Embedding", "LayerNorm", "Lif", "Product", "Readout", "RealEmbedding",
    "RecurrentVariedCuba", "Requantise", "Residual", "Sigmoid", "SquaredRelu", "TokenShift",
    "VariedCuba", "VariedLif", "WIDEST_OPERAND", "Wkv",
]  # fmt: skip
