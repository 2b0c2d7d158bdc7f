"""Where each kind's arithmetic is defined, and its equation's functions as Python's."""

from __future__ import annotations

from typing import Any

from spikegpt_neuro.arithmetic import elementwise, slayer_neurons, tables, varied_neurons
from spikegpt_neuro.arithmetic.equations import FUNCTIONS, TABLES
from spikegpt_neuro.arithmetic.lif import lif
from spikegpt_neuro.arithmetic.wkv import wkv
from spikegpt_neuro.network import LAYER_KINDS

SOURCES: dict[str, tuple[Any, set[str]]] = {
    "layer_norm": (elementwise.layer_norm, {"x"}),
    "delay": (elementwise.delay, {"x", "state"}),
    "token_shift": (elementwise.token_shift, {"current", "previous"}),
    "requantise": (elementwise.requantise, {"x"}),
    "readout": (elementwise.requantise, {"x"}),
    "sigmoid": (elementwise.sigmoid_gate, {"x"}),
    "squared_relu": (elementwise.squared_relu, {"x"}),
    "wkv": (wkv, {"key", "value", "numerator", "denominator", "exponent"}),
    "product": (elementwise.product, {"gate", "value"}),
    "lif": (lif, {"driving", "membrane", "spikes"}),
    "residual": (elementwise.residual, {"stream", "branch"}),
    "cuba": (slayer_neurons.cuba, {"driving", "current", "voltage", "spikes"}),
    "alif": (
        slayer_neurons.alif,
        {"driving", "current", "voltage", "raised", "refractory", "spikes"},
    ),
    "leaky_integrator": (
        slayer_neurons.leaky_integrator, {"driving", "current", "voltage", "result"},
    ),
    "sigma": (slayer_neurons.sigma, {"driving", "total", "result"}),
    "delta": (slayer_neurons.delta, {"driving", "last", "residue", "result"}),
    "sigma_delta": (
        slayer_neurons.sigma_delta, {"driving", "total", "last", "residue", "result"},
    ),
}  # fmt: skip
"""The kernel that is a kind's definition, and its arguments that are not parameters."""
SOURCES["varied_lif"] = (varied_neurons.varied_lif, SOURCES["lif"][1])
SOURCES["varied_cuba"] = (varied_neurons.varied_cuba, SOURCES["cuba"][1])
SOURCES["recurrent_varied_cuba"] = SOURCES["varied_cuba"]
SOURCES["recurrent_cuba"], SOURCES["recurrent_alif"] = SOURCES["cuba"], SOURCES["alif"]
EQUATIONS = {name: kind for name, kind in LAYER_KINDS.items() if kind.equation}


def _functions() -> dict[str, Any]:
    scope: dict[str, Any] = {"__builtins__": {}, "min": min, "max": max, "abs": abs}
    scope |= {name: getattr(tables, name).tolist() for name in TABLES}
    scope["levels_above"] = lambda v, step, levels: sum(v > j * step for j in range(1, levels + 1))
    for name, (arguments, text) in FUNCTIONS.items():
        code = compile(text, name, "exec")

        def call(*values: int, _code: Any = code, _names: Any = arguments) -> int:
            local = dict(zip(_names, values, strict=True))
            exec(_code, scope, local)
            return int(local["result"])

        scope[name] = call
    return scope


SCOPE = _functions()
"""What an equation may use, by name."""
