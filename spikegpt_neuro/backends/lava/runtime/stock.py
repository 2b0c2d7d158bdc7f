"""Stock Lava processes with the settings under which they compute exactly our integers.

Imports Lava: call ``compatibility.prepare_lava`` first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.process.process import AbstractProcess
from lava.proc.dense.process import Dense
from lava.proc.graded.process import GradedVec
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode
from scipy.sparse import csr_matrix, identity

from spikegpt_neuro.arithmetic.packed import MOST_BITS

MESSAGE_BITS = 24
"""Width told to synapses of graded spikes; any positive number makes them take integers."""
BIAS_EXPONENT = 6
"""A stock LIF's bias is then in units of its input."""


def synapses(
    program: str, weight: Any, *, mixed: bool, binary: bool, exponent: int, bits: int = MOST_BITS,
    columns: npt.NDArray[np.bool_] | None = None,
) -> AbstractProcess:  # fmt: skip
    """``Dense`` or ``Sparse`` of ``weight * 2**exponent``; ``weight`` -128..127, or 0..255.

    8-bit mixed-sign weights are truncated to even numbers: twice the weight, half the sum. Those
    of ``bits`` keep their upper bits in the same 8 (and a sign): ``2**(8 - bits)`` times as large.
    The sign mode is told, because a signed matrix without positive weights would lose -256. Only
    ``columns``, where told, have synapses.
    """
    left = MOST_BITS - bits + int(mixed)
    held = weight.astype(np.int64)
    if columns is not None:
        held = held * columns
    return {"dense": Dense, "sparse": Sparse}[program](
        weights=(held << left if program == "dense" else csr_matrix(held) * (1 << left)),
        weight_exp=exponent - left,
        num_weight_bits=bits,
        sign_mode=SignMode.MIXED if mixed else SignMode.EXCITATORY,
        num_message_bits=0 if binary else MESSAGE_BITS,
    )


def delay(size: int, steps: int) -> AbstractProcess:
    """The input of ``steps`` (1..64) time steps ago: an identity, with a synaptic delay."""
    weights = identity(size, dtype=np.int64, format="csr")
    options = {"sign_mode": SignMode.EXCITATORY, "num_message_bits": MESSAGE_BITS}
    if steps == 1:
        return Sparse(weights=weights, **options)
    return DelaySparse(weights=weights, delays=(weights * (steps - 1)).tocsr(), **options)


def memoryless_lif(size: int, threshold: int, bias: npt.NDArray[np.int32]) -> AbstractProcess:
    """Spikes where ``input + bias > threshold``; current and voltage start at zero in every step.

    ``du`` 4095 makes the current the input itself; ``reset_interval`` 1 makes the voltage
    memoryless within the 12 bits of ``dv``, which cannot hold 4096.
    """
    return LIFReset(
        shape=(size,), du=4095, dv=4095, vth=threshold, bias_mant=bias, bias_exp=BIAS_EXPONENT,
        reset_interval=1,
    )  # fmt: skip


def graded(size: int) -> AbstractProcess:
    """The sum of its inputs; the threshold 0 keeps sums of magnitude 1."""
    return GradedVec(shape=(size,), vth=0, exp=0)
