"""Which layers of a chain become which stock Lava processes; nothing of Lava is imported here.

Synapses are ``Dense``, ``DelayDense`` or ``Conv`` with the delays around them, neurons ``LIF``,
``ATRLIF``, ``Sigma``, ``Delta`` or ``SigmaDelta``; recurrence is a second ``Dense``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from spikegpt_neuro.network import Network
from spikegpt_neuro.network.layers import (
    BinaryEmbedding,
    Delay,
    Dense,
    LayerNorm,
    Lif,
    Product,
    Readout,
    RealEmbedding,
    RecurrentVariedCuba,
    Requantise,
    Residual,
    Sigmoid,
    SquaredRelu,
    TokenShift,
    VariedCuba,
    VariedLif,
    Wkv,
)
from spikegpt_neuro.network.registry import KindRegistry
from spikegpt_neuro.network.schema import Array, Layer
from spikegpt_neuro.network.slayer_layers import (
    LONGEST_DELAY,
    Alif,
    ChannelDelay,
    Cuba,
    Delta,
    LeakyIntegrator,
    NetxConvolution,
    NetxDense,
    RasterInput,
    RecurrentAlif,
    RecurrentCuba,
    Sigma,
    SigmaDelta,
)

Shape = tuple[int, ...]


SEEN_LIF, SEEN_SIGMA_DELTA = (
    f"PilotNet {network}, tests/lava/lib/dl/netx/test_hdf5_nx.py of lava-dl"
    for network in ("LIF", "SDNN")
)
"""Public code that runs stock processes on Loihi 2."""


@dataclass(frozen=True)
class StockForm:
    """What a kind of layer of a stock chain is to Lava.

    ``need``: ``stock`` processes, ``routing`` by axons and synapses, or the ``host``. ``evidence``:
    where the processes are seen on Loihi 2. ``resettable``: an on-chip reset (``LIFReset``)
    returns it to rest, or it holds nothing beyond a step.
    """

    need: Literal["stock", "routing", "host"]
    processes: tuple[str, ...] = ()
    evidence: str = ""
    resettable: bool = False


STOCK_FORMS: KindRegistry[StockForm] = KindRegistry("stock Lava processes")
"""The stock form of every kind."""
_DENSE, _LIF, _ATRLIF = "lava.proc.dense.Dense", "lava.proc.lif.LIF", "lava.proc.atrlif.ATRLIF"
for _kind, _form in (
    (RasterInput, StockForm("host", resettable=True)),
    (Delay, StockForm("routing")),
    (ChannelDelay, StockForm("routing", resettable=True)),
    (NetxDense, StockForm("stock", (_DENSE,), SEEN_LIF, resettable=True)),
    (NetxConvolution, StockForm("stock", ("lava.proc.conv.Conv",), SEEN_LIF, resettable=True)),
    (Cuba, StockForm("stock", (_LIF, "lava.proc.lif.LIFReset"), SEEN_LIF, resettable=True)),
    (
        RecurrentCuba,
        StockForm("stock", (_LIF, _DENSE), f"the two processes, not joined: {SEEN_LIF}"),
    ),
    (VariedCuba, StockForm("stock", (_LIF,))),
    (RecurrentVariedCuba, StockForm("stock", (_LIF, _DENSE))),
    (Alif, StockForm("stock", (_ATRLIF,))),
    (RecurrentAlif, StockForm("stock", (_ATRLIF, _DENSE))),
    (Sigma, StockForm("stock", ("lava.proc.sdn.Sigma",), SEEN_SIGMA_DELTA)),
    (Delta, StockForm("stock", ("lava.proc.sdn.Delta",))),
    (SigmaDelta, StockForm("stock", ("lava.proc.sdn.SigmaDelta",), SEEN_SIGMA_DELTA)),
):
    STOCK_FORMS.add(_kind, entry=_form)
STOCK_FORMS.refuse(
    BinaryEmbedding, RealEmbedding, LayerNorm, TokenShift, Requantise, Readout, Dense, Sigmoid,
    SquaredRelu, Wkv, Product, Lif, VariedLif, Residual,
    why="of a language model; its fine graph says what it needs",
)  # fmt: skip

STOCK_FORMS.refuse(LeakyIntegrator, why="no stock process sends its voltage")


def is_stock_neuron(layer: Layer) -> bool:
    """Whether a stock process has the layer's neurons."""
    if STOCK_FORMS.refusal(layer):
        return False
    return STOCK_FORMS(layer).need == "stock" and layer.role == "neuron"


@dataclass
class Synapse:
    """Synapses with the delays around them: ``before`` each operand, ``after`` each sum.

    ``before`` is without the time step that stock synapses take themselves.
    """

    layer: NetxDense | NetxConvolution
    source: str
    before: Array
    after: Array
    result: str
    """The layer whose values leave the stock process: the synapses, or the delay behind them."""

    @property
    def longest_delay(self) -> int:
        """Time steps, the most of any pair of operand and sum."""
        return int(self.before.max() + self.after.max())


@dataclass
class StockPlan:
    """Which layers become which processes; ``problems`` are those that cannot.

    ``has_stock_timing``: the chain has a step of delay in front of every synapse, as stock
    synapses do. ``depths``: stock synapses between the input and a layer's values.
    """

    synapses: dict[str, Synapse] = field(default_factory=dict)
    neurons: dict[str, Layer] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    has_stock_timing: bool = True
    depths: dict[str, int] = field(default_factory=dict)


def input_shape(network: Network) -> Shape:
    """(W, H, C) of the input where a convolution is the first to read it, else flat."""
    first = next((x for x in network.layers if isinstance(x, NetxDense | NetxConvolution)), None)
    if isinstance(first, NetxConvolution):
        channels, height, width = (int(v) for v in first.geometry[:3])
        return width, height, channels
    return (network.layers[0].output.size,)


def shape_of(network: Network, layer: Layer) -> Shape:
    """(W, H, C) behind a convolution or in front of the first one, else flat."""
    below = layer
    while not isinstance(below, RasterInput | NetxDense):
        if isinstance(below, NetxConvolution):
            channels, height, width = (int(v) for v in below.geometry[3:6])
            return width, height, channels
        below = network[below.inputs[0]]
    return input_shape(network) if isinstance(below, RasterInput) else (layer.output.size,)


def plan_stock(network: Network, *, in_waves: bool = False) -> StockPlan:
    """Match layers with stock processes; every layer is in the plan or a problem.

    ``in_waves``: the caller sees to it that layers of a chain without stock timing are one time
    step later behind every synapse; without, such a chain is a problem.
    """
    plan = StockPlan()
    readers = {source: layer for layer in network.layers for source in layer.inputs}
    absorbed: set[str] = set()
    for layer in network.layers:
        if not isinstance(layer, NetxDense | NetxConvolution):
            continue
        before = np.zeros(layer.operand_size, np.int64)
        source = network[layer.inputs[0]]
        while isinstance(source, ChannelDelay):
            absorbed.add(source.name)
            before = before + source.delay
            source = network[source.inputs[0]]
        after, result = np.zeros(layer.output.size, np.int64), layer.name
        behind = readers.get(layer.name)
        while isinstance(behind, ChannelDelay):
            absorbed.add(behind.name)
            after, result = after + behind.delay, behind.name
            behind = readers.get(behind.name)
        plan.synapses[layer.name] = Synapse(layer, source.name, before, after, result)
    early = [name for name, synapse in plan.synapses.items() if synapse.before.min() < 1]
    plan.has_stock_timing = not early
    if not in_waves:
        plan.problems += [
            f"{name}: stock synapses deliver one time step late, and the chain was read without "
            "that delay (SLAYER timing)"
            for name in early
        ]
    for synapse in plan.synapses.values():
        synapse.before = synapse.before - plan.has_stock_timing
        plan.problems += _synapse_problems(synapse)
    results = {synapse.result for synapse in plan.synapses.values()}
    for layer in network.layers:
        reads = layer.inputs[0] if layer.inputs else ""
        plan.depths[layer.name] = plan.depths.get(reads, 0) + (layer.name in plan.synapses)
        if isinstance(layer, RasterInput) or layer.name in absorbed | plan.synapses.keys():
            continue
        if is_stock_neuron(layer) and (reads in results or isinstance(network[reads], RasterInput)):
            plan.neurons[layer.name] = layer
            if isinstance(layer, Alif) and layer.bias.any():
                plan.problems.append(
                    f"{layer.name}: a bias of the current; stock ATRLIF adds it to the voltage"
                )
        else:
            plan.problems.append(f"{layer.name}: no stock process for a {layer.kind} there")
    return plan


def _synapse_problems(synapse: Synapse) -> Iterator[str]:
    name, longest = synapse.layer.name, synapse.longest_delay
    if longest > LONGEST_DELAY:
        yield f"{name}: delays up to {longest}, stock synapses hold {LONGEST_DELAY}"
    if longest and isinstance(synapse.layer, NetxConvolution):
        yield f"{name}: stock convolutions hold no delays"


def visible_layers(network: Network) -> tuple[str, ...]:
    """Layers whose values are sent between stock processes, in order."""
    plan = plan_stock(network)
    seen = {*plan.neurons, *(synapse.result for synapse in plan.synapses.values())}
    return tuple(layer.name for layer in network.layers if layer.name in seen)
