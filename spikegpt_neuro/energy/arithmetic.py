"""Energy by arithmetic and on-chip memory (Horowitz's table, memory after Lemaire et al. 2022).

    E = N_AC e_add + N_MAC (e_mul + e_add) + sum of element-wise operations + E_mem
    E_mem = sum of accesses x e_sram(size of the memory they go to)

Zero operands cost nothing, here and in the dense column beside it. An access is priced pro rata of
its bits against the 64-bit access the table gives; the high end of the range charges a whole 64-bit
access for every single word.
"""

from __future__ import annotations

from fractions import Fraction

from spikegpt_neuro.energy.activity import LayerActivity
from spikegpt_neuro.energy.parts import NotCounted, Part, price
from spikegpt_neuro.hardware_profiles import Figure, Profile
from spikegpt_neuro.mapping.demand import WORD_BYTES

_ACCESS_BITS = 64
SMALL_MEMORY_BYTES = 8192


def _multiply_accumulate(profile: Profile) -> Figure:
    add, multiply = profile.coefficients["synaptic_add"], profile.coefficients["synaptic_multiply"]
    return Figure(
        "synaptic_multiply + synaptic_add", add.value + multiply.value, add.low + multiply.low,
        add.high + multiply.high, "pJ", multiply.status, multiply.source, multiply.note,
    )  # fmt: skip


def _memory(profile: Profile, layer: LayerActivity) -> list[Part]:
    curve = profile.curves.get("sram_access")
    if curve is None:
        return []
    words = WORD_BYTES
    rows = (
        ("weights read", layer.weights_read, layer.weight_bits, layer.weight_memory_bytes),
        ("state words read", layer.state_words_read, 32, layer.size * words),
        ("state words written", layer.state_words_written, 32, layer.size * words),
        ("parameter words read", layer.parameter_words_read, 32, SMALL_MEMORY_BYTES),
        ("activations read", layer.activation_words_read, 16, layer.input_size * 2),
        ("activations written", layer.activation_words_written, 16, layer.size * 2),
    )
    parts = []
    for event, count, bits, size in rows:
        if count == 0:
            continue
        access = curve.at(size)
        figure = Figure(
            "sram_access", access * Fraction(bits, _ACCESS_BITS),
            access * Fraction(bits, _ACCESS_BITS), access, "pJ", curve.status, curve.source,
            curve.note,
        )  # fmt: skip
        parts.append(price(layer.name, "memory", event, figure, layer.tokens, count))
    return parts


def price_arithmetic(
    layers: tuple[LayerActivity, ...], profile: Profile
) -> tuple[list[Part], list[NotCounted]]:
    """Parts of every layer, and the events the profile has no price for."""
    parts: list[Part] = []
    missing: dict[str, int] = {}
    add = profile.coefficients["synaptic_add"]
    for layer in layers:
        tokens = layer.tokens
        if layer.accumulates:
            parts.append(
                price(layer.name, "synaptic", "synaptic operations, AC", add, tokens,
                      layer.accumulates)
            )  # fmt: skip
        if layer.multiply_accumulates:
            parts.append(
                price(layer.name, "synaptic", "synaptic operations, MAC",
                      _multiply_accumulate(profile), tokens, layer.multiply_accumulates)
            )  # fmt: skip
        for kind, count in layer.elementwise.items():
            figure = profile.coefficients.get(f"elementwise_{kind}")
            if figure is None:
                missing[kind] = missing.get(kind, 0) + count
            elif count:
                parts.append(
                    price(layer.name, "elementwise", f"element-wise {kind}", figure, tokens, count)
                )
        parts += _memory(profile, layer)
    tokens = layers[0].tokens
    not_counted = [
        NotCounted(f"element-wise {kind}", count / tokens, "the profile has no coefficient for it")
        for kind, count in sorted(missing.items())
    ]
    if "sram_access" not in profile.curves:
        not_counted.append(
            NotCounted("memory accesses", None, "the profile has no energy of a memory access")
        )
    return parts, not_counted
