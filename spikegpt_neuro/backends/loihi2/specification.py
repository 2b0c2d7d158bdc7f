"""What each kind of neuron is to a chip: the data the deployability report and the docs share.

Equations are Python, so that a test executes them against the emulator; their functions are
``FUNCTIONS`` and their tables those of ``arithmetic.tables``. Nothing else than add, multiply,
shift, compare and table look-up occurs.

``python -m spikegpt_neuro.backends.loihi2.specification`` prints ``docs/neuron-programs.md``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from spikegpt_neuro.arithmetic.tables import EXP2, RECIPROCAL, RECIPROCAL_SQUARE_ROOT, SIGMOID
from spikegpt_neuro.network.layers import LAYER_KINDS

Need = Literal["stock", "routing", "host", "microcode"]

HOST_KINDS = ("binary_embedding", "real_embedding")
"""Kinds the host executes on a board: it looks the token up and sends the row."""

FUNCTIONS = """\
def round_shift(x, n):
    return (x + ((1 << n) >> 1)) >> n
def clip(x, low, high):
    return min(max(x, low), high)
def scale(x, n):
    return round_shift(x, n) if n >= 0 else x << -n
def trunc(x, n):
    return (x + ((1 << n) - 1 if x < 0 else 0)) >> n
def bit_length(x):
    return 1 + bit_length(x >> 1) if x > 0 else 0
def exp2(x):
    cell, fraction = (-x & 0xffff) >> 8, -x & 0xff
    y = EXP2[cell] + round_shift((EXP2[cell + 1] - EXP2[cell]) * fraction, 8)
    return round_shift(y, -x >> 16) if -x >> 16 <= 16 else 0
"""
"""What the equations call. ``bit_length`` is five compares and shifts in ``arithmetic``."""

_NETX = "tests/lava/lib/dl/netx/test_hdf5_nx.py of lava-dl"
_LIF = f"PilotNet LIF, {_NETX}"
_SDN = f"PilotNet SDNN, {_NETX}"


@dataclass(frozen=True)
class Specification:
    """One kind of layer.

    ``need``: ``stock`` (a process Lava ships; ``evidence`` says where public code runs it on Loihi
    2), ``routing`` (axons and their delays), ``host``, or ``microcode``. For microcode: the names
    of ``inputs``, ``state`` (name, bits a neuron, value at the start), ``parameters`` (name, bits a
    neuron), ``update`` lines in order, the last of which gives ``y``, ``widest_bits`` of any
    intermediate, and ``tables`` (name, entries, bits). Constants of a whole layer have the names of
    its class's fields; ``low`` and ``high`` are the ends of its port.
    """

    kind: str
    need: Need
    summary: str
    evidence: str = ""
    inputs: tuple[str, ...] = ()
    state: tuple[tuple[str, int, int], ...] = ()
    parameters: tuple[tuple[str, int], ...] = ()
    update: tuple[str, ...] = ()
    widest_bits: int = 0
    tables: tuple[tuple[str, int, int], ...] = ()

    @property
    def operations(self) -> dict[str, int]:
        """Operations a neuron and token, by kind, as the layer's class declares them."""
        return dict(LAYER_KINDS[self.kind].operations_per_channel)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "operations": self.operations}


_RESCALING = (("multiplier", 16), ("shift", 6))


def _program(
    kind: str, summary: str, inputs: tuple[str, ...], *update: str, widest: int,
    state: tuple[tuple[str, int, int], ...] = (),
    parameters: tuple[tuple[str, int], ...] = _RESCALING,
    tables: tuple[tuple[str, int, int], ...] = (),
) -> Specification:  # fmt: skip
    return Specification(
        kind, "microcode", summary, "", inputs, state, parameters, update, widest, tables
    )


_ALL = (
    Specification(
        "binary_embedding", "host", "the host looks the token up and sends the row's bits"
    ),
    Specification("real_embedding", "host", "the host looks the token up and sends the row"),
    _program(
        "layer_norm", "sums over the layer, then a scaled difference from the mean", ("x",),
        "S = sum(v << input_shift for v in layer)",
        "mean = round_shift(S * mean_multiplier, mean_shift)",
        "Q = epsilon + sum(((v << input_shift) - mean) ** 2 for v in layer)",
        "h = (bit_length(Q) - 31) >> 1",
        "m = Q >> 2 * h if h >= 0 else Q << -2 * h",
        "g = RECIPROCAL_SQUARE_ROOT[m >> 24]",
        "r = round_shift(g * ((3 << 30) - (m * g * g >> 32)), 31)",
        "t = scale(((x << input_shift) - mean) * r, h + 11)",
        "y = clip(round_shift(t * multiplier, shift) + offset, low, high)",
        widest=64, parameters=(*_RESCALING, ("offset", 24)),
        tables=(("RECIPROCAL_SQUARE_ROOT", RECIPROCAL_SQUARE_ROOT.size, 17),),
    ),
    Specification("delay", "routing", "axonal delay of one token"),
    _program(
        "token_shift", "mixes a token with the one before; factors 0 and 1 only are routing",
        ("x", "previous"),
        "m = x * current_multiplier + previous * previous_multiplier",
        "y = clip(round_shift(m, shift), low, high)",
        widest=42,
        parameters=(("current_multiplier", 16), ("previous_multiplier", 16), ("shift", 6)),
    ),
    _program(
        "requantise", "change of scale", ("a",),
        "y = clip(round_shift(a * multiplier, shift), low, high)", widest=48,
    ),
    _program(
        "readout", "the logits' common scale", ("a",),
        "y = clip(round_shift(a * multiplier, shift), low, high)", widest=48,
    ),
    Specification("dense", "stock", "lava.proc.dense.Dense", _LIF),
    _program(
        "sigmoid", "gate by table and linear interpolation", ("a",),
        "z = clip(round_shift(a * multiplier, shift), -(1 << 13), (1 << 13) - 1) + (1 << 13)",
        "i = z >> 6",
        "y = SIGMOID[i] + round_shift((SIGMOID[i + 1] - SIGMOID[i]) * (z & 63), 6)",
        widest=48, tables=(("SIGMOID", SIGMOID.size, 15),),
    ),
    _program(
        "squared_relu", "square of the positive part", ("a",),
        "h = clip(round_shift(a * multiplier, shift), 0, (1 << 20) - 1)",
        "y = min(round_shift(h * h, square_shift), high)",
        widest=48,
    ),
    _program(
        "wkv", "weighted average with exponential decay and one shared exponent", ("a1", "a2"),
        "limit = (1 << 23) - 1",
        "k = clip(round_shift(a1 * key_multiplier, key_shift), -limit, limit)",
        "v = clip(round_shift(a2 * value_multiplier, value_shift), -2047, 2047)",
        "b = clip(k + first, -limit, limit)",
        "p = max(exponent, b)",
        "e1, e2 = exp2(exponent - p), exp2(b - p)",
        "T = e1 * numerator + (e2 * v << 16)",
        "W = e1 * denominator + (e2 << 16)",
        "n = bit_length(W) - 16",
        "m = W >> n",
        "g = RECIPROCAL[m >> 8]",
        "r = round_shift(g * ((1 << 32) - m * g), 31)",
        "y = round_shift((T >> n) * r, 27)",
        "f = max(exponent + decay, -limit)",
        "p = max(f, k)",
        "e1, e2 = exp2(f - p), exp2(k - p)",
        "numerator = round_shift(e1 * numerator + (e2 * v << 16), 15)",
        "denominator = round_shift(e1 * denominator + (e2 << 16), 15)",
        "halve = int(denominator >= 1 << 20)",
        "numerator = round_shift(numerator, halve)",
        "denominator = round_shift(denominator, halve)",
        "exponent = min(p + (halve << 16), limit)",
        widest=50,
        state=(("numerator", 32, 0), ("denominator", 21, 0), ("exponent", 24, 1 - (1 << 23))),
        parameters=(("key_multiplier", 16), ("key_shift", 6), ("value_multiplier", 16),
                    ("value_shift", 6), ("decay", 24), ("first", 24)),
        tables=(("EXP2", EXP2.size, 16), ("RECIPROCAL", RECIPROCAL.size, 17)),
    ),
    _program(
        "product", "gate times value", ("gate", "value"),
        "y = clip(round_shift(gate * value * multiplier, shift), low, high)", widest=62,
    ),
    _program(
        "lif", "rescaled current, then the stock LIF's update, once a token", ("a",),
        "c = round_shift(a * multiplier, shift) + offset",
        "c = clip(c, 1 - (1 << 17), (1 << 17) - 1)",
        "v = trunc(v * (4096 - voltage_decay), 12) + (c << 6) + bias",
        "v = clip(v, 1 - (1 << 23), (1 << 23) - 1)",
        "y = sum(v > j * (threshold << 6) for j in range(1, levels + 1))",
        "v = v if y == 0 else v - y * (threshold << 6) if soft_reset else 0",
        widest=48, state=(("v", 24, 0),), parameters=(*_RESCALING, ("offset", 24)),
    ),
    _program(
        "residual", "stream plus rescaled branch", ("stream", "branch"),
        "y = clip(stream + round_shift(branch * multiplier, shift), low, high)", widest=48,
    ),
    Specification("raster_input", "host", "rows sent by the host through a spike adapter"),
    Specification("netx_dense", "stock", "lava.proc.dense.Dense", _LIF),
    Specification("netx_convolution", "stock", "lava.proc.conv.Conv", _LIF),
    Specification("channel_delay", "routing", "axonal delays, one a channel"),
    Specification(
        "cuba", "stock", "lava.proc.lif.LIF (LIFReset where it is reset on the chip)", _LIF
    ),
    Specification(
        "recurrent_cuba", "stock", "lava.proc.lif.LIF with a recurrent lava.proc.dense.Dense",
        f"the two processes: {_LIF}; a recurrent layer: nothing public",
    ),
    Specification("sigma", "stock", "lava.proc.sdn.Sigma", _SDN),
    Specification(
        "delta", "stock", "lava.proc.sdn.Delta",
        "nothing public: Intel's examples encode changes on the host",
    ),
    Specification("sigma_delta", "stock", "lava.proc.sdn.SigmaDelta", _SDN),
)  # fmt: skip

SPECIFICATIONS = {specification.kind: specification for specification in _ALL}
"""Every kind of layer there is."""


def documentation() -> str:
    """The page ``docs/neuron-programs.md``, made of the same data."""
    lines = [_PREFACE]
    lines += ["| kind | needs | what it is | seen on Loihi 2 in |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{s.kind}` | {s.need} | {s.summary} | {s.evidence or '-'} |"
        for s in SPECIFICATIONS.values()
    ]
    for specification in SPECIFICATIONS.values():
        if specification.need == "microcode":
            lines += ["", *_section(specification)]
    return "\n".join(lines) + "\n"


def _section(specification: Specification) -> list[str]:
    def listed(items: tuple[tuple[str, int], ...]) -> str:
        return ", ".join(f"`{name}` {bits} bits" for name, bits in items) or "none"

    state = tuple((name, bits) for name, bits, _ in specification.state)
    tables = tuple((f"{name}[{entries}]", bits) for name, entries, bits in specification.tables)
    counts = ", ".join(f"{count} {name}" for name, count in specification.operations.items())
    return [
        f"## {specification.kind}", "",
        f"{specification.summary[0].upper()}{specification.summary[1:]}.", "",
        f"- inputs: {', '.join(f'`{name}`' for name in specification.inputs)}",
        f"- state: {listed(state)}",
        f"- parameters a neuron: {listed(specification.parameters)}",
        f"- tables: {listed(tables)}",
        f"- widest intermediate: {specification.widest_bits} bits",
        f"- a neuron and token: {counts}", "",
        *(f"    {line}" for line in specification.update),
    ]  # fmt: skip


_PREFACE = f"""# Neuron programs

<!-- python -m spikegpt_neuro.backends.loihi2.specification > docs/neuron-programs.md -->

What each kind of layer is to a Loihi 2, and for kinds no stock process holds, the program its
neurons need. `spikegpt-neuro inspect NET --deployability` prints the same for one network.

Equations are Python and a test executes them against the emulator. `y` is what is sent, `layer` all
`x` of the layer, upper-case names are tables (`spikegpt_neuro/arithmetic/tables.py`), `low` and
`high` the ends of the port. Only add, multiply, shift, compare and table look-up occur.
Intermediates wider than the chip's registers need several words; the width of the registers and the
size of a core's program memory are not published, so whether a program fits is not known. Sums over
a layer are collected by neurons of their own.

{"".join(f"    {line}" for line in FUNCTIONS.splitlines(keepends=True))}"""


if __name__ == "__main__":
    print(documentation(), end="")
