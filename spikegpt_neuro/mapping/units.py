"""Units, the parts of a fine graph as mapping and energy know them, and machines made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from spikegpt_neuro.arithmetic.packed import MOST_BITS
from spikegpt_neuro.events.counters import Counters
from spikegpt_neuro.network import Network
from spikegpt_neuro.network.schema import Layer, Role

Counts = dict[str, int]
Steps = tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Unit(Layer):
    """A population, or the synapses in front of one, in the terms mapping and energy know.

    ``program``: what it is (``neuron_programs.PROGRAMS``, ``gate`` or ``host``). ``owner``: the
    layer whose value it helps to compute; ``place``: its stage. ``count``: its counts from those
    of a run. Synapses: ``axons``, operands they read; ``synapses`` of each neuron they end at;
    ``non_zero`` weights of them all; ``bits`` a weight is stored in, ``width`` it needs;
    ``row_sum`` as ``Layer.largest_row_sum``; ``light``: few enough to share cores with others.
    Populations: ``words`` of state of all neurons, with values that wait for them; ``constants``,
    their parameters; ``each``: operations of one update.
    """

    program: str
    owner: str
    place: str
    part: Role
    count: Callable[[Counters], Counts]
    axons: int = 0
    synapses: int = 0
    non_zero: int = 0
    bits: int = MOST_BITS
    width: int = 0
    row_sum: int = 0
    light: bool = False
    words: int = 0
    constants: int = 0
    each: Mapping[str, int] | None = None
    spiking: bool = False
    declared_bits: int = 0

    kind = "unit"
    input_count = 1
    driver = 0
    output_bits = None
    fires = False
    fixed_neuron = False
    sparse = False
    states = ()
    equation = ""
    counts_overflows = True

    @property
    def stage(self) -> str:
        """See ``Layer.stage``."""
        return self.place

    @property
    def role(self) -> Role:
        """See ``Layer.role``."""
        return self.part

    @property
    def operand_size(self) -> int:
        """See ``Layer.operand_size``."""
        return self.axons or self.output.size

    @property
    def one_to_one(self) -> bool:
        """Whether each operand meets the neuron of its own channel only."""
        return self.part == "synapse" and self.synapses == 1 and self.axons == self.output.size

    @property
    def fan_in(self) -> int:
        """See ``Layer.fan_in``: none of them recurrent."""
        return 0

    @property
    def products(self) -> int:
        """See ``Layer.products``."""
        return self.synapses * self.output.size

    @property
    def state_words(self) -> int:
        """See ``Layer.state_words``."""
        return self.words

    @property
    def parameter_words(self) -> int:
        """See ``Layer.parameter_words``."""
        return self.constants

    @property
    def weight_width(self) -> int:
        """See ``Layer.weight_width``."""
        return self.width

    @property
    def sum_bits(self) -> int:
        """See ``Layer.sum_bits``."""
        return self.declared_bits

    @property
    def largest_row_sum(self) -> int:
        """See ``Layer.largest_row_sum``."""
        return self.row_sum

    def input_shares(self) -> tuple[float, ...]:
        """See ``Layer.input_shares``."""
        return (1.0,) * len(self.inputs)

    def operations(self) -> dict[str, int]:
        """See ``Layer.operations``."""
        return {kind: n * self.output.size for kind, n in (self.each or {}).items() if n}


@dataclass(frozen=True, eq=False)
class Machine:
    """``layers``: what is placed and priced. ``owners``: the network's layer each belongs to.

    ``visits``: the time steps of a token, counted from its arrival, in which a unit works (a norm's
    channels twice). ``steps``: how many a token takes in fall-through.
    """

    network: Network
    layers: tuple[Layer, ...]
    owners: Mapping[str, str]
    visits: Mapping[str, Steps]
    steps: int
    is_fine: bool

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Units by name."""
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self.by_name[name]

    @property
    def spiking_layers(self) -> tuple[str, ...]:
        """See ``Network.spiking_layers``."""
        return self.network.spiking_layers

    def bound(self, layer: Layer) -> int:
        """See ``Network.bound``."""
        source = layer if layer.role == "neuron" else self[layer.inputs[0]]
        return layer.largest_row_sum * source.output.high

    def counters(self, counters: Counters | None) -> Counters | None:
        """The counts of a run by unit, exactly as many as the graph's processes count.

        Of a projection behind a hard token shift, whose halves are counted together, each gets the
        part that its columns are; together they are exact.
        """
        if counters is None or not self.is_fine:
            return counters
        units = (unit for unit in self.layers if isinstance(unit, Unit))
        return Counters(counters.tokens, {unit.name: unit.count(counters) for unit in units})
