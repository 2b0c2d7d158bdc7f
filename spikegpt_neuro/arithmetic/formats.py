"""Widths and limits of the integer formats: numbers only, so that they are read without a compiler.

What each is for is said where it is used: ``elementwise``, ``lif``, ``wkv``, ``slayer_neurons``.
"""

from __future__ import annotations

STREAM_LIMIT = (1 << 23) - 1
"""Residual stream and normalised values are 24 bits signed."""
NORMALISED_BITS = 20
"""Fraction bits of ``(x - mean) / sqrt(sum of squares)`` inside the layer norm."""
LARGEST_NORMALISED = (1 << NORMALISED_BITS) + (1 << 6)
"""|d| / sqrt(sum d**2) is at most 1; the reciprocal root errs by less than 2**-15 of it."""
LARGEST_GATE = 32757
"""Largest result of the sigmoid; the least is 11."""
LEAST_GATE = 11
ROOT_LIMIT = (1 << 20) - 1
"""A squared ReLU's root saturates here; its square then fits 40 bits."""

CURRENT_LIMIT = (1 << 17) - 1
"""Largest input current: 2**17 - 1, so that the aligned current stays inside 24 bits."""
MEMBRANE_LIMIT = (1 << 23) - 1
"""The membrane potential saturates at 24 bits signed, as in Lava's LIF."""
ALIGNMENT_BITS = 6
"""Input currents and thresholds are aligned to the membrane potential by 2**6, as in Lava's LIF."""
MEMORYLESS = 4096
"""Voltage decay at which all of the membrane potential leaks away between two tokens."""
MOST_COMPARED = 2
"""Levels of a spike up to which a comparison with each costs no more than a shift and a clip."""

EXPONENT_LIMIT = (1 << 23) - 1
"""Exponents are 24 bits signed with 16 fraction bits: +-128 powers of two."""
EMPTY_EXPONENT = -EXPONENT_LIMIT
"""Exponent of an empty state (upstream: -1e38)."""
POWER_ONE = 1 << 15
"""``fixed_point.exp2(0)``: powers of two have 15 fraction bits."""
VALUE_LIMIT = (1 << 11) - 1
"""Values are 12 bits signed."""
WEIGHT_ONE_BITS = 16
"""A token of weight one adds 2**16 to the denominator."""
DENOMINATOR_CAP = 1 << 20
"""From here numerator and denominator are halved and the shared exponent rises by one."""
RESULT_BITS = 4
"""Fraction bits the result carries below one unit of value."""

STATE_LIMIT = 1 << 23
"""Stock neurons: currents wrap beyond 2**23, voltages saturate at 2**23 - 1 (24 bits signed)."""
DECAY_BITS = 12
SPIKE_STATE_BITS = 6
"""Fraction bits of a sigma-delta neuron's state below its messages (stock ``state_exp``)."""
