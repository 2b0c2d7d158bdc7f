"""The SRWKV recurrence (linear attention with exponential decay) in integers."""

# numba types its integers itself: a numpy scalar and an int are one there
# mypy: disable-error-code="arg-type,assignment,operator"

from __future__ import annotations

import numpy as np

from spikegpt_neuro.arithmetic.compiler import kernel
from spikegpt_neuro.arithmetic.fixed_point import (
    bit_length,
    clip,
    exp2,
    reciprocal,
    round_shift,
)
from spikegpt_neuro.arithmetic.formats import (
    DENOMINATOR_CAP,
    EMPTY_EXPONENT,
    EXPONENT_LIMIT,
    POWER_ONE,
    RESULT_BITS,
    VALUE_LIMIT,
    WEIGHT_ONE_BITS,
)
from spikegpt_neuro.arithmetic.tables import EXPONENT_BITS


@kernel
def wkv(
    key: np.ndarray,
    value: np.ndarray,
    key_multiplier: np.ndarray,
    key_shift: np.ndarray,
    value_multiplier: np.ndarray,
    value_shift: np.ndarray,
    decay: np.ndarray,
    first: np.ndarray,
    numerator: np.ndarray,
    denominator: np.ndarray,
    exponent: np.ndarray,
    result: np.ndarray,
    counts: np.ndarray,
) -> None:
    """One token of the weighted average, per channel.

    In real numbers (RWKV-4; SpikeGPT section 3, ``src/model.py``), with base-2 exponents::

        result = (sum_i 2**(k_i - (t-1-i) d) v_i + 2**(k_t + u) v_t) / (same without v)

    kept as ``numerator / denominator * 2**exponent`` with one shared exponent per channel::

        p = max(exponent, k + u);  e1 = exp2(exponent - p);  e2 = exp2(k + u - p)
        result = (e1 * numerator + e2 * v) / (e1 * denominator + e2)
        p = max(exponent + decay, k);  e1 = exp2(exponent + decay - p);  e2 = exp2(k - p)
        numerator = e1 * numerator + e2 * v;  denominator = e1 * denominator + e2;  exponent = p

    The larger exponent's power is 1, so that one of ``e1`` and ``e2`` is looked up. When
    ``denominator`` reaches 2**20, numerator and denominator are halved and ``exponent`` raised by
    one power of two, so no context length overflows. Division is multiplication by a
    16-bit reciprocal (``fixed_point.reciprocal``). Against float64 the result is within half a unit
    of ``v``, at any decay and after 100,000 tokens (tests/arithmetic/test_wkv.py).

    Integers: ``key`` and ``value`` are synaptic accumulators; ``k`` = rescaled key, 24 bits with 16
    fraction bits, in powers of two; ``v`` = rescaled value, 12 bits; ``decay`` <= 0 and ``first``
    (u) like ``k``; ``numerator`` 32 bits, ``denominator`` 21 bits with 16 fraction bits,
    ``exponent`` 24 bits; ``result`` 16 bits with 4 fraction bits below ``v``. Shapes [n], int32;
    ``counts`` int64 [2]: adds channels whose value is not zero, and saturations.
    """
    active = 0
    saturated = 0
    for i in range(key.size):
        wide = round_shift(np.int64(key[i]) * key_multiplier[i], key_shift[i])
        k = clip(wide, -EXPONENT_LIMIT, EXPONENT_LIMIT)
        saturated += k != wide
        wide = round_shift(np.int64(value[i]) * value_multiplier[i], value_shift[i])
        v = clip(wide, -VALUE_LIMIT, VALUE_LIMIT)
        saturated += v != wide
        active += v != 0
        num = np.int64(numerator[i])
        den = np.int64(denominator[i])
        stored = np.int64(exponent[i])

        boosted = clip(k + first[i], -EXPONENT_LIMIT, EXPONENT_LIMIT)
        ahead = stored - boosted
        part = exp2(-abs(ahead))
        past = POWER_ONE if ahead >= 0 else part
        present = part if ahead >= 0 else POWER_ONE
        total = past * num + ((present * v) << WEIGHT_ONE_BITS)
        weight = past * den + (present << WEIGHT_ONE_BITS)
        scale = bit_length(weight) - 16
        mantissa = weight >> scale
        result[i] = round_shift((total >> scale) * reciprocal(mantissa), 31 - RESULT_BITS)

        decayed = max(stored + decay[i], EMPTY_EXPONENT)
        ahead = decayed - k
        part = exp2(-abs(ahead))
        past = POWER_ONE if ahead >= 0 else part
        present = part if ahead >= 0 else POWER_ONE
        top = max(decayed, k)
        num = round_shift(past * num + ((present * v) << WEIGHT_ONE_BITS), 15)
        den = round_shift(past * den + (present << WEIGHT_ONE_BITS), 15)
        if den >= DENOMINATOR_CAP:
            num = round_shift(num, 1)
            den = round_shift(den, 1)
            top = min(top + (1 << EXPONENT_BITS), EXPONENT_LIMIT)
        numerator[i] = num
        denominator[i] = den
        exponent[i] = top
    counts[0] += active
    counts[1] += saturated
